"""Policies that foresee, through the service: what is held back and for how long, what is forgiven, what is bound."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from faas.models import Block, Explanation, LeasedTask, Outcome, Shape, Task
from tests.unit.router.callers import PATIENCE_S, Agent, Caller, Federation, federation, submit, task
from tests.unit.router.conftest import forget_settings

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
async def service(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, anyio_backend: str
) -> AsyncIterator[Federation]:
    """A service that decides by what it foresees, on both databases."""
    with ExitStack() as stack:
        monkeypatch = stack.enter_context(pytest.MonkeyPatch.context())
        forget_settings(monkeypatch)
        monkeypatch.setattr("router.planner._TABLE_FRESH_S", 0.0)
        settings: dict[str, Any] = {"policy": "fastest"}
        if request.param == "postgresql":
            server = request.getfixturevalue("postgres_server")
            settings["database_url"] = stack.enter_context(server.database())
        async with federation(tmp_path_factory.mktemp("service") / "data", **settings) as running:
            assert running.service.foresight is not None
            planner = running.service.foresight.planner
            planner._fresh_s = planner._part = 0.0  # each decision by a plan of its own: no test waits for a new one
            yield running


async def ran(agent: Agent, tasks: list[LeasedTask], run_s: float) -> None:
    """Report that tasks of one function succeeded after so long."""
    place = await agent.store(tasks[0].owner_id, b"1")
    outcomes = [Outcome(attempt=each.attempt, state="succeeded", location=place, run_s=run_s) for each in tasks]
    assert (await agent.report(*outcomes, run_s={tasks[0].function_id: run_s})).dropped == 0


async def known(service: Federation, ada: Caller, speeds: dict[str, float]) -> tuple[str, list[Agent]]:
    """A function that has run some times at endpoints of these speeds, and their agents."""
    agents = [await service.agent(ada, name) for name in speeds]
    function_id = await ada.register()
    for _ in range(6):
        for agent, (name, run_s) in zip(agents, speeds.items(), strict=True):
            await submit(ada, function_id, 2, target=name)
            await ran(agent, (await agent.lease(workers=2)).tasks, run_s)
    return function_id, agents


async def test_a_slow_site_leaves_a_task_to_a_fast_one_that_is_soon_free(service: Federation, ada: Caller) -> None:
    function_id, (fast, slow) = await known(service, ada, {"fast": 10.0, "slow": 100.0})
    await submit(ada, function_id, 1)
    await fast.lease(workers=1)  # busy for some seconds
    _, [task_id] = await submit(ada, function_id, 1)
    assert (await slow.lease(workers=1)).tasks == []
    assert (await slow.lease(workers=1)).tasks == []
    assert [leased.task_id for leased in (await fast.lease(workers=2)).tasks] == [task_id]


async def test_what_was_held_back_goes_to_whoever_is_free_when_its_time_is_over(
    service: Federation, ada: Caller
) -> None:
    function_id, (fast, slow) = await known(service, ada, {"quick": 0.6, "slower": 3.0})
    await submit(ada, function_id, 1)
    assert len((await fast.lease(workers=1)).tasks) == 1
    _, [task_id] = await submit(ada, function_id, 1)
    assert (await slow.lease(workers=1)).tasks == []
    # The fast one never comes back: the request that stays open is answered by the clock alone.
    answer = await asyncio.wait_for(slow.lease(workers=1, wait_s=PATIENCE_S), PATIENCE_S)
    assert [leased.task_id for leased in answer.tasks] == [task_id]


async def test_nothing_is_held_back_where_nobody_else_may_run_it(service: Federation, ada: Caller) -> None:
    function_id, (_, slow) = await known(service, ada, {"sprinter": 1.0, "walker": 1000.0})
    _, [task_id] = await submit(ada, function_id, 1, target="walker")
    assert [leased.task_id for leased in (await slow.lease(workers=1)).tasks] == [task_id]


async def test_a_policy_that_fails_stops_nothing(
    service: Federation, ada: Caller, agent: Agent, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*arguments: object) -> None:
        raise ZeroDivisionError

    foresight = service.service.foresight
    assert foresight is not None
    monkeypatch.setattr(foresight, "_choose", fail)
    _, ids = await submit(ada, await ada.register(), 2)
    assert [leased.task_id for leased in (await agent.lease()).tasks] == ids
    assert "the policy failed" in caplog.text


async def fail(agent: Agent, leased: LeasedTask) -> None:
    outcome = Outcome(attempt=leased.attempt, state="failed", kind="exception", message="no licence here")
    assert (await agent.report(outcome)).dropped == 0


async def test_what_fails_at_one_site_only_runs_elsewhere_uncharged(service: Federation, ada: Caller) -> None:
    function_id, (good, _) = await known(service, ada, {"good": 1.0, "other": 1.0})
    hole = await service.agent(ada, "hole")
    _, ids = await submit(ada, function_id, 4, max_attempts=1)
    failing = (await hole.lease(workers=4)).tasks
    assert len(failing) == 4
    for leased in failing:
        await fail(hole, leased)
    assert (await hole.lease(workers=4)).tasks == []  # quarantined
    again = (await good.lease(workers=4)).tasks
    assert {leased.task_id for leased in again} == set(ids)
    await ran(good, again, 1.0)
    for task_id in ids:
        task = await ada.ask("GET", f"/v1/tasks/{task_id}", answer=Task)
        assert (task.state, task.losses) == ("succeeded", 1)
        assert [attempt.state for attempt in task.attempts] == ["lost", "succeeded"]


async def test_a_task_that_fails_everywhere_fails(service: Federation, ada: Caller) -> None:
    function_id, sites = await known(service, ada, {"one": 1.0, "two": 1.0})
    _, [task_id] = await submit(ada, function_id, 1, max_attempts=1)
    for _ in range(4):
        for site in sites:
            for leased in (await site.lease(workers=1)).tasks:
                await fail(site, leased)
    task = await ada.ask("GET", f"/v1/tasks/{task_id}", answer=Task)
    assert task.state == "failed"
    assert [attempt.state for attempt in task.attempts][-1] == "failed"
    assert len(task.attempts) <= 3


async def test_what_must_not_run_twice_is_never_forgiven(service: Federation, ada: Caller) -> None:
    function_id, _ = await known(service, ada, {"fine": 1.0, "spare": 1.0})
    hole = await service.agent(ada, "pit")
    _, [task_id] = await submit(ada, function_id, 1, max_attempts=1, idempotent=False)
    [leased] = (await hole.lease(workers=1)).tasks
    await fail(hole, leased)
    assert (await ada.ask("GET", f"/v1/tasks/{task_id}", answer=Task)).state == "failed"


async def test_pinned_tasks_are_neither_forgiven_nor_kept_from_their_site(service: Federation, ada: Caller) -> None:
    function_id, _ = await known(service, ada, {"well": 1.0, "healthy": 1.0})
    hole = await service.agent(ada, "abyss")
    _, ids = await submit(ada, function_id, 5, max_attempts=1, target="abyss")
    for task_id in ids:
        [leased] = (await hole.lease(workers=1)).tasks
        assert leased.task_id == task_id
        await fail(hole, leased)
        assert (await ada.ask("GET", f"/v1/tasks/{task_id}", answer=Task)).state == "failed"


async def test_waits_of_blocks_are_learned_once(service: Federation, ada: Caller, agent: Agent) -> None:
    foresight = service.service.foresight
    assert foresight is not None
    block = Block(block_id="b1", state="queued", requested_at=1000.0, workers=0)
    await agent.beat(workers=0, blocks=[block])
    lane = foresight.planner.landscape.lane(agent.endpoint_id, "default")
    assert [queued.block_id for queued in lane.queued] == ["b1"]
    ready = Block(block_id="b1", state="running", requested_at=1000.0, started_at=1290.0, ready_at=1300.0, workers=8)
    for _ in range(3):
        await agent.beat(workers=8, blocks=[ready])
    assert lane.queued == []
    waits = [row for row in foresight.planner.model.queue_waits.to_rows() if row[0] == agent.endpoint_id]
    assert waits == [(agent.endpoint_id, "default", 1.0, 300.0)]


async def test_a_task_is_explained_with_predictions_and_in_hindsight_with_regret(
    service: Federation, ada: Caller, bob: Caller
) -> None:
    function_id, (fast, _) = await known(service, ada, {"swift": 10.0, "tardy": 100.0})
    _, [task_id] = await submit(ada, function_id, 1)
    path = f"/v1/tasks/{task_id}/explain"
    before = await ada.ask("GET", path, answer=Explanation)
    assert (before.policy, before.target, before.endpoint, before.best) == ("fastest", "any", "", "swift")
    run_s = {each.endpoint: each.run_s for each in before.candidates}
    assert run_s["swift"] is not None and run_s["tardy"] is not None
    assert 5 < run_s["swift"] < 20 and 50 < run_s["tardy"] < 200
    [leased] = (await fast.lease(workers=1)).tasks
    await ran(fast, [leased], 12.0)
    after = await ada.ask("GET", path, answer=Explanation)
    assert (after.endpoint, after.run_s, after.state) == ("swift", 12.0, "succeeded")
    assert [each.endpoint for each in after.candidates if each.chosen] == ["swift"]
    assert after.regret_s is not None and abs(after.regret_s) < 8
    assert (await bob.refusal("GET", path)).status == 404


async def test_an_explanation_says_what_speaks_against_each_endpoint(service: Federation, ada: Caller) -> None:
    await service.agent(ada, "small", shapes={"default": Shape(cores=1)})
    await service.agent(ada, "large", shapes={"default": Shape(cores=8)})
    await service.agent(ada, "asleep", start=False)
    function_id = await ada.register()
    _, [task_id] = await submit(ada, function_id, 1, resources={"cores": 4})
    told = await ada.ask("GET", f"/v1/tasks/{task_id}/explain", answer=Explanation)
    reasons = {each.endpoint: each.reason for each in told.candidates}
    assert "no worker has 4 cores" in reasons["small"]
    assert reasons["large"] == ""
    assert "not heard from" in reasons["asleep"]
    _, [pinned] = await submit(ada, function_id, 1, target="small")
    told = await ada.ask("GET", f"/v1/tasks/{pinned}/explain", answer=Explanation)
    assert {each.endpoint for each in told.candidates if not each.reason} == {"small"}


async def test_what_was_learned_outlives_the_service(tmp_path: Path, no_settings: None) -> None:
    async with federation(tmp_path / "data", policy="fastest") as running:
        ada = await running.stranger("ada")
        function_id, [theta] = await known(running, ada, {"theta": 10.0})
    async with federation(tmp_path / "data", policy="fastest") as again:
        foresight = again.service.foresight
        assert foresight is not None
        await until(lambda: foresight.planner.model.run_times.knows(function_id))
        predicted = foresight.planner.expected_s(function_id, theta.endpoint_id)
    assert predicted == pytest.approx(10.0, rel=0.5)


async def until(condition: Callable[[], bool]) -> None:
    """Let others run until something is so."""
    for _ in range(100_000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came to be so")


@pytest.mark.parametrize("policy", ["round_robin", "shortest_backlog"])
async def test_early_bound_tasks_wait_for_the_endpoint_they_are_bound_to(
    tmp_path: Path, no_settings: None, policy: str
) -> None:
    async with federation(tmp_path / "data", policy=policy) as running:
        ada = await running.stranger("ada")
        first, second = await running.agent(ada, "first"), await running.agent(ada, "second")
        function_id = await ada.register()
        _, ids = await submit(ada, function_id, 6)
        leased = (await first.lease(workers=10)).tasks
        assert len(leased) == 3
        assert (await first.lease(workers=10)).tasks == []
        others = (await second.lease(workers=10)).tasks
        assert {each.task_id for each in (*leased, *others)} == set(ids)
        shown = await ada.ask("GET", f"/v1/tasks/{ids[0]}", answer=Task)
        assert shown.target == "any"
        _, [named] = await submit(ada, function_id, 1, target="second")
        assert [each.task_id for each in (await second.lease(workers=10)).tasks] == [named]


async def test_the_shortest_backlog_counts_what_is_granted_and_what_waits(tmp_path: Path, no_settings: None) -> None:
    async with federation(tmp_path / "data", policy="shortest_backlog") as running:
        ada = await running.stranger("ada")
        first, second = await running.agent(ada, "first"), await running.agent(ada, "second")
        function_id = await ada.register()
        await submit(ada, function_id, 4, target="first")
        assert len((await first.lease(workers=2)).tasks) == 2
        await submit(ada, function_id, 5)
        assert len((await second.lease(workers=10)).tasks) in (4, 5)


async def test_pinned_wants_one_endpoint(tmp_path: Path, no_settings: None) -> None:
    async with federation(tmp_path / "data", policy="pinned") as running:
        ada = await running.stranger("ada")
        await running.agent(ada, "first")
        await running.agent(ada, "second")
        answer = await ada.submit(task(await ada.register()))
        assert [(refusal.status, refusal.field) for refusal in answer.refused] == [(400, "tasks[0].target")]
