"""Work on its way: late binding, leases asked for twice, grants, results, dependencies, cancelling."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import msgspec
import pytest

from faas.models import (
    AttemptKey,
    CancelRequest,
    CancelResponse,
    CreateObject,
    FunctionCode,
    Grant,
    LeaseRequest,
    Location,
    Nothing,
    Outcome,
    Pool,
    Task,
    TaskResult,
)
from tests.unit.router.callers import PATIENCE_S, Agent, Caller, Federation, allow, asleep, federation, task

pytestmark = pytest.mark.anyio


@pytest.fixture
async def ada(any_service: Federation) -> Caller:
    return await any_service.stranger("ada")


@pytest.fixture
async def agent(any_service: Federation, ada: Caller) -> Agent:
    return await any_service.agent(ada, "beamline")


@pytest.fixture
async def other_agent(any_service: Federation, ada: Caller) -> Agent:
    return await any_service.agent(ada, "cluster", labels={"gpu": "yes"})


async def submit(caller: Caller, function_id: str, count: int = 1, **fields: Any) -> tuple[str, list[str]]:
    tasks = [task(function_id, payload=b"%d" % number, **fields) for number in range(count)]
    return (await caller.submit(*tasks)).group_id, [each.task_id for each in tasks]


# Late binding


async def test_any_goes_to_who_asks_first_with_room_for_the_other(
    ada: Caller, agent: Agent, other_agent: Agent
) -> None:
    _, ids = await submit(ada, await ada.register(), 3)
    first = await agent.lease(workers=1)
    second = await other_agent.lease(workers=4)
    assert [leased.task_id for leased in first.tasks] == ids[:1]
    assert [leased.task_id for leased in second.tasks] == ids[1:]
    assert [leased.payload for leased in second.tasks] == [b"1", b"2"]
    shown = await ada.ask("GET", f"/v1/tasks/{ids[0]}", answer=Task)
    assert (shown.state, shown.endpoint) == ("leased", "beamline")


async def test_pinned_tasks_go_to_their_endpoint_alone(ada: Caller, agent: Agent, other_agent: Agent) -> None:
    function_id = await ada.register()
    _, by_name = await submit(ada, function_id, target="cluster")
    _, by_id = await submit(ada, function_id, target=other_agent.endpoint_id)
    assert (await agent.lease()).tasks == []
    assert {leased.task_id for leased in (await other_agent.lease()).tasks} == {*by_name, *by_id}


@pytest.mark.parametrize("pool", [Pool(name="fast", endpoints=["cluster"]), Pool(name="fast", labels={"gpu": "yes"})])
async def test_a_pools_tasks_go_to_its_members(ada: Caller, agent: Agent, other_agent: Agent, pool: Pool) -> None:
    await ada.ask("POST", "/v1/pools", pool, answer=Pool)
    _, ids = await submit(ada, await ada.register(), target="fast")
    assert (await agent.lease()).tasks == []
    assert [leased.task_id for leased in (await other_agent.lease()).tasks] == ids


async def test_any_is_where_the_caller_may_run(any_service: Federation, ada: Caller, agent: Agent) -> None:
    bob = await any_service.stranger("bob")
    function_id = await bob.register()
    _, ids = await submit(bob, function_id)
    assert (await agent.lease()).tasks == []
    await agent.open(policy=allow(bob.name, functions=[function_id]), takeover=True)
    (leased,) = (await agent.lease()).tasks
    assert (leased.task_id, leased.owner, leased.owner_id) == (ids[0], bob.name, bob.identity_id)


async def test_idle_workers_get_one_long_task_each_over_all_functions(ada: Caller, agent: Agent) -> None:
    for name in ("one", "two", "three"):
        await submit(ada, await ada.register(name), 5)
    assert len((await agent.lease(workers=2)).tasks) == 2


async def test_higher_priority_first_then_first_come(ada: Caller, agent: Agent) -> None:
    function_id = await ada.register()
    _, low = await submit(ada, function_id, 2)
    _, high = await submit(ada, function_id, 2, priority=5)
    assert [leased.task_id for leased in (await agent.lease(workers=3)).tasks] == [*high, low[0]]


async def test_no_more_tasks_than_asked_for(ada: Caller, agent: Agent) -> None:
    await submit(ada, await ada.register(), 5)
    assert len((await agent.lease(workers=5, max_tasks=2)).tasks) == 2
    assert (await agent.lease(workers=5, max_tasks=0)).tasks == []
    assert (await agent.lease(workers=5, max_tasks=-3)).tasks == []


# Leases asked for twice


async def test_a_lease_asked_for_twice_is_the_same_with_valid_grants(ada: Caller, agent: Agent) -> None:
    await submit(ada, await ada.register(), 5)
    first = await agent.lease(workers=3)
    again = await agent.lease(workers=3, number=first.number)
    assert [leased.attempt for leased in again.tasks] == [leased.attempt for leased in first.tasks]
    assert len(first.tasks) == 3
    for grant in [*first.segments[ada.identity_id], *again.segments[ada.identity_id]]:
        assert (await ada.http.put(grant.url, content=b"x")).status_code == 200
    _, attempts = 0, await ada.ask("GET", f"/v1/tasks/{first.tasks[0].task_id}", answer=Task)
    assert len(attempts.attempts) == 1


async def test_two_requests_of_one_number_at_once_get_one_answer(ada: Caller, agent: Agent) -> None:
    await submit(ada, await ada.register(), 8)
    answers = await asyncio.gather(*(agent.lease(workers=2, number=1) for _ in range(4)))
    assert len({tuple(leased.attempt for leased in answer.tasks) for answer in answers}) == 1
    assert len(answers[0].tasks) == 2


async def test_an_old_number_is_a_conflict(ada: Caller, agent: Agent) -> None:
    await submit(ada, await ada.register(), 2)
    await agent.lease(workers=1)
    await agent.lease(workers=1)
    request = LeaseRequest(number=1, workers=1, idle_workers=1, wait_s=0)
    problem = await agent.caller.refusal("POST", f"/v1/sessions/{agent.session_id}/lease", request)
    assert (problem.status, problem.field) == (409, "number")


# Grants


async def test_segments_may_be_put_and_nothing_else(ada: Caller, agent: Agent) -> None:
    await submit(ada, await ada.register())
    (grants,) = (await agent.lease()).segments.values()
    assert {grant.verb for grant in grants} == {"PUT"}
    one, other = grants
    http = ada.http
    assert (await http.put(one.url, content=b"one", headers=one.headers)).status_code == 200
    assert (await http.get(one.url)).status_code == 403
    assert (await http.head(one.url)).status_code == 403
    assert (await http.put(one.url.replace(one.object_id, other.object_id), content=b"x")).status_code == 403


async def test_stock_counts_against_new_segments(ada: Caller, agent: Agent) -> None:
    await submit(ada, await ada.register(), 4)

    async def minted(number: int, stock: int) -> int:
        request = LeaseRequest(number=number, workers=1, idle_workers=1, wait_s=0, segments={ada.identity_id: stock})
        path = f"/v1/sessions/{agent.session_id}/lease"
        answer = msgspec.msgpack.decode((await agent.caller.send("POST", path, request)).content)
        return len(answer.get("segments", {}).get(ada.identity_id, []))

    assert [await minted(1, 2), await minted(2, 1), await minted(3, 0), await minted(4, -(10**6))] == [0, 1, 2, 2]


async def test_more_segments_come_with_a_report_for_owners_served(
    any_service: Federation, ada: Caller, agent: Agent
) -> None:
    bob = await any_service.stranger("bob")
    answer = await agent.report(owners=[ada.identity_id, ada.identity_id, bob.identity_id, str(uuid.uuid4())])
    assert [len(grants) for grants in answer.segments.values()] == [1]
    assert answer.segments[ada.identity_id][0].verb == "PUT"


async def test_an_endpoint_fetches_code_only_while_it_holds_a_task(ada: Caller, agent: Agent) -> None:
    function_id = await ada.register()
    path = f"/v1/functions/{function_id}/code"
    assert (await agent.caller.refusal("GET", path)).status == 403
    await submit(ada, function_id)
    (leased,) = (await agent.lease()).tasks
    code = await agent.caller.ask("GET", path, answer=FunctionCode)
    assert (code.function_id, code.owner_id, code.name) == (function_id, ada.identity_id, "double")
    await agent.succeed(leased, b"2")
    assert (await agent.caller.refusal("GET", path)).status == 403


async def test_an_argument_object_goes_round(ada: Caller, agent: Agent, other_agent: Agent) -> None:
    data = b"large arguments" * 1000
    put = await ada.ask("POST", "/v1/objects", CreateObject(size_bytes=len(data)), answer=Grant)
    assert put.verb == "PUT"
    assert (await ada.http.put(put.url, content=data[:-1], headers=put.headers)).status_code == 400
    assert (await ada.http.put(put.url, content=data, headers=put.headers)).status_code == 200
    get = await ada.ask("GET", f"/v1/objects/{put.object_id}", answer=Grant)
    assert (await ada.http.get(get.url)).content == data
    answer = await ada.submit(
        task(await ada.register(), argument_object=put.object_id), task(await ada.register(), objects=[put.object_id])
    )
    assert answer.accepted == 2
    first, second = (await agent.lease()).tasks
    assert first.argument_object is not None
    for grant in (first.argument_object, *second.objects):
        assert (grant.verb, grant.object_id) == ("GET", put.object_id)
        assert (await ada.http.get(grant.url)).content == data
        assert (await ada.http.put(grant.url, content=b"other")).status_code == 403


# Results


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


@pytest.mark.parametrize("problem", ["not stored", "beyond the end", "not granted", "nowhere"])
async def test_a_result_that_is_not_where_it_is_said_to_be_is_lost(
    any_service: Federation, ada: Caller, agent: Agent, problem: str
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
        bob = await any_service.stranger("bob")
        intruder = await any_service.agent(bob, "elsewhere")
        await submit(bob, await bob.register())
        await intruder.lease()
        where = await intruder.store(bob.identity_id, b"12345")
    outcome = Outcome(attempt=leased.attempt, state="succeeded", location=where, hint=b"12345")
    await agent.report(outcome)
    shown = await ada.ask("GET", f"/v1/tasks/{task_id}", answer=Task)
    assert shown.state == "lost"
    assert shown.attempts[0].message


async def test_a_report_for_somebody_elses_attempt_changes_nothing(
    any_service: Federation, ada: Caller, agent: Agent
) -> None:
    _, (task_id,) = await submit(ada, await ada.register())
    (leased,) = (await agent.lease()).tasks
    bob = await any_service.stranger("bob")
    intruder = await any_service.agent(bob, "elsewhere")
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


async def test_opening_a_session_twice_is_the_same_session(any_service: Federation, ada: Caller) -> None:
    agent = await any_service.agent(ada, "again", start=False)
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
    await agent.succeed(first, b"first result")
    assert (await other_agent.lease()).tasks == []
    await agent.succeed(second, b"second result")
    (leased,) = (await other_agent.lease()).tasks
    assert leased.task_id == child.task_id
    assert set(leased.dependencies) == {one.task_id, two.task_id}
    grants = {grant.object_id: grant for grant in leased.dependency_grants}
    values = {
        task_id: await ada.fetch(grants[where.object_id], where) for task_id, where in leased.dependencies.items()
    }
    assert values == {one.task_id: b"first result", two.task_id: b"second result"}


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


# Waiting


@pytest.fixture
def no_rechecks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks again by the clock: only a wake-up helps."""
    monkeypatch.setattr("router.wakeups.RECHECK_S", 10_000.0)


