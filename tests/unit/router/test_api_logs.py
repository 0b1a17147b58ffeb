"""Output on demand: who may ask, who is told, and what the one who asked gets."""

from __future__ import annotations

import asyncio

import pytest

from faas.models import Location, LogFound, LogQuery, LogRequest, Nothing, TaskLog
from tests.unit.router.callers import PATIENCE_S, Agent, Caller, Federation, asleep, submit

pytestmark = pytest.mark.anyio


@pytest.fixture
def service(any_service: Federation) -> Federation:
    """These tests run on both databases."""
    return any_service


async def ran(ada: Caller, agent: Agent) -> str:
    """A task that has ended."""
    _, (task_id,) = await submit(ada, await ada.register())
    (leased,) = (await agent.lease()).tasks
    await agent.succeed(leased, b"value")
    return task_id


async def ask(caller: Caller, task_id: str, **query: object) -> TaskLog:
    return await caller.ask("POST", f"/v1/tasks/{task_id}/logs", LogQuery(**query), answer=TaskLog)  # type: ignore[arg-type]


async def answer(agent: Agent, request: LogRequest, content: bytes | None) -> None:
    """Store a file as an agent does, and say so."""
    if content is not None:
        url = request.grant.url
        stored = await agent.caller.http.put(url, content=content, headers=request.grant.headers)
        assert stored.is_success, stored.text
    found = LogFound(request_id=request.request_id, size_bytes=None if content is None else len(content))
    await agent.caller.ask("POST", f"/v1/sessions/{agent.session_id}/logs", found, answer=Nothing)


async def test_the_site_is_woken_and_its_file_comes_back(
    service: Federation, ada: Caller, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router.wakeups.RECHECK_S", 10_000.0)  # only a wake-up helps
    task_id = await ran(ada, agent)
    beat = asyncio.create_task(agent.beat(wait_s=25))
    await asleep(service.service.wakeups, f"session {agent.session_id}")
    asking = asyncio.create_task(ask(ada, task_id, stream="stderr", wait_s=25))
    (request,) = (await asyncio.wait_for(beat, PATIENCE_S)).logs_wanted
    assert (request.task_id, request.attempt.number, request.stream) == (task_id, 1, "stderr")
    await answer(agent, request, b"line 1\nline 2\n")
    found = await asyncio.wait_for(asking, PATIENCE_S)
    assert (found.state, found.attempt, found.size_bytes) == ("stored", 1, 14)
    assert found.grant is not None
    assert await ada.fetch(found.grant, Location(found.grant.object_id, 7, 7)) == b"line 2\n"


async def test_a_request_is_handed_out_until_it_is_heard_and_joined_by_who_asks_again(
    service: Federation, ada: Caller, agent: Agent
) -> None:
    task_id = await ran(ada, agent)
    assert (await ask(ada, task_id, wait_s=0)).state == "pending"
    (request,) = (await agent.beat()).logs_wanted
    (again,) = (await agent.beat()).logs_wanted
    assert again.request_id == request.request_id
    assert (await agent.beat(delivering=[request.request_id])).logs_wanted == []
    assert (await ask(ada, task_id, wait_s=0)).state == "pending"
    assert (await agent.beat(delivering=[request.request_id])).logs_wanted == []
    asking = asyncio.create_task(ask(ada, task_id, wait_s=25))
    await asleep(service.service.wakeups, f"session {agent.session_id}")
    await answer(agent, request, None)
    assert (await asyncio.wait_for(asking, PATIENCE_S)).state == "absent"
    assert (await agent.beat()).logs_wanted == []


async def test_only_the_owner_may_ask(service: Federation, ada: Caller, agent: Agent) -> None:
    task_id = await ran(ada, agent)
    mallory = await service.person("mallory")
    problem = await mallory.refusal("POST", f"/v1/tasks/{task_id}/logs", LogQuery())
    assert problem.status == 404
    assert (await agent.beat()).logs_wanted == []


async def test_only_the_agent_that_was_asked_may_answer(service: Federation, ada: Caller, agent: Agent) -> None:
    task_id = await ran(ada, agent)
    await ask(ada, task_id, wait_s=0)
    (request,) = (await agent.beat()).logs_wanted
    other = await service.agent(await service.person("trudy"), "elsewhere")
    assert (await other.beat()).logs_wanted == []
    for session_id in (other.session_id, agent.session_id):
        found = LogFound(request_id=request.request_id, size_bytes=1)
        await other.caller.ask("POST", f"/v1/sessions/{session_id}/logs", found, answer=Nothing)
    assert (await ask(ada, task_id, wait_s=0)).state == "pending"


async def test_an_endpoint_that_is_offline_is_not_waited_for(service: Federation, ada: Caller, agent: Agent) -> None:
    task_id = await ran(ada, agent)
    await agent.caller.ask("DELETE", f"/v1/sessions/{agent.session_id}", answer=Nothing)
    assert (await ask(ada, task_id, wait_s=25)).state == "offline"


@pytest.mark.parametrize("number", [2, 0, -1])
async def test_an_attempt_that_does_not_exist_is_refused(
    service: Federation, ada: Caller, agent: Agent, number: int
) -> None:
    task_id = await ran(ada, agent)
    problem = await ada.refusal("POST", f"/v1/tasks/{task_id}/logs", LogQuery(attempt=number))
    assert (problem.status, problem.field) == (404, "attempt")
