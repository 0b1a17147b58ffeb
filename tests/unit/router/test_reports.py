"""Results on their way back: where they are said to lie, hints, dependencies, restarts."""

from __future__ import annotations

from pathlib import Path

import pytest

from faas.models import (
    AttemptKey,
    Grant,
    LeaseRequest,
    Location,
    Outcome,
    Task,
    TaskResult,
)
from tests.unit.router.callers import Agent, Caller, Federation, federation, submit, task

pytestmark = pytest.mark.anyio


@pytest.fixture
def service(any_service: Federation) -> Federation:
    """These tests run on both databases."""
    return any_service


async def test_a_result_comes_with_its_hint(ada: Caller, agent: Agent) -> None:
    group_id, (task_id,) = await submit(ada, await ada.register())
    (leased,) = (await agent.lease()).tasks
    location = await agent.succeed(leased, b"the value")
    (result,) = (await ada.results(group_id)).results
    assert (result.task_id, result.state, result.hint) == (task_id, "succeeded", b"the value")
    assert (result.location, result.endpoint_id) == (location, agent.endpoint_id)
    single = await ada.ask("GET", f"/v1/tasks/{task_id}/result", answer=TaskResult)
    assert (single.hint, single.grant) == (b"the value", None)
    shown = await ada.ask("GET", f"/v1/tasks/{task_id}", answer=Task)
    assert location.object_id in shown.location_key
    assert shown.attempts[0].endpoint == "beamline"


async def test_a_result_without_a_hint_is_read_by_range(ada: Caller, agent: Agent) -> None:
    group_id, ids = await submit(ada, await ada.register(), 2)
    first, second = (await agent.lease()).tasks
    place = await agent.store(ada.identity_id, b"--one--two!--")
    places = [Location(place.object_id, 2, 3), Location(place.object_id, 7, 4)]
    await agent.report(
        *(
            Outcome(attempt=leased.attempt, state="succeeded", location=where)
            for leased, where in zip((first, second), places, strict=True)
        )
    )
    answer = await ada.results(group_id)
    (grant,) = answer.grants
    assert [(result.task_id, result.location, result.hint) for result in answer.results] == [
        (ids[0], places[0], None),
        (ids[1], places[1], None),
    ]
    assert [await ada.fetch(grant, where) for where in places] == [b"one", b"two!"]
    single = await ada.ask("GET", f"/v1/tasks/{ids[1]}/result", answer=TaskResult)
    assert single.grant is not None
    assert await ada.fetch(single.grant, places[1]) == b"two!"


async def test_a_small_segment_may_come_with_the_report(ada: Caller, agent: Agent) -> None:
    group_id, ids = await submit(ada, await ada.register(), 2)
    first, second = (await agent.lease()).tasks
    granted = agent.segments[ada.identity_id].pop(0)
    assert granted.inline
    outcomes = [
        Outcome(attempt=leased.attempt, state="succeeded", location=Location(granted.object_id, offset, 3))
        for leased, offset in ((first, 0), (second, 3))
    ]
    for content in (b"onetwo", b"onetwo", b"forged"):  # an answer may be lost; what counts is never written again
        await agent.report(*outcomes, segments={granted.object_id: content})
    assert [result.hint for result in (await ada.results(group_id)).results] == [b"one", b"two"]
    stored = await ada.ask("GET", f"/v1/objects/{granted.object_id}", answer=Grant)
    assert await ada.fetch(stored, Location(granted.object_id, 0, 6)) == b"onetwo"
    assert len(ids) == 2


async def test_what_comes_along_for_another_endpoint_is_not_stored(
    service: Federation, ada: Caller, agent: Agent
) -> None:
    bob = await service.stranger("bob")
    intruder = await service.agent(bob, "elsewhere")
    await submit(bob, await bob.register(), max_losses=0)
    await submit(ada, await ada.register())
    await agent.lease()
    (leased,) = (await intruder.lease()).tasks
    victim = agent.segments[ada.identity_id][0].object_id
    outcome = Outcome(attempt=leased.attempt, state="succeeded", location=Location(victim, 0, 4))
    await intruder.report(outcome, segments={victim: b"evil"})
    stored = await ada.ask("GET", f"/v1/objects/{victim}", answer=Grant)
    assert (await ada.http.get(stored.url)).status_code == 404
    assert (await bob.ask("GET", f"/v1/tasks/{leased.task_id}", answer=Task)).state == "lost"


@pytest.mark.parametrize("problem", ["not stored", "beyond the end", "not granted", "nowhere"])
async def test_a_result_that_is_not_where_it_is_said_to_be_is_lost(
    service: Federation, ada: Caller, agent: Agent, problem: str
) -> None:
    _, (task_id,) = await submit(ada, await ada.register(), max_losses=0)
    (leased,) = (await agent.lease()).tasks
    where: Location | None = None
    if problem == "not stored":
        where = Location(agent.segments[ada.identity_id][0].object_id, 0, 5)
    elif problem == "beyond the end":
        stored = await agent.store(ada.identity_id, b"12345")
        where = Location(stored.object_id, 1, 5)
    elif problem == "not granted":
        bob = await service.stranger("bob")
        intruder = await service.agent(bob, "elsewhere")
        await submit(bob, await bob.register())
        await intruder.lease()
        where = await intruder.store(bob.identity_id, b"12345")
    outcome = Outcome(attempt=leased.attempt, state="succeeded", location=where, hint=b"12345")
    await agent.report(outcome)
    shown = await ada.ask("GET", f"/v1/tasks/{task_id}", answer=Task)
    assert shown.state == "lost"
    assert shown.attempts[0].message


