"""Waiting and sessions: long polls that a change ends, and what a session's end does."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from faas.models import (
    CancelRequest,
    CancelResponse,
    LeaseRequest,
    Nothing,
    Offer,
    Outcome,
    TaskResult,
)
from tests.unit.router.callers import PATIENCE_S, Agent, Caller, Federation, asleep, federation, submit, task

pytestmark = pytest.mark.anyio


@pytest.fixture
def service(any_service: Federation) -> Federation:
    """These tests run on both databases."""
    return any_service


@pytest.fixture
async def own_service(tmp_path: Path, no_settings: None, anyio_backend: str) -> AsyncIterator[Federation]:
    """One that no other test uses, to be stopped."""
    async with federation(tmp_path / "data") as running:
        yield running


# Waiting


@pytest.fixture
def no_rechecks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks again by the clock: only a wake-up helps."""
    monkeypatch.setattr("router.wakeups.RECHECK_S", 10_000.0)


async def test_a_poll_for_results_wakes_on_a_report(
    service: Federation, ada: Caller, agent: Agent, no_rechecks: None
) -> None:
    group_id, (task_id,) = await submit(ada, await ada.register())
    (leased,) = (await agent.lease()).tasks
    poll = asyncio.create_task(ada.results(group_id, wait_s=25))
    await asleep(service.service.wakeups, f"group {group_id}")
    await agent.succeed(leased, b"value")
    answer = await asyncio.wait_for(poll, PATIENCE_S)
    assert [result.task_id for result in answer.results] == [task_id]
    assert (await ada.results(group_id, after=answer.cursor)).results == []


async def test_an_agent_without_workers_is_told_of_work_at_once_and_of_known_work_in_time(
    service: Federation, ada: Caller, agent: Agent, no_rechecks: None
) -> None:
    beat = asyncio.create_task(agent.beat(workers=0, wait_s=25))
    await asleep(service.service.wakeups, "work")
    await submit(ada, await ada.register(), 3)
    assert (await asyncio.wait_for(beat, PATIENCE_S)).demand.tasks == 3
    # It knows by now, and waits for its blocks: to answer at once would have it ask again at once.
    known = asyncio.create_task(agent.beat(workers=0, known_demand=3, wait_s=25))
    await asleep(service.service.wakeups, f"session {agent.session_id}")
    assert not known.done()
    known.cancel()


async def test_a_request_that_was_taken_back_is_granted_nothing(
    service: Federation, ada: Caller, agent: Agent, no_rechecks: None
) -> None:
    """Its agent asks anew, with no worker left; the service still holds the old request."""
    old = asyncio.create_task(agent.lease(workers=2, wait_s=25))
    await asleep(service.service.wakeups, "work")
    nobody = [Offer(shape="", workers=0, idle_workers=0)]
    new = asyncio.create_task(agent.lease(workers=0, offers=nobody, wait_s=25))
    while len(service.service.wakeups._waiting["work"]) < 2:
        assert not new.done()
        await asyncio.sleep(0)
    _, (task_id,) = await submit(ada, await ada.register())
    assert (await asyncio.wait_for(old, PATIENCE_S)).tasks == []
    new.cancel()
    assert [leased.task_id for leased in (await agent.lease()).tasks] == [task_id]


async def test_a_poll_for_one_task_wakes_on_its_end(
    service: Federation, ada: Caller, agent: Agent, no_rechecks: None
) -> None:
    group_id, (task_id,) = await submit(ada, await ada.register())
    (leased,) = (await agent.lease()).tasks
    poll = asyncio.create_task(
        ada.ask("GET", f"/v1/tasks/{task_id}/result", answer=TaskResult, params={"wait_s": "25"})
    )
    await asleep(service.service.wakeups, f"group {group_id}")
    await agent.succeed(leased, b"value")
    assert (await asyncio.wait_for(poll, PATIENCE_S)).hint == b"value"


async def test_a_poll_of_an_unknown_group_wakes_when_it_comes_to_be_and_ends(
    service: Federation, ada: Caller, agent: Agent, no_rechecks: None
) -> None:
    group_id = str(uuid.uuid4())
    poll = asyncio.create_task(ada.results(group_id, wait_s=25))
    await asleep(service.service.wakeups, f"group {group_id}")
    await ada.submit(task(await ada.register()), group_id=group_id)
    (leased,) = (await agent.lease()).tasks
    await agent.succeed(leased, b"value")
    assert len((await asyncio.wait_for(poll, PATIENCE_S)).results) == 1


