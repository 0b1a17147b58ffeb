"""History: every task with its attempts and every block once, page by page, and only what one may see."""

from __future__ import annotations

from typing import Any

import pytest

from faas.errors import InvalidRequest, NotFound, PermissionDenied
from faas.models import (
    Activity,
    AllowedFunctions,
    AttemptColumns,
    Block,
    BlockHistory,
    RunPolicy,
    TaskColumns,
    TaskHistory,
)
from registry import history
from registry.identities import Principal
from tests.unit.registry.federation import Agent, Federation, new_id


def tasks_of(federation: Federation, principal: Principal, **asked: Any) -> TaskHistory:
    return federation.read(lambda transaction: history.task_history(transaction, principal, **asked))


def blocks_of(federation: Federation, principal: Principal, **asked: Any) -> BlockHistory:
    return federation.read(lambda transaction: history.block_history(transaction, principal, **asked))


def activity_of(federation: Federation, principal: Principal, **asked: Any) -> Activity:
    return federation.read(lambda transaction: history.activity(transaction, principal, 60.0, **asked))


def lengths(columns: TaskColumns | AttemptColumns) -> set[int]:
    return {len(getattr(columns, name)) for name in columns.__struct_fields__}


def test_a_task_is_told_with_all_its_attempts(federation: Federation, ada: Principal, site: Agent) -> None:
    start = federation.clock.now
    [task_id] = federation.run(ada, max_attempts=2, tags={"scan": "7"})
    federation.clock.advance(5)
    site.fail(*site.lease())
    federation.clock.advance(5)
    [granted] = site.lease()
    federation.clock.advance(1)
    site.succeed(granted)
    page = tasks_of(federation, ada)
    tasks, attempts = page.tasks, page.attempts
    assert (tasks.task_id, tasks.state, tasks.tags) == ([task_id], ["succeeded"], [{"scan": "7"}])
    assert (tasks.submitted_at, tasks.ended_at) == ([start], [start + 11])
    assert (attempts.task, attempts.number, attempts.state) == ([0, 0], [1, 2], ["failed", "succeeded"])
    assert attempts.leased_at == [start + 5, start + 10]
    assert (attempts.started_at[1], attempts.run_s[1], attempts.ended_at) == (1.0, 0.5, [start + 5, start + 11])
    assert page.endpoints == {site.endpoint_id: "site"}
    assert page.functions == {tasks.function_id[0]: "fit"}
    assert page.identities == {ada.identity_id: "ada"}
    assert lengths(tasks) == {1}
    assert lengths(attempts) == {2}


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 100])
def test_pages_hold_every_task_once(
    federation: Federation, ada: Principal, bob: Principal, site: Agent, limit: int
) -> None:
    expected = []
    for _ in range(3):
        expected += federation.run(ada, 2, max_attempts=3)
        federation.run(bob)
    site.fail(*site.lease(2))
    site.lease(3)
    told: list[str] = []
    tried: list[str] = []
    after: int | None = 0
    while after is not None:
        page = tasks_of(federation, ada, after=after, limit=limit)
        assert len(page.tasks.task_id) <= limit
        told += page.tasks.task_id
        tried += [page.tasks.task_id[row] for row in page.attempts.task]
        after = page.next_after
    assert told == expected
    assert sorted(tried) == sorted(task for task in expected for _ in federation.attempts(task))


def test_what_ended_before_is_left_out_but_pages_go_on(federation: Federation, ada: Principal, site: Agent) -> None:
    federation.run(ada, 3)
    site.succeed(*site.lease())
    federation.clock.advance(100)
    since = federation.clock.now
    [late] = federation.run(ada)
    site.succeed(*site.lease())
    [waiting] = federation.run(ada)
    first = tasks_of(federation, ada, since=since, limit=3)
    assert (first.tasks.task_id, first.attempts.task) == ([], [])
    assert first.next_after is not None
    rest = tasks_of(federation, ada, since=since, limit=3, after=first.next_after)
    assert (rest.tasks.task_id, rest.next_after) == ([late, waiting], None)