async def test_a_report_for_somebody_elses_attempt_changes_nothing(
    service: Federation, ada: Caller, agent: Agent
) -> None:
    _, (task_id,) = await submit(ada, await ada.register())
    (leased,) = (await agent.lease()).tasks
    bob = await service.stranger("bob")
    intruder = await service.agent(bob, "elsewhere")
    outcomes = [Outcome(attempt=leased.attempt, state="failed", message="gotcha")]
    outcomes.append(Outcome(attempt=AttemptKey(10**9, 1), state="failed"))
    assert (await intruder.report(*outcomes)).dropped == 2
    assert (await ada.ask("GET", f"/v1/tasks/{task_id}", answer=Task)).state == "leased"


async def test_a_report_said_twice_counts_once(ada: Caller, agent: Agent) -> None:
    group_id, _ = await submit(ada, await ada.register())
    (leased,) = (await agent.lease()).tasks
    location = await agent.succeed(leased, b"value")
    again = Outcome(attempt=leased.attempt, state="succeeded", location=location)
    assert (await agent.report(again)).dropped == 1
    assert len((await ada.results(group_id)).results) == 1


async def test_a_fenced_agents_spool_is_still_taken(ada: Caller, agent: Agent) -> None:
    group_id, _ = await submit(ada, await ada.register())
    (leased,) = (await agent.lease()).tasks
    old_session = agent.session_id
    await agent.open(takeover=True)
    request = LeaseRequest(number=5, workers=1, idle_workers=1, wait_s=0)
    assert (await agent.caller.refusal("POST", f"/v1/sessions/{old_session}/lease", request)).status == 409
    await agent.succeed(leased, b"from the spool")
    (result,) = (await ada.results(group_id)).results
    assert (result.state, result.hint) == ("succeeded", b"from the spool")


async def test_a_second_agent_is_refused_while_the_first_lives(agent: Agent) -> None:
    request = {"nonce": "another", "host": "node2", "pid": 7, "version": "1"}
    problem = await agent.caller.refusal("POST", "/v1/sessions", request)
    assert problem.status == 409
    assert "node1" in problem.detail
    assert "4242" in problem.detail
    assert "--takeover" in problem.fix


async def test_opening_a_session_twice_is_the_same_session(service: Federation, ada: Caller) -> None:
    agent = await service.agent(ada, "again", start=False)
    first = await agent.open(nonce="on disk")
    assert (await agent.open(nonce="on disk")).session_id == first.session_id


async def test_what_a_program_prints_may_hold_nul_characters(ada: Caller, agent: Agent) -> None:
    _, (task_id,) = await submit(ada, await ada.register())
    (leased,) = (await agent.lease()).tasks
    text = "be\x00fore"
    outcome = Outcome(
        attempt=leased.attempt, state="failed", kind="exception", message=text, stdout=text, stderr=text, host=text
    )
    assert (await agent.report(outcome)).dropped == 0
    shown = await ada.ask("GET", f"/v1/tasks/{task_id}", answer=Task)
    assert shown.state == "failed"
    for seen in (shown.message, shown.attempts[0].stdout, shown.attempts[0].stderr):
        assert seen == "be\N{REPLACEMENT CHARACTER}fore"


async def test_dependencies_arrive_with_place_and_grant(ada: Caller, agent: Agent, other_agent: Agent) -> None:
    function_id = await ada.register()
    one, two = task(function_id), task(function_id)
    child = task(function_id, dependencies=[one.task_id, two.task_id])
    assert (await ada.submit(one, two, child)).accepted == 3
    first, second = (await agent.lease()).tasks
    await agent.succeed(first, b"first result", hint=False)
    assert (await other_agent.lease()).tasks == []
    await agent.succeed(second, b"second result", hint=True)
    (leased,) = (await other_agent.lease()).tasks
    assert leased.task_id == child.task_id
    assert set(leased.dependencies) == {one.task_id, two.task_id}
    # What is small and at hand comes along; the other is to be fetched.
    assert leased.values == {two.task_id: b"second result"}
    (grant,) = leased.dependency_grants
    assert await ada.fetch(grant, leased.dependencies[one.task_id]) == b"first result"


async def test_a_dependency_that_fails_ends_its_children(ada: Caller, agent: Agent) -> None:
    function_id = await ada.register()
    parent = task(function_id)
    child = task(function_id, dependencies=[parent.task_id])
    group_id = (await ada.submit(parent, child)).group_id
    (leased,) = (await agent.lease()).tasks
    await agent.report(Outcome(attempt=leased.attempt, state="failed", kind="exception", message="ValueError: no"))
    results = (await ada.results(group_id)).results
    assert [(result.task_id, result.state) for result in results] == [
        (parent.task_id, "failed"),
        (child.task_id, "dependency_failed"),
    ]
    assert parent.task_id in results[1].message


# The service goes and comes back


async def test_a_restart_loses_hints_and_no_results(tmp_path: Path, no_settings: None) -> None:
    async with federation(tmp_path / "data") as before:
        ada = await before.person("ada")
        agent = await before.agent(ada, "beamline")
        group_id, (task_id,) = await submit(ada, await ada.register())
        (leased,) = (await agent.lease()).tasks
        location = await agent.succeed(leased, b"the value")
        assert (await ada.results(group_id)).results[0].hint == b"the value"
    async with federation(tmp_path / "data") as after:
        ada = Caller(after.http, ada.token)
        answer = await ada.results(group_id)
        assert [(result.task_id, result.hint) for result in answer.results] == [(task_id, None)]
        assert await ada.fetch(answer.grants[0], location) == b"the value"
        agent.caller = Caller(after.http, agent.caller.token)
        assert (await agent.beat()).recalled == []  # the session lives on