async def test_a_lease_wakes_on_a_submission(service: Federation, ada: Caller, agent: Agent, no_rechecks: None) -> None:
    function_id = await ada.register()
    poll = asyncio.create_task(agent.lease(wait_s=25))
    await asleep(service.service.wakeups, f"session {agent.session_id}")
    _, ids = await submit(ada, function_id)
    assert [leased.task_id for leased in (await asyncio.wait_for(poll, PATIENCE_S)).tasks] == ids


async def test_a_lease_wakes_when_its_session_is_replaced(service: Federation, agent: Agent, no_rechecks: None) -> None:
    request = LeaseRequest(number=1, workers=1, idle_workers=1, wait_s=25)
    path = f"/v1/sessions/{agent.session_id}/lease"
    poll = asyncio.create_task(agent.caller.refusal("POST", path, request))
    await asleep(service.service.wakeups, f"session {agent.session_id}")
    await agent.open(takeover=True)
    assert (await asyncio.wait_for(poll, PATIENCE_S)).status == 409


async def test_a_heartbeat_wakes_on_a_cancel(
    service: Federation, ada: Caller, agent: Agent, no_rechecks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router.api.sessions._MAX_HEARTBEAT_WAIT_S", 25.0)
    _, (task_id,) = await submit(ada, await ada.register())
    (leased,) = (await agent.lease()).tasks
    poll = asyncio.create_task(agent.beat(leased.attempt, wait_s=25))
    await asleep(service.service.wakeups, f"session {agent.session_id}")
    cancelled = await ada.ask("POST", "/v1/tasks/cancel", CancelRequest(task_ids=[task_id]), answer=CancelResponse)
    assert cancelled.cancelled == [task_id]
    assert (await asyncio.wait_for(poll, PATIENCE_S)).recalled == [leased.attempt]
    assert (await agent.report()).recalled == [leased.attempt]


@pytest.mark.parametrize("wait_s", [-5.0, 0.0, 0.01])
async def test_a_poll_ends_when_it_was_told_to(ada: Caller, agent: Agent, no_rechecks: None, wait_s: float) -> None:
    answer = await asyncio.wait_for(ada.results(str(uuid.uuid4()), wait_s=wait_s), PATIENCE_S)
    assert (answer.results, answer.cursor) == ([], 0)
    assert (await asyncio.wait_for(agent.lease(wait_s=wait_s), PATIENCE_S)).tasks == []
    assert (await asyncio.wait_for(agent.beat(wait_s=wait_s), PATIENCE_S)).recalled == []


async def test_polls_are_let_go_when_the_service_stops(own_service: Federation, no_rechecks: None) -> None:
    service = own_service
    ada = await service.person("ada")
    agent = await service.agent(ada, "beamline")
    group_id = str(uuid.uuid4())
    polls = [
        asyncio.create_task(ada.results(group_id, wait_s=25)),
        asyncio.create_task(agent.lease(wait_s=25)),
    ]
    for topic in (f"group {group_id}", f"session {agent.session_id}"):
        await asleep(service.service.wakeups, topic)
    service.service.wakeups.close()
    await asyncio.wait_for(asyncio.gather(*polls), PATIENCE_S)
    await asyncio.wait_for(ada.results(group_id, wait_s=25), PATIENCE_S)  # nor does a new one stay


# Sessions end


async def test_closing_a_session_gives_its_tasks_back(ada: Caller, agent: Agent, other_agent: Agent) -> None:
    _, ids = await submit(ada, await ada.register(), 2)
    first, _ = (await agent.lease()).tasks
    await agent.report(Outcome(attempt=first.attempt, state="started"))
    await agent.caller.ask("DELETE", f"/v1/sessions/{agent.session_id}", answer=Nothing)
    again = (await other_agent.lease()).tasks
    assert {leased.task_id for leased in again} == set(ids)
    assert {leased.task_id: leased.losses for leased in again} == {ids[0]: 1, ids[1]: 0}


async def test_what_is_leased_but_not_held_is_requeued(ada: Caller, agent: Agent) -> None:
    _, ids = await submit(ada, await ada.register(), 2)
    first, second = (await agent.lease()).tasks
    await agent.beat(first.attempt)
    (again,) = (await agent.lease()).tasks
    assert (again.task_id, again.attempt.number) == (ids[1], second.attempt.number + 1)


async def test_an_answer_not_yet_taken_in_is_not_requeued(ada: Caller, agent: Agent) -> None:
    await submit(ada, await ada.register(), 2)
    await agent.lease()
    await agent.beat(lease_number=0)
    assert (await agent.lease()).tasks == []