async def test_a_poll_for_results_wakes_on_a_report(
    any_service: Federation, ada: Caller, agent: Agent, no_rechecks: None
) -> None:
    group_id, (task_id,) = await submit(ada, await ada.register())
    (leased,) = (await agent.lease()).tasks
    poll = asyncio.create_task(ada.results(group_id, wait_s=25))
    await asleep(any_service.service.wakeups, f"group {group_id}")
    await agent.succeed(leased, b"value")
    answer = await asyncio.wait_for(poll, PATIENCE_S)
    assert [result.task_id for result in answer.results] == [task_id]
    assert (await ada.results(group_id, after=answer.cursor)).results == []


async def test_a_poll_for_one_task_wakes_on_its_end(
    any_service: Federation, ada: Caller, agent: Agent, no_rechecks: None
) -> None:
    group_id, (task_id,) = await submit(ada, await ada.register())
    (leased,) = (await agent.lease()).tasks
    poll = asyncio.create_task(
        ada.ask("GET", f"/v1/tasks/{task_id}/result", answer=TaskResult, params={"wait_s": "25"})
    )
    await asleep(any_service.service.wakeups, f"group {group_id}")
    await agent.succeed(leased, b"value")
    assert (await asyncio.wait_for(poll, PATIENCE_S)).hint == b"value"


