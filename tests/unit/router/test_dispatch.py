"""Work on its way to a site: late binding, leases asked for twice, grants."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import msgspec
import pytest

from faas.models import (
    CreateObject,
    Demand,
    FunctionCode,
    Grant,
    LeaseRequest,
    Offer,
    Pool,
    Shape,
    Task,
    Upload,
)
from tests.unit.router.callers import Agent, Caller, Federation, allow, submit, task

pytestmark = pytest.mark.anyio


@pytest.fixture
def service(any_service: Federation) -> Federation:
    """These tests run on both databases."""
    return any_service


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
    assert (shown.state, [each.endpoint for each in shown.attempts]) == ("leased", ["beamline"])


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


async def test_any_is_where_the_caller_may_run(service: Federation, ada: Caller, agent: Agent) -> None:
    bob = await service.stranger("bob")
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


async def test_demand_is_shared_by_those_who_may_run_it(service: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.dispatch._DEMAND_FRESH_S", -1.0)
    owner = await service.stranger("owner")
    first = await service.agent(owner, "first")
    second = await service.agent(owner, "second")
    function_id = await owner.register()
    await submit(owner, function_id, 10)
    await submit(owner, function_id, 2, target="first")
    demands = [(await each.beat()).demand for each in (first, second)]
    assert [(demand.tasks, demand.seconds) for demand in demands] == [(7, None), (5, None)]
    await second.report(run_s={function_id: 2.0})
    assert (await second.beat()).demand.seconds == pytest.approx(10.0)


# What tasks need

SHAPES = {"small": Shape(cores=1), "big": Shape(cores=4, gpus=1)}


def offer(shape: str, idle: int = 4, **fields: Any) -> Offer:
    return Offer(shape=shape, workers=idle, idle_workers=idle, **fields)


async def test_one_request_fills_the_workers_of_every_shape(service: Federation, ada: Caller) -> None:
    agent = await service.agent(ada, "theta", shapes=SHAPES, environments=["default", "xpcs"])
    function_id = await ada.register()
    _, small = await submit(ada, function_id, 3)
    _, big = await submit(ada, function_id, 3, resources={"gpus": 1}, environment="xpcs")
    answer = await agent.lease(offers=[offer("small", 2), offer("big", 1)])
    assert [(leased.task_id, leased.shape, leased.environment) for leased in answer.tasks] == [
        (small[0], "small", "default"),
        (small[1], "small", "default"),
        (big[0], "big", "xpcs"),
    ]
    again = await agent.lease(number=agent.number, offers=[offer("small")])
    assert [(leased.task_id, leased.shape) for leased in again.tasks] == [
        (leased.task_id, leased.shape) for leased in answer.tasks
    ]
    assert [leased.task_id for leased in (await agent.lease(offers=[offer("big")])).tasks] == big[1:]
    assert (await agent.lease(offers=[])).tasks == []  # workers of a default shape, which it does not have


async def test_what_outlives_the_workers_waits_for_others(service: Federation, ada: Caller, agent: Agent) -> None:
    long, short = await ada.register("long"), await ada.register("short")
    await agent.report(run_s={long: 600.0, short: 1.0})
    _, patient = await submit(ada, long)
    _, quick = await submit(ada, short)
    answer = await agent.lease(offers=[offer("default", longest_s=60.0)])
    assert [leased.task_id for leased in answer.tasks] == quick
    assert (await agent.lease(offers=[offer("default", longest_s=60.0)])).tasks == []
    assert [leased.task_id for leased in (await agent.lease(offers=[offer("default")])).tasks] == patient


async def test_demand_comes_by_the_shape_that_is_waited_for(
    service: Federation, ada: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router.dispatch._DEMAND_FRESH_S", -1.0)
    theta = await service.agent(ada, "theta", shapes=SHAPES)
    cori = await service.agent(ada, "cori", shapes={"huge": Shape(cores=64, gpus=4)})
    fit, sort = await ada.register("fit"), await ada.register("sort")
    await theta.report(run_s={fit: 2.0})
    await submit(ada, fit, 5)
    await submit(ada, fit, 2, resources={"gpus": 1})
    await submit(ada, sort, 1, resources={"gpus": 4})
    demand = (await theta.beat()).demand
    assert demand == Demand(
        tasks=4, seconds=7.0, shapes={"small": Demand(tasks=3, seconds=5.0), "big": Demand(tasks=1, seconds=2.0)}
    )
    demand = (await cori.beat()).demand
    assert demand == Demand(tasks=5, seconds=None, shapes={"huge": Demand(tasks=5, seconds=None)})


async def test_one_task_is_demand_at_every_endpoint_that_may_run_it(
    ada: Caller, agent: Agent, other_agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router.dispatch._DEMAND_FRESH_S", -1.0)
    await submit(ada, await ada.register())
    assert [(await each.beat()).demand.tasks for each in (agent, other_agent)] == [1, 1]


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
    service: Federation, ada: Caller, agent: Agent
) -> None:
    bob = await service.stranger("bob")
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
    [put] = (await ada.ask("POST", "/v1/objects", CreateObject(size_bytes=len(data)), answer=Upload)).grants
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
    for grant in (first.argument_object, *(each.grant for each in second.inputs.values())):
        assert (grant.verb, grant.object_id) == ("GET", put.object_id)
        assert (await ada.http.get(grant.url)).content == data
        assert (await ada.http.put(grant.url, content=b"other")).status_code == 403
