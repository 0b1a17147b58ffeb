"""Endpoints and pools: what a target names for whom, who may run where, and what is listed."""

from __future__ import annotations

import pytest

from faas.errors import Conflict, InvalidRequest, NotFound
from faas.models import AllowedFunctions, Pool, RegisterEndpoint, RunPolicy
from registry import endpoints, schema
from registry.endpoints import Site, Target
from registry.identities import Principal
from tests.unit.registry.federation import Agent, Federation, new_id

BOB_TOO = RunPolicy(identities={"bob": AllowedFunctions()})
BAD_NAMES = ["", "any", "a b", "-a", "a/b", "../a", "é", "x" * 65, "a\x00", "6f9619ff-8b86-d011-b42d-00cf4fc964ff"]


def _target(federation: Federation, principal: Principal, reference: str) -> Target:
    return federation.read(endpoints.resolve_target, principal, reference)


# Who may run


@pytest.mark.parametrize(
    ("allow", "identity", "function", "allowed"),
    [
        ({}, "owner", "f", True),
        ({}, "bob", "f", False),
        ({"bob": None}, "bob", "f", True),
        ({"bob": None}, "eve", "f", False),
        ({"bob": ["f"]}, "bob", "f", True),
        ({"bob": ["f"]}, "bob", "g", False),
        ({"bob": ["f"]}, "bob", None, True),
        ({"bob": []}, "bob", "f", False),
        ({"owner": []}, "owner", "f", True),
    ],
)
def test_a_site_runs_its_owners_tasks_and_those_it_allows(
    allow: dict[str, list[str] | None], identity: str, function: str | None, allowed: bool
) -> None:
    policy = RunPolicy(identities={name: AllowedFunctions(functions=listed) for name, listed in allow.items()})
    site = Site("e", "site", "id of owner", "owner", policy)
    assert site.allows(f"id of {identity}", identity, function) is allowed


def test_an_identity_of_the_owners_name_is_not_the_owner() -> None:
    assert not Site("e", "site", "id of owner", "owner", RunPolicy()).allows("another id", "owner", "f")


def test_only_the_owner_uses_an_endpoint_until_it_allows_others(
    federation: Federation, ada: Principal, bob: Principal
) -> None:
    site = federation.agent(ada)
    with pytest.raises(NotFound):
        _target(federation, bob, "site")
    with pytest.raises(NotFound):
        _target(federation, bob, site.endpoint_id)
    assert federation.read(endpoints.shown, bob) == []
    site.close()
    federation.agent(ada, policy=BOB_TOO)
    assert _target(federation, bob, "site") == Target("endpoint", site.endpoint_id)
    [shown] = federation.read(endpoints.shown, bob)
    assert (shown.name, shown.owner) == ("site", "ada")
    federation.agent(ada, takeover=True)
    with pytest.raises(NotFound):
        _target(federation, bob, "site")


# Targets


def test_a_target_is_any_an_id_a_name_or_a_pool(federation: Federation, ada: Principal) -> None:
    endpoint_id = federation.endpoint(ada)
    federation.write(endpoints.save_pool, ada, Pool(name="fast", labels={"gpu": "a100"}))
    assert _target(federation, ada, "any") == Target("any", "any")
    assert _target(federation, ada, "site") == _target(federation, ada, endpoint_id) == Target("endpoint", endpoint_id)
    assert _target(federation, ada, "fast") == Target("pool", "fast")
    for unknown in ("", "nowhere", new_id(), endpoint_id + "x"):
        with pytest.raises(NotFound) as refusal:
            _target(federation, ada, unknown)
        assert refusal.value.field == "target"


def test_the_own_endpoint_goes_before_others_of_the_name(
    federation: Federation, ada: Principal, bob: Principal
) -> None:
    theirs = federation.agent(ada, policy=BOB_TOO)
    assert _target(federation, bob, "site").reference == theirs.endpoint_id
    mine = federation.endpoint(bob)
    assert _target(federation, bob, "site").reference == mine
    assert _target(federation, bob, theirs.endpoint_id).reference == theirs.endpoint_id


def test_the_own_pool_goes_before_others_endpoints(federation: Federation, ada: Principal, bob: Principal) -> None:
    federation.agent(ada, policy=BOB_TOO)
    federation.write(endpoints.save_pool, bob, Pool(name="site", labels={"gpu": "a100"}))
    assert _target(federation, bob, "site") == Target("pool", "site")


def test_a_name_of_several_other_peoples_endpoints_needs_the_id(
    federation: Federation, ada: Principal, bob: Principal
) -> None:
    eve = federation.person("eve")
    first, second = federation.agent(ada, policy=BOB_TOO), federation.agent(eve, policy=BOB_TOO)
    with pytest.raises(Conflict) as refusal:
        _target(federation, bob, "site")
    assert first.endpoint_id in refusal.value.detail
    assert second.endpoint_id in refusal.value.detail


# Registering


