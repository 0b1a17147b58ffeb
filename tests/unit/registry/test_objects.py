"""Objects: minted for one owner, deleted when nothing comes to refer to them, in two steps."""

from __future__ import annotations

import pytest

from faas.errors import NotFound
from faas.models import Location, Submission
from registry import objects, retention, schema
from registry.identities import Principal
from registry.objects import UNREFERENCED_S, StoredObject
from tests.unit.registry.federation import Agent, Federation, new_id


def _argument(federation: Federation, owner: Principal) -> StoredObject:
    return federation.write(objects.create, owner.identity_id, "argument", size_bytes=100)


def _doom(federation: Federation, limit: int = 100) -> list[str]:
    return [each.object_id for each in federation.write(retention.doom, limit)]


def test_an_object_has_a_place_of_its_owner_and_day(federation: Federation, ada: Principal) -> None:
    made = _argument(federation, ada)
    assert made.key == f"arguments/{ada.identity_id}/2025-06-15/{made.object_id}"
    assert federation.read(objects.find, {made.object_id, new_id()}) == {made.object_id: made}
    assert federation.read(objects.own, ada, made.object_id) == made


def test_anothers_object_looks_unknown(federation: Federation, ada: Principal, bob: Principal) -> None:
    made = _argument(federation, ada)
    for principal, object_id in ((bob, made.object_id), (ada, new_id()), (ada, ""), (ada, made.object_id + "x")):
        with pytest.raises(NotFound) as refusal:
            federation.read(objects.own, principal, object_id)
        assert refusal.value.field == "object_id"


def test_what_nothing_refers_to_is_doomed_in_time(federation: Federation, ada: Principal) -> None:
    first = _argument(federation, ada)
    federation.clock.advance(10)
    second = _argument(federation, ada)
    federation.clock.advance(UNREFERENCED_S - 10)
    assert _doom(federation) == []
    federation.clock.advance(1)
    assert _doom(federation) == [first.object_id]
    federation.clock.advance(10)
    assert set(_doom(federation)) == {first.object_id, second.object_id}


def test_nothing_comes_to_refer_to_a_doomed_object(federation: Federation, ada: Principal, site: Agent) -> None:
    argument, segment = _argument(federation, ada), site.segment(ada.identity_id)
    [task_id] = federation.run(ada)
    federation.clock.advance(UNREFERENCED_S + 1)
    assert set(_doom(federation)) == {argument.object_id, segment.object_id}
    answer = federation.submit(ada, Submission(task_id=new_id(), function="fit", argument_object=argument.object_id))
    assert [refusal.status for refusal in answer.refused] == [404]
    site.succeed(*site.lease())
    assert federation.attempts(task_id) == ["lost"]
    assert set(_doom(federation)) == {argument.object_id, segment.object_id}


def test_a_doomed_object_is_found_again_until_it_is_forgotten(federation: Federation, ada: Principal) -> None:
    made = [_argument(federation, ada).object_id for _ in range(3)]
    federation.clock.advance(UNREFERENCED_S + 1)
    assert sorted(_doom(federation)) == sorted(made)
    assert sorted(_doom(federation)) == sorted(made)
    federation.write(retention.forget, made[:2])
    assert _doom(federation) == made[2:]
    assert federation.count(schema.objects) == 1


def test_only_doomed_objects_are_forgotten(federation: Federation, ada: Principal) -> None:
    made = _argument(federation, ada)
    federation.write(retention.forget, [made.object_id])
    assert federation.read(objects.own, ada, made.object_id) == made


def test_dooming_goes_in_steps(federation: Federation, ada: Principal) -> None:
    for _ in range(5):
        _argument(federation, ada)
    federation.clock.advance(UNREFERENCED_S + 1)
    assert len(_doom(federation, 2)) == 2
    assert len(_doom(federation, 2)) == 4


def test_what_is_referred_to_stays(federation: Federation, ada: Principal, site: Agent) -> None:
    argument = _argument(federation, ada)
    federation.function(ada)
    federation.submit(ada, Submission(task_id=new_id(), function="fit", argument_object=argument.object_id))
    site.succeed(*site.lease())
    federation.clock.advance(10 * UNREFERENCED_S)
    assert _doom(federation) == []


def test_segments_are_granted_to_one_endpoint(federation: Federation, ada: Principal, site: Agent) -> None:
    other = federation.agent(ada, "other")
    segment = site.segment(ada.identity_id)
    asked = {segment.object_id, other.segment(ada.identity_id).object_id, _argument(federation, ada).object_id}
    assert federation.read(objects.segments_granted, site.endpoint_id, asked) == {segment.object_id: segment}
    assert federation.read(objects.segments_granted, site.endpoint_id, set()) == {}


@pytest.mark.parametrize(
    ("offset", "length", "inside"),
    [(0, 10, True), (10, 0, True), (9, 1, True), (9, 2, False), (-1, 1, False), (0, -1, False), (11, 0, False)],
)
def test_a_range_lies_inside_an_object(offset: int, length: int, inside: bool) -> None:
    assert objects.within(Location("o", offset, length), 10) is inside
