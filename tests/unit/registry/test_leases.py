"""Leases: who gets what, in which order, once; and the same answer to the same number."""

from __future__ import annotations

import pytest

from faas.errors import Conflict
from faas.models import AllowedFunctions, Heartbeat, Pool, RunPolicy, Submission
from registry import endpoints, leases, objects, sessions
from registry.endpoints import Site
from registry.identities import Principal
from registry.leases import QueuedClass, Share
from tests.unit.registry.federation import Agent, Federation, new_id


def _ids(granted: list[leases.Granted]) -> list[str]:
    return [each.task_id for each in granted]


def test_a_lease_grants_the_oldest_tasks_of_a_class_first(federation: Federation, ada: Principal, site: Agent) -> None:
    submitted = federation.run(ada, 3) + federation.run(ada, 2)
    assert _ids(site.lease(2)) == submitted[:2]
    assert _ids(site.lease(2)) == submitted[2:4]
    assert _ids(site.lease()) == submitted[4:]
    assert site.lease() == []


def test_a_grant_carries_what_the_agent_needs(federation: Federation, ada: Principal, site: Agent) -> None:
    function_id = federation.function(ada)
    argument = federation.write(objects.create, ada.identity_id, "argument")
    large = federation.write(objects.create, ada.identity_id, "argument")
    task = Submission(
        task_id=new_id(),
        function="fit",
        argument_object=large.object_id,
        objects=[argument.object_id],
        timeout_s=7.5,
        idempotent=False,
    )
    federation.submit(ada, task)
    [granted] = site.lease()
    assert granted == leases.Granted(
        key=granted.key,
        task_id=task.task_id,
        owner_id=ada.identity_id,
        owner="ada",
        function_id=function_id,
        payload=b"",
        argument_object=large.object_id,
        objects=[argument.object_id],
        files=[],
        outputs=[],
        timeout_s=7.5,
        idempotent=False,
        losses=0,
        depends=False,
        shape="default",
        environment="default",
    )
    assert granted.key.number == 1
    assert federation.state(task.task_id) == "leased"


def test_a_broken_environment_gets_no_tasks_until_it_works_again(federation: Federation, ada: Principal) -> None:
    site = federation.agent(ada, environments=["default", "xpcs"])
    federation.function(ada)
    tasks = [Submission(task_id=new_id(), function="fit", environment=each) for each in ("xpcs", "", "default")]
    assert not federation.submit(ada, *tasks).refused
    in_xpcs, *others = [task.task_id for task in tasks]

    def tell(environments: dict[str, dict[str, str]]) -> None:
        beat = Heartbeat(lease_number=0, held=[], environments=environments)
        federation.write(sessions.heartbeat, site.endpoint_id, site.session_id, beat)

    tell({"default": {}, "xpcs": {"problem": "no module hdf5"}})
    assert sorted(_ids(site.lease())) == sorted(others)
    federation.changes.clear()
    tell({"default": {}, "xpcs": {}})
    assert any(changes.work for changes in federation.changes)
    assert _ids(site.lease()) == [in_xpcs]


def test_what_was_broken_for_one_session_is_tried_by_the_next(
    federation: Federation, ada: Principal, site: Agent
) -> None:
    [task_id] = federation.run(ada)
    beat = Heartbeat(lease_number=0, held=[], environments={"default": {"problem": "no module hdf5"}})
    federation.write(sessions.heartbeat, site.endpoint_id, site.session_id, beat)
    assert site.lease() == []
    assert _ids(federation.agent(ada, replaces=site.session_id).lease()) == [task_id]


def test_payload_bytes_come_back_as_they_went(federation: Federation, ada: Principal, site: Agent) -> None:
    payload = bytes(range(256))
    federation.run(ada, payload=payload)
    assert site.lease()[0].payload == payload


def test_the_same_number_gets_the_same_answer(federation: Federation, ada: Principal, site: Agent) -> None:
    federation.run(ada, 5)
    first = site.lease(2)
    assert site.lease(2, number=site.number) == first
    assert site.lease(1000, number=site.number) == first
    assert len(site.lease()) == 3


def test_the_same_number_gets_the_same_answer_after_its_tasks_moved_on(
    federation: Federation, ada: Principal, site: Agent
) -> None:
    federation.run(ada, 2, max_attempts=2)
    first = site.lease()
    site.fail(first[0])
    site.succeed(first[1])
    assert [each.key for each in site.lease(number=site.number)] == [each.key for each in first]


def test_the_number_of_an_empty_answer_may_be_asked_again(federation: Federation, ada: Principal, site: Agent) -> None:
    assert site.lease() == []
    submitted = federation.run(ada)
    assert _ids(site.lease(number=site.number)) == submitted


def test_an_older_number_is_refused(federation: Federation, ada: Principal, site: Agent) -> None:
    federation.run(ada, 3)
    site.lease(1)
    site.lease(1)
    with pytest.raises(Conflict, match="Lease 1 was answered long ago") as refusal:
        site.lease(number=1)
    assert refusal.value.field == "number"
    assert len(site.lease()) == 1


def test_higher_priority_is_offered_as_a_class_of_its_own(federation: Federation, ada: Principal, site: Agent) -> None:
    low = federation.run(ada, 2, priority=-1)
    high = federation.run(ada, 2, priority=7)
    seen: list[QueuedClass] = []

    def look(here: Site, waiting: list[QueuedClass]) -> list[Share]:
        seen.extend(waiting)
        return []

    assert site.lease(choose=look) == []
    assert sorted((each.priority, each.head) for each in seen) == [
        (-1, federation.row(low[0]).sequence),
        (7, federation.row(high[0]).sequence),
    ]
    assert _ids(site.lease()) == high + low