def test_registering_again_updates_an_endpoint(federation: Federation, ada: Principal) -> None:
    first = federation.endpoint(ada, labels={"a": "1"})
    again = federation.write(
        endpoints.register, ada, RegisterEndpoint(name="site", labels={"b": "2"}, description="new")
    )
    assert again == first
    [shown] = federation.read(endpoints.shown, ada)
    assert (shown.labels, shown.description, shown.status) == ({"b": "2"}, "new", "offline")


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_that_mean_something_else_are_refused(federation: Federation, ada: Principal, name: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        federation.endpoint(ada, name)
    assert refusal.value.field == "name"
    with pytest.raises(InvalidRequest):
        federation.write(endpoints.save_pool, ada, Pool(name=name, labels={"a": "1"}))
    assert federation.count(schema.endpoints) == federation.count(schema.pools) == 0


def test_an_endpoint_and_a_pool_of_one_owner_differ_in_name(
    federation: Federation, ada: Principal, bob: Principal
) -> None:
    federation.endpoint(ada)
    with pytest.raises(Conflict):
        federation.write(endpoints.save_pool, ada, Pool(name="site", labels={"a": "1"}))
    federation.write(endpoints.save_pool, ada, Pool(name="fast", labels={"a": "1"}))
    with pytest.raises(Conflict):
        federation.endpoint(ada, "fast")
    federation.write(endpoints.save_pool, bob, Pool(name="site", labels={"a": "1"}))


def test_an_endpoint_is_deleted_by_its_owner_once_it_is_stopped(
    federation: Federation, ada: Principal, bob: Principal
) -> None:
    site = federation.agent(ada, policy=BOB_TOO)
    federation.run(ada)
    site.succeed(*site.lease())
    with pytest.raises(Conflict, match="login1"):
        federation.write(endpoints.delete, ada, "site")
    site.close()
    with pytest.raises(NotFound):
        federation.write(endpoints.delete, bob, site.endpoint_id)
    federation.write(endpoints.delete, ada, "site")
    assert federation.read(endpoints.shown, ada) == []
    with pytest.raises(NotFound):
        federation.write(endpoints.delete, ada, "site")


def test_deleting_waits_for_the_tasks_of_a_fenced_session(federation: Federation, ada: Principal, site: Agent) -> None:
    [task_id] = federation.run(ada)
    site.lease()
    federation.agent(ada, takeover=True).close()
    with pytest.raises(Conflict):
        federation.write(endpoints.delete, ada, "site")
    federation.let_pass(24)
    federation.write(endpoints.delete, ada, "site")
    assert federation.state(task_id) == "queued"


def test_a_listing_counts_what_is_held_and_pinned(federation: Federation, ada: Principal, site: Agent) -> None:
    federation.run(ada, 3)
    federation.run(ada, 2, target="site")
    site.lease(2)
    federation.endpoint(ada, "another")
    another, shown = federation.read(endpoints.shown, ada)
    assert (another.name, another.status, another.held_tasks, another.queued_tasks) == ("another", "offline", 0, 0)
    assert (shown.name, shown.status, shown.held_tasks, shown.queued_tasks) == ("site", "online", 2, 2)
    site.close()
    shown = federation.read(endpoints.shown, ada)[1]
    assert (shown.status, shown.workers, shown.held_tasks) == ("offline", 0, 0)


def test_online_sites_are_those_with_a_live_session(federation: Federation, ada: Principal, site: Agent) -> None:
    federation.endpoint(ada, "never")
    assert set(federation.read(lambda transaction: endpoints.all_sites(transaction, online=True))) == {site.endpoint_id}
    assert len(federation.read(endpoints.all_sites)) == 2


# Pools


def test_a_pool_is_saved_listed_replaced_and_deleted(federation: Federation, ada: Principal, bob: Principal) -> None:
    endpoint_id = federation.endpoint(ada)
    saved = federation.write(endpoints.save_pool, ada, Pool(name="fast", endpoints=["site"], labels={"a": "1"}))
    assert saved == Pool(name="fast", endpoints=[endpoint_id], labels={"a": "1"}, owner="ada")
    assert federation.read(endpoints.list_pools, ada) == [saved]
    assert federation.read(endpoints.list_pools, bob) == []
    replaced = federation.write(endpoints.save_pool, ada, Pool(name="fast", labels={"b": "2"}))
    assert federation.read(endpoints.show_pool, ada, "fast") == replaced
    with pytest.raises(NotFound):
        federation.write(endpoints.delete_pool, bob, "fast")
    federation.write(endpoints.delete_pool, ada, "fast")
    with pytest.raises(NotFound):
        federation.read(endpoints.show_pool, ada, "fast")
    with pytest.raises(NotFound):
        federation.write(endpoints.delete_pool, ada, "fast")


def test_a_pool_selects_something_that_can_match(federation: Federation, ada: Principal) -> None:
    federation.write(endpoints.save_pool, ada, Pool(name="fast", labels={"a": "1"}))
    for pool in (Pool(name="p"), Pool(name="p", endpoints=["any"]), Pool(name="p", endpoints=["fast"])):
        with pytest.raises(InvalidRequest) as refusal:
            federation.write(endpoints.save_pool, ada, pool)
        assert refusal.value.field == "endpoints"
    with pytest.raises(NotFound):
        federation.write(endpoints.save_pool, ada, Pool(name="p", endpoints=["nowhere"]))


@pytest.mark.parametrize(
    ("labels", "inside"),
    [({"a": "1", "b": "2", "c": "3"}, True), ({"a": "1"}, False), ({"a": "1", "b": "3"}, False), ({}, False)],
)
def test_a_pool_by_labels_wants_all_of_them(labels: dict[str, str], inside: bool) -> None:
    site = Site("e", "site", "o", "owner", RunPolicy(), labels)
    assert endpoints.in_pool(site, Pool(name="p", labels={"a": "1", "b": "2"})) is inside
    assert endpoints.in_pool(site, Pool(name="p", endpoints=["e"], labels={"a": "1", "b": "2"}))
    assert not endpoints.in_pool(site, Pool(name="p", endpoints=["other"]))
