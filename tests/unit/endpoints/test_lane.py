"""Lanes of an agent, against stand-ins for service and engines: shapes, blocks, demand, and what is granted unheard."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from endpoints.chunk import Chunk, ChunkTask, TaskReport
from faas.models import Block, Demand
from tests.unit.endpoints.fake_engine import FakeEngine, echo
from tests.unit.endpoints.fake_service import FakeService, function_code
from tests.unit.endpoints.running_agent import make_agent, running

pytestmark = pytest.mark.anyio

CODE = function_code("def f(x):\n    return x\n", "f")


async def test_what_was_granted_unheard_is_asked_for_though_no_worker_is_left(tmp_path: Path) -> None:
    """The service granted a task to a request that the agent took back when its last worker went."""
    service, engine = FakeService(), FakeEngine()
    async with running(service, engine, tmp_path):
        await service.until(lambda: service.leases and service.leases[-1].workers == 2)
        engine.set_workers(0)
        await service.until(lambda: service.leases[-1].workers == 0)
        asked = service.leases[-1]
        attempt = service.grant_unheard(asked.number)
        await service.until(lambda: any(backlog.tasks for backlog in engine.backlogs))
        engine.set_workers(2)
        await service.until(lambda: service.ended(attempt))


async def test_an_endpoint_offers_its_shapes_and_each_task_goes_to_its_own(tmp_path: Path) -> None:
    service = FakeService()
    engines = {"small": FakeEngine(workers=2), "big": FakeEngine(workers=1)}
    agent = make_agent(service, engines, tmp_path, "shapes: {big: {cores: 4, gpus: 1}, small: {cores: 1}}")
    run = asyncio.ensure_future(agent.run())
    try:
        await service.until(lambda: service.opened)
        assert service.opened[0].shapes["big"].gpus == 1
        await service.until(lambda: len(service.leases[-1].offers) == 2 if service.leases else False)
        offers = {offer.shape: offer for offer in service.leases[-1].offers}
        assert (offers["small"].workers, offers["big"].workers, service.leases[-1].workers) == (2, 1, 3)
        attempts = [service.add(CODE, b"x", shape=shape) for shape in ("small", "big", "")]
        service.notify()
        await service.until(lambda: all(service.ended(attempt) for attempt in attempts))
        ran = {shape: {t.attempt for c in engine.chunks for t in c.tasks} for shape, engine in engines.items()}
        assert ran == {"small": {attempts[0], attempts[2]}, "big": {attempts[1]}}
    finally:
        agent.stop()
        await asyncio.wait({run}, timeout=30)


async def test_blocks_and_problems_are_told_until_the_service_has_heard_of_their_end(tmp_path: Path) -> None:
    service, engine = FakeService(), FakeEngine(workers=0)
    async with running(service, engine, tmp_path):
        engine.problem = "Invalid account"
        engine.live_blocks = [Block(block_id="b1", state="failed", requested_at=1.0, ended_at=2.0, message="no")]
        await service.until(lambda: any(beat.blocks for beat in service.beats))
        told = next(beat for beat in service.beats if beat.blocks)
        assert told.problem == "Invalid account"
        assert told.blocks[0].message == "no"
        await service.until(lambda: engine.live_blocks == [])
        await service.until(lambda: not service.beats[-1].blocks)


async def test_demand_reaches_the_engines(tmp_path: Path) -> None:
    service, engine = FakeService(), FakeEngine(workers=0)
    async with running(service, engine, tmp_path):
        service.demand = Demand(tasks=5, seconds=10.0)
        await service.until(lambda: any(b.tasks == 5 and b.seconds == 10.0 for b in engine.backlogs))
        await service.until(lambda: service.beats[-1].known_demand == 5)


async def test_a_task_that_would_outlive_its_worker_waits(tmp_path: Path) -> None:
    service, engine = FakeService(), FakeEngine()
    engine.longest, engine.fresh_s = 30.0, 3600.0
    service.run_s = {CODE.function_id: 600.0}
    async with running(service, engine, tmp_path):
        attempt = service.add(CODE, b"x")
        service.notify()
        await service.until(lambda: any(backlog.longest_s == 600.0 for backlog in engine.backlogs))
        assert engine.chunks == []
        assert service.leases[-1].offers[0].longest_s == 30.0
        engine.longest = 3000.0
        engine.set_workers(1)
        await service.until(lambda: service.ended(attempt))


async def test_the_next_task_is_here_before_the_one_that_runs_has_ended(tmp_path: Path) -> None:
    service, engine = FakeService(), FakeEngine(workers=1)
    service.per_worker = 1
    service.run_s = {CODE.function_id: 1.0}
    engine.open.clear()
    async with running(service, engine, tmp_path):
        for _ in range(3):
            service.add(CODE, b"x")
        service.notify()
        # The first holds the only worker until this test lets it go.
        await service.until(lambda: len(engine.chunks) == 2)
        assert len(service.queue) == 1


async def test_tasks_that_turn_out_to_be_long_go_back_for_others_to_run(tmp_path: Path) -> None:
    def long(chunk: Chunk, task: ChunkTask) -> TaskReport:
        return msgspec.structs.replace(echo(chunk, task), run_s=2.0)

    service, engine = FakeService(), FakeEngine(long)
    service.run_s = {CODE.function_id: 0.001}
    async with running(service, engine, tmp_path):
        attempts = [service.add(CODE, b"x") for _ in range(1_000)]
        service.notify()
        await service.until(lambda: all(service.ended(attempt) for attempt in attempts))
        states = Counter(outcome.state for each in attempts if (outcome := service.ended(each)))
        assert set(states) == {"succeeded", "released"}
        assert states["released"] > states["succeeded"]


async def test_of_long_tasks_none_waits_behind_another(tmp_path: Path) -> None:
    service, engine = FakeService(), FakeEngine(workers=1)
    service.per_worker = 1
    service.run_s = {CODE.function_id: 60.0}
    engine.open.clear()
    async with running(service, engine, tmp_path):
        for _ in range(3):
            service.add(CODE, b"x")
        service.notify()
        await service.until(lambda: len(engine.chunks) == 1)
        await service.until(lambda: service.beats and len(service.beats[-1].held) == 1)
        assert len(engine.chunks) == 1
        assert len(service.queue) == 2