def test_the_policy_decides_how_many_of_which_class(federation: Federation, ada: Principal, site: Agent) -> None:
    fit = federation.run(ada, 3, function=federation.function(ada, "fit", b"1"))
    sort = federation.run(ada, 3, function=federation.function(ada, "sort", b"2"))

    def two_of_each(here: Site, waiting: list[QueuedClass]) -> list[Share]:
        assert here.endpoint_id == site.endpoint_id
        return [Share(each.class_id, 2) for each in sorted(waiting, key=lambda each: -each.head)]

    assert _ids(site.lease(choose=two_of_each)) == sort[:2] + fit[:2]
    assert _ids(site.lease(1, choose=two_of_each)) == sort[2:]


def test_an_answer_is_bounded_in_bytes_but_never_empty(
    federation: Federation, ada: Principal, site: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "MAX_LEASE_BYTES", 250)
    large = federation.run(ada, payload=bytes(1000))
    small = federation.run(ada, 3, payload=bytes(100))
    assert _ids(site.lease()) == large
    assert _ids(site.lease()) == small[:2]
    assert _ids(site.lease()) == small[2:]


def test_two_sessions_never_get_the_same_task(federation: Federation, ada: Principal, site: Agent) -> None:
    other = federation.agent(ada, "other")
    submitted = federation.run(ada, 10)
    mine, theirs = site.lease(6), other.lease(6)
    assert _ids(mine) + _ids(theirs) == submitted
    assert {federation.attempts(task_id)[0] for task_id in submitted} == {"leased"}


def test_a_pinned_task_goes_to_its_endpoint_only(federation: Federation, ada: Principal, site: Agent) -> None:
    other = federation.agent(ada, "other")
    by_name = federation.run(ada, target="other")
    by_id = federation.run(ada, target=other.endpoint_id)
    assert site.lease() == []
    assert _ids(other.lease()) == by_name + by_id


def test_a_pool_takes_listed_endpoints_and_those_with_all_labels(federation: Federation, ada: Principal) -> None:
    listed = federation.agent(ada, "listed")
    labelled = federation.agent(ada, "labelled", labels={"gpu": "a100", "site": "x", "more": "1"})
    half = federation.agent(ada, "half", labels={"gpu": "a100"})
    federation.write(
        endpoints.save_pool, ada, Pool(name="fast", endpoints=["listed"], labels={"gpu": "a100", "site": "x"})
    )
    first, second = federation.run(ada, 2, target="fast")
    assert half.lease() == []
    assert _ids(listed.lease(1)) == [first]
    assert _ids(labelled.lease(1)) == [second]


def test_a_pool_is_looked_up_when_work_is_asked_for(federation: Federation, ada: Principal, site: Agent) -> None:
    federation.write(endpoints.save_pool, ada, Pool(name="fast", labels={"gpu": "a100"}))
    submitted = federation.run(ada, target="fast")
    assert site.lease() == []
    federation.write(endpoints.delete_pool, ada, "fast")
    assert site.lease() == []
    federation.write(endpoints.save_pool, ada, Pool(name="fast", endpoints=["site"]))
    assert _ids(site.lease()) == submitted


def test_any_means_endpoints_the_owner_of_the_task_may_use(
    federation: Federation, ada: Principal, bob: Principal, site: Agent
) -> None:
    submitted = federation.run(bob)
    assert site.lease() == []
    open_site = federation.agent(ada, "open", policy=RunPolicy(identities={"bob": AllowedFunctions()}))
    [granted] = open_site.lease()
    assert granted.task_id == submitted[0]
    assert (granted.owner, granted.owner_id) == ("bob", bob.identity_id)


def test_an_endpoint_gives_others_only_the_functions_it_lists(
    federation: Federation, ada: Principal, bob: Principal
) -> None:
    allowed, other = federation.function(bob, "fit", b"1"), federation.function(bob, "sort", b"2")
    policy = RunPolicy(identities={"bob": AllowedFunctions(functions=[allowed])})
    site = federation.agent(ada, policy=policy)
    federation.run(bob, function=other)
    submitted = federation.run(bob, function=allowed)
    assert _ids(site.lease()) == submitted


def test_the_owners_own_pool_counts_not_the_endpoints(federation: Federation, ada: Principal, bob: Principal) -> None:
    policy = RunPolicy(identities={"bob": AllowedFunctions()})
    site = federation.agent(ada, policy=policy)
    federation.write(endpoints.save_pool, ada, Pool(name="fast", endpoints=["site"]))
    federation.write(endpoints.save_pool, bob, Pool(name="fast", labels={"gpu": "none"}))
    federation.run(bob, target="fast")
    assert site.lease() == []


def test_queued_tasks_are_counted_by_class(federation: Federation, ada: Principal, site: Agent) -> None:
    federation.run(ada, 3)
    federation.run(ada, 2, priority=1)
    assert sorted(federation.read(leases.count_queued).values()) == [2, 3]
    site.lease(2)
    assert sorted(federation.read(leases.count_queued).values()) == [3]


def test_nothing_is_leased_to_a_session_that_is_over_or_anothers(
    federation: Federation, ada: Principal, site: Agent
) -> None:
    federation.run(ada)
    other = federation.agent(ada, "other")
    borrowed = Agent(federation, other.endpoint_id, site.session_id)
    with pytest.raises(Conflict, match="is over"):
        borrowed.lease()
    site.close()
    with pytest.raises(Conflict, match="is over"):
        site.lease()
