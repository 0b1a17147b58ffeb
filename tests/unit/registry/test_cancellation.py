"""Cancelling: one end at once for the caller, and word to whoever still works on it."""

from __future__ import annotations

import pytest

from faas.errors import InvalidRequest
from registry.identities import Principal
from tests.unit.registry.federation import Agent, Federation, new_id


def test_waiting_queued_leased_and_running_tasks_end_at_once(
    federation: Federation, ada: Principal, site: Agent
) -> None:
    running, leased = federation.run(ada, 2)
    granted = site.lease()
    site.start(granted[0])
    [queued] = federation.run(ada)
    [waiting] = federation.run(ada, after=[queued])
    answer = federation.cancel(ada, waiting, running, leased, queued)
    assert sorted(answer.cancelled) == sorted([running, leased, queued, waiting])
    assert answer.not_cancelled == {}
    assert federation.states([running, leased, queued, waiting]) == ["cancelled"] * 4
    assert site.session_id in federation.changes[-1].sessions
    assert site.lease() == []


def test_attempts_of_cancelled_tasks_are_recalled_and_their_outcomes_dropped(
    federation: Federation, ada: Principal, site: Agent
) -> None:
    task_ids = federation.run(ada, 3)
    granted = site.lease()
    federation.cancel(ada, *task_ids)
    assert [federation.attempts(task_id) for task_id in task_ids] == [["recalled"]] * 3
    assert site.beat(granted) == [each.key for each in granted]
    assert site.start(granted[0]) == 1
    site.succeed(granted[0])
    site.fail(granted[1])
    site.release(granted[2])
    assert federation.states(task_ids) == ["cancelled"] * 3
    assert [federation.attempts(task_id) for task_id in task_ids] == [["succeeded"], ["failed"], ["cancelled"]]
    assert site.beat() == []


def test_running_tasks_may_be_left_alone(federation: Federation, ada: Principal, site: Agent) -> None:
    running, leased, queued = federation.run(ada, 3)
    site.start(site.lease(2)[0])
    answer = federation.cancel(ada, running, leased, queued, running=False)
    assert sorted(answer.cancelled) == sorted([leased, queued])
    assert answer.not_cancelled == {running: "running"}
    assert federation.states([running, leased, queued]) == ["running", "cancelled", "cancelled"]


def test_what_has_ended_keeps_its_end(federation: Federation, ada: Principal, site: Agent) -> None:
    good, bad = federation.run(ada, 2)
    first, second = site.lease()
    site.succeed(first)
    site.fail(second)
    answer = federation.cancel(ada, good, bad)
    assert (answer.cancelled, answer.not_cancelled) == ([], {good: "succeeded", bad: "failed"})


def test_cancelling_again_says_the_same(federation: Federation, ada: Principal) -> None:
    group_id = new_id()
    task_ids = federation.run(ada, 2, group_id=group_id)
    first, second = federation.cancel(ada, *task_ids), federation.cancel(ada, *task_ids)
    assert first == second
    assert len(federation.results(ada, group_id)) == 2


def test_a_whole_group(federation: Federation, ada: Principal, site: Agent) -> None:
    group_id = new_id()
    done, *rest = federation.run(ada, 4, group_id=group_id)
    [other] = federation.run(ada)
    site.succeed(*site.lease(1))
    answer = federation.cancel(ada, group_id=group_id)
    assert sorted(answer.cancelled) == sorted(rest)
    assert federation.states([done, other]) == ["succeeded", "queued"]
    assert [each.cursor for each in federation.results(ada, group_id)] == [1, 2, 3, 4]
    assert federation.cancel(ada, group_id=group_id).cancelled == []


def test_a_task_named_twice_is_cancelled_once(federation: Federation, ada: Principal) -> None:
    group_id = new_id()
    [task_id] = federation.run(ada, group_id=group_id)
    assert federation.cancel(ada, task_id, task_id, group_id=group_id).cancelled == [task_id]
    assert len(federation.results(ada, group_id)) == 1


def test_other_peoples_tasks_look_unknown(federation: Federation, ada: Principal, bob: Principal) -> None:
    group_id = new_id()
    [task_id] = federation.run(ada, group_id=group_id)
    unknown = new_id()
    answer = federation.cancel(bob, task_id, unknown, "nonsense")
    assert answer.cancelled == []
    assert answer.not_cancelled == {task_id: "unknown", unknown: "unknown", "nonsense": "unknown"}
    assert federation.cancel(bob, group_id=group_id).cancelled == []
    assert federation.state(task_id) == "queued"


def test_an_id_with_a_tail_is_another_id(federation: Federation, ada: Principal) -> None:
    [task_id] = federation.run(ada)
    assert federation.cancel(ada, task_id + "-and-more").cancelled == []
    assert federation.state(task_id) == "queued"


def test_children_of_a_cancelled_task_end_too(federation: Federation, ada: Principal) -> None:
    [parent] = federation.run(ada)
    [child] = federation.run(ada, after=[parent])
    assert federation.cancel(ada, parent).cancelled == [parent]
    assert federation.state(child) == "dependency_failed"


def test_nothing_to_cancel_is_an_error(federation: Federation, ada: Principal) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        federation.cancel(ada)
    assert refusal.value.field == "task_ids"
