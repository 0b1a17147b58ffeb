"""Functions: the id is the content, a name points at the newest, and code is shown only to those who need it."""

from __future__ import annotations

from typing import Any

import pytest

from faas.errors import InvalidRequest, NotFound, PermissionDenied, TooLarge
from faas.models import MAX_CODE_BYTES, RegisterFunction
from faas.packing import function_id as content_id
from registry import functions, schema
from registry.identities import Principal
from tests.unit.registry.federation import LEASE_TIMEOUT_S, Agent, Federation, new_id


def _register(federation: Federation, owner: Principal, **fields: Any) -> Any:
    request = RegisterFunction(**{"name": "fit", "serializer": "st", "code": b"st:fit", **fields})
    return federation.write(functions.register, owner, request)


def test_a_function_is_shown_as_it_was_registered(federation: Federation, ada: Principal) -> None:
    made = _register(
        federation,
        ada,
        modules=b"zip",
        python_version="3.11.7",
        description="fits peaks",
        public=True,
        metadata={"instrument": ["id21", 7, None]},
    )
    assert made == federation.read(functions.show, ada, "fit")
    assert made == federation.read(functions.show, ada, made.function_id)
    assert (made.owner, made.code_bytes, made.python_version) == ("ada", len(b"st:fit") + len(b"zip"), "3.11.7")
    assert (made.description, made.public, made.metadata) == ("fits peaks", True, {"instrument": ["id21", 7, None]})
    assert made.registered_at == federation.clock.now


def test_the_same_source_keeps_its_id_and_takes_the_new_description(federation: Federation, ada: Principal) -> None:
    first = _register(federation, ada, name="fit", description="old")
    federation.clock.advance(1)
    second = _register(federation, ada, name="fit2", description="new", public=True)
    assert second.function_id == first.function_id == content_id(ada.identity_id, "st", b"st:fit", b"")
    assert federation.count(schema.functions) == 1
    shown = federation.read(functions.show, ada, first.function_id)
    assert (shown.name, shown.description, shown.public) == ("fit2", "new", True)
    with pytest.raises(NotFound):
        federation.read(functions.show, ada, "fit")


@pytest.mark.parametrize("other", [{"code": b"st:other"}, {"serializer": "01"}, {"modules": b"zip"}])
def test_other_content_is_another_function(federation: Federation, ada: Principal, other: dict[str, Any]) -> None:
    assert _register(federation, ada).function_id != _register(federation, ada, **other).function_id


def test_the_same_source_of_two_owners_is_two_functions(federation: Federation, ada: Principal, bob: Principal) -> None:
    assert _register(federation, ada).function_id != _register(federation, bob).function_id


def test_a_name_points_at_what_was_registered_last(federation: Federation, ada: Principal) -> None:
    old = _register(federation, ada, code=b"1").function_id
    federation.clock.advance(1)
    new = _register(federation, ada, code=b"2").function_id
    assert federation.read(functions.resolve, ada, "fit").function_id == new
    federation.clock.advance(1)
    _register(federation, ada, code=b"1")
    assert federation.read(functions.resolve, ada, "fit").function_id == old
    assert federation.read(functions.resolve, ada, new).function_id == new


def test_another_owners_private_function_looks_unknown(federation: Federation, ada: Principal, bob: Principal) -> None:
    private = _register(federation, bob).function_id
    messages = set()
    for reference in (private, "fit", new_id(), "nothing"):
        with pytest.raises(NotFound) as refusal:
            federation.read(functions.show, ada, reference)
        messages.add(refusal.value.detail.replace(reference, "…"))
    assert len(messages) == 1
    with pytest.raises(NotFound):
        federation.read(functions.code, ada, private)
    assert federation.read(functions.list_functions, ada) == []


def test_a_public_function_is_used_by_id(federation: Federation, ada: Principal, bob: Principal) -> None:
    public = _register(federation, bob, public=True)
    assert federation.read(functions.show, ada, public.function_id) == public
    assert federation.read(functions.code, ada, public.function_id).code == b"st:fit"
    assert federation.read(functions.list_functions, ada) == [public]
    with pytest.raises(NotFound):
        federation.read(functions.show, ada, "fit")  # names are each owner's own


def test_a_function_made_private_again_is_hidden(federation: Federation, ada: Principal, bob: Principal) -> None:
    function_id = _register(federation, bob, public=True).function_id
    _register(federation, bob, public=False)
    with pytest.raises(NotFound):
        federation.read(functions.show, ada, function_id)


def test_functions_are_listed_newest_first(federation: Federation, ada: Principal) -> None:
    for number in range(4):
        federation.clock.advance(1)
        _register(federation, ada, name=f"f{number % 2}", code=b"%d" % number)
    listed = federation.read(functions.list_functions, ada)
    assert [each.name for each in listed] == ["f1", "f0", "f1", "f0"]
    assert federation.read(functions.list_functions, ada, limit=2) == listed[:2]
    assert federation.read(functions.list_functions, ada, name="f0") == listed[1::2]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"serializer": "xx"}, "serializer"),
        ({"code": b""}, "code"),
        ({"name": ""}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"name": "a\x00b"}, "name"),
        ({"name": "6f9619ff-8b86-d011-b42d-00cf4fc964ff"}, "name"),
        ({"metadata": {"x": float("nan")}}, "metadata"),
        ({"metadata": {"x": "y" * 100_000}}, "metadata"),
    ],
)
def test_an_impossible_function_is_refused(
    federation: Federation, ada: Principal, fields: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        _register(federation, ada, **fields)
    assert refusal.value.field == field
    assert federation.count(schema.functions) == 0


def test_code_and_modules_share_one_limit(federation: Federation, ada: Principal) -> None:
    half = MAX_CODE_BYTES // 2
    _register(federation, ada, code=b"x" * half, modules=b"y" * half)
    with pytest.raises(TooLarge) as refusal:
        _register(federation, ada, code=b"x" * half, modules=b"y" * (half + 1))
    assert refusal.value.field == "code"


# Code for agents


def test_an_endpoint_fetches_code_only_while_it_holds_a_task_of_it(
    federation: Federation, ada: Principal, site: Agent
) -> None:
    function_id = _register(federation, ada, modules=b"zip").function_id
    other = _register(federation, ada, name="other", code=b"other", public=True).function_id

    def refused(reference: str = function_id) -> bool:
        with pytest.raises(PermissionDenied):
            federation.read(functions.code, site.principal, reference)
        return True

    assert refused()
    federation.run(ada, function=function_id)
    assert refused()
    [granted] = site.lease()
    code = federation.read(functions.code, site.principal, function_id)
    assert (code.function_id, code.owner_id, code.code, code.modules) == (
        function_id,
        ada.identity_id,
        b"st:fit",
        b"zip",
    )
    assert content_id(code.owner_id, code.serializer, code.code, code.modules) == function_id
    assert refused(other)
    assert refused(new_id())
    elsewhere = federation.agent(ada, "elsewhere")
    with pytest.raises(PermissionDenied):
        federation.read(functions.code, elsewhere.principal, function_id)
    site.succeed(granted)
    assert refused()


def test_an_expired_lease_shows_no_code(federation: Federation, ada: Principal, site: Agent) -> None:
    function_id = _register(federation, ada).function_id
    federation.run(ada, function=function_id)
    site.lease()
    federation.let_pass(LEASE_TIMEOUT_S + 6)
    with pytest.raises(PermissionDenied):
        federation.read(functions.code, site.principal, function_id)