async def test_a_poll_of_an_unknown_group_wakes_when_it_comes_to_be_and_ends(
    any_service: Federation, ada: Caller, agent: Agent, no_rechecks: None
) -> None:
    group_id = str(uuid.uuid4())
    poll = asyncio.create_task(ada.results(group_id, wait_s=25))
    await asleep(any_service.service.wakeups, f"group {group_id}")
    await ada.submit(task(await ada.register()), group_id=group_id)
    (leased,) = (await agent.lease()).tasks
    await agent.succeed(leased, b"value")
    assert len((await asyncio.wait_for(poll, PATIENCE_S)).results) == 1


async def test_a_lease_wakes_on_a_submission(
    any_service: Federation, ada: Caller, agent: Agent, no_rechecks: None
) -> None:
    function_id = await ada.register()
    poll = asyncio.create_task(agent.lease(wait_s=25))
    await asleep(any_service.service.wakeups, f"session {agent.session_id}")
    _, ids = await submit(ada, function_id)
    assert [leased.task_id for leased in (await asyncio.wait_for(poll, PATIENCE_S)).tasks] == ids


async def test_a_lease_wakes_when_its_session_is_replaced(
    any_service: Federation, agent: Agent, no_rechecks: None
) -> None:
    request = LeaseRequest(number=1, workers=1, idle_workers=1, wait_s=25)
    path = f"/v1/sessions/{agent.session_id}/lease"
    poll = asyncio.create_task(agent.caller.refusal("POST", path, request))
    await asleep(any_service.service.wakeups, f"session {agent.session_id}")
    await agent.open(takeover=True)
    assert (await asyncio.wait_for(poll, PATIENCE_S)).status == 409