def test_a_group_alone(federation: Federation, ada: Principal, bob: Principal) -> None:
    group_id = new_id()
    federation.run(ada)
    mine = federation.run(ada, 2, group_id=group_id)
    assert tasks_of(federation, ada, group_id=group_id).tasks.task_id == mine
    for principal, unknown in ((bob, group_id), (ada, new_id())):
        with pytest.raises(NotFound):
            tasks_of(federation, principal, group_id=unknown)


def test_everyones_is_for_administrators(federation: Federation, ada: Principal, bob: Principal) -> None:
    admin = federation.person("root", "admin")
    everything = federation.run(ada) + federation.run(bob)
    page = tasks_of(federation, admin, everyone=True)
    assert page.tasks.task_id == everything
    assert set(page.identities.values()) == {"ada", "bob"}
    assert tasks_of(federation, admin).tasks.task_id == []
    with pytest.raises(PermissionDenied):
        tasks_of(federation, ada, everyone=True)
    with pytest.raises(PermissionDenied):
        blocks_of(federation, ada, everyone=True)
    with pytest.raises(PermissionDenied):
        activity_of(federation, ada, everyone=True)


def block(name: str, **fields: Any) -> Block:
    return Block(block_id=name, state=fields.pop("state", "running"), requested_at=1.0, **fields)


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_pages_hold_every_block_of_endpoints_one_may_use(
    federation: Federation, ada: Principal, bob: Principal, limit: int
) -> None:
    theta, cori = federation.agent(ada, "theta"), federation.agent(ada, "cori")
    other = federation.agent(bob, "other")
    for agent in (theta, cori, other):
        agent.beat(blocks=[block("a/1", started_at=2.0, ready_at=3.0, workers=4), block("b", state="queued")])
    told: list[tuple[str, str, int, float | None]] = []
    after = ""
    while True:
        page = blocks_of(federation, ada, after=after, limit=limit)
        columns = page.blocks
        told += zip(columns.endpoint_id, columns.block_id, columns.workers, columns.ready_at, strict=True)
        after = page.next_after
        if not after:
            break
    assert sorted(told) == sorted(
        (agent.endpoint_id, *facts) for agent in (theta, cori) for facts in (("a/1", 4, 3.0), ("b", 0, None))
    )


@pytest.mark.parametrize("cursor", ["x", "a/b", "a/-1/b", "a/99999999999/b", "a//b"])
def test_a_cursor_of_somebody_elses_is_refused(federation: Federation, ada: Principal, cursor: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        blocks_of(federation, ada, after=cursor)
    assert refusal.value.field == "after"


def test_blocks_that_ended_before_are_left_out(federation: Federation, ada: Principal, site: Agent) -> None:
    site.beat(blocks=[block("old", state="ended", started_at=2.0, ended_at=10.0), block("live", started_at=2.0)])
    page = blocks_of(federation, ada, since=11.0)
    assert page.blocks.block_id == ["live"]


def test_activity_counts_what_waits_is_held_and_ended_of_late(
    federation: Federation, ada: Principal, bob: Principal, site: Agent
) -> None:
    federation.run(ada, 6)
    federation.run(bob)
    site.succeed(*site.lease(1))
    federation.clock.advance(100)
    site.succeed(*site.lease(1))
    site.fail(*site.lease(1))
    site.lease(1)
    told = activity_of(federation, ada)
    assert (told.queued, told.held, told.ended) == (2, 1, {"succeeded": 1, "failed": 1})
    assert told.ended_at == {site.endpoint_id: 2}
    assert activity_of(federation, bob) == Activity(now=told.now, window_s=60.0, queued=1)
    everyone = activity_of(federation, federation.person("root", "admin"), everyone=True)
    assert (everyone.queued, everyone.ended_at) == (3, told.ended_at)


def test_the_owner_of_an_endpoint_sees_what_others_ran_there(
    federation: Federation, ada: Principal, bob: Principal
) -> None:
    agent = federation.agent(ada, "shared", policy=RunPolicy(identities={"bob": AllowedFunctions()}))
    federation.run(bob)
    agent.succeed(*agent.lease())
    told = activity_of(federation, ada)
    assert (told.ended, told.ended_at) == ({}, {agent.endpoint_id: 1})