async def test_a_heartbeat_wakes_on_a_cancel(
    any_service: Federation, ada: Caller, agent: Agent, no_rechecks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router.api.sessions._MAX_HEARTBEAT_WAIT_S", 25.0)
    _, (task_id,) = await submit(ada, await ada.register())
    (leased,) = (await agent.lease()).tasks
    poll = asyncio.create_task(agent.beat(leased.attempt, wait_s=25))
    await asleep(any_service.service.wakeups, f"session {agent.session_id}")
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


async def test_polls_are_let_go_when_the_service_stops(service: Federation, no_rechecks: None) -> None:
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


# The service goes and comes back


async def test_a_restart_loses_hints_and_no_results(tmp_path: Any, no_settings: None) -> None:
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


async def test_demand_is_shared_by_those_who_may_run_it(
    service: Federation, ada: Caller, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router.dispatch._DEMAND_FRESH_S", -1.0)
    owner = await service.person("owner")
    first = await service.agent(owner, "first")
    second = await service.agent(owner, "second")
    function_id = await owner.register()
    await submit(owner, function_id, 10)
    await submit(owner, function_id, 2, target="first")
    demands = [(await each.beat()).demand for each in (first, second)]
    assert [(demand.tasks, demand.seconds) for demand in demands] == [(7, None), (5, None)]
    await second.report(run_s={function_id: 2.0})
    assert (await second.beat()).demand.seconds == pytest.approx(10.0)
