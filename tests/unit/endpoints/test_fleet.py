"""Blocks from request to end, at a scheduler that does as the test says."""

from __future__ import annotations

import asyncio
import subprocess
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from endpoints.allocation import Blocks
from endpoints.block_book import BlockBook, read_blocks
from endpoints.fleet import Fleet
from endpoints.job_queue import QueuedJob
from faas.models import Block

pytestmark = pytest.mark.anyio


class Scheduler:
    """A provider and a queue in one: jobs by id, with the state the test gives them."""

    def __init__(self, book: Path) -> None:
        self.states: dict[str, tuple[str, str]] = {}
        self.names: dict[str, str] = {}
        self.refusal: Exception | None = None
        self.written_first: list[bool] = []
        self.resources: dict[str, Any] = {}
        self.cancelled: list[str] = []
        self._book = book

    def submit(self, command: str, tasks_per_node: int, job_name: str) -> str:
        self.written_first.append(job_name in {block.block_id for block in read_blocks(self._book)})
        if self.refusal is not None:
            raise self.refusal
        job_id = str(len(self.names) + 1)
        self.names[job_id] = job_name
        self.states[job_id] = ("PENDING", "PENDING (Priority)")
        return job_id

    def status(self, job_ids: Sequence[str]) -> list[Any]:
        return [
            SimpleNamespace(
                state=SimpleNamespace(name=self.states[job_id][0]),
                message=self.states[job_id][1],
                terminal=self.states[job_id][0] not in ("PENDING", "RUNNING"),
                stderr_summary="module load: not found\n",
                stdout_summary="",
            )
            for job_id in job_ids
        ]

    def cancel(self, job_ids: Sequence[str]) -> list[bool]:
        self.cancelled += job_ids
        for job_id in job_ids:
            self.states[job_id] = ("CANCELLED", "CANCELLED")
        return [True] * len(job_ids)

    def find(self, prefix: str) -> list[QueuedJob]:
        return [
            QueuedJob(job_id, name)
            for job_id, name in self.names.items()
            if name.startswith(prefix) and self.states[job_id][0] in ("PENDING", "RUNNING")
        ]


class Ground:
    """A fleet at a scheduler, and what it needs to be looked at."""

    def __init__(self, directory: Path, walltime_s: float = 600.0) -> None:
        path = directory / "blocks.json"
        self.scheduler = Scheduler(path)
        self.book = BlockBook(path, uuid.uuid4().hex)
        self.fleet = Fleet(
            "default",
            self.book,
            self.scheduler,  # type: ignore[arg-type]
            nodes=1,
            walltime_s=walltime_s,
            settings=Blocks(max_blocks=4, drain_s=60),
            status_period_s=0.2,
        )
        self.fleet.attach(self.scheduler, lambda name: f"run {name}")
        self.managers: list[dict[str, Any]] = []

    async def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < deadline, self.fleet.blocks()
            self.look()
            await asyncio.sleep(0.01)

    def look(self) -> None:
        for manager in self.fleet.observe(self.managers):
            for each in self.managers:
                if each["manager"] == manager:
                    each["active"] = False
        self.fleet.poll()

    def register(self, block: Block, *, tasks: int = 0) -> dict[str, Any]:
        manager = {
            "manager": f"m{len(self.managers)}",
            "block_id": block.block_id,
            "worker_count": 2,
            "tasks": tasks,
            "idle_duration": 0.0,
            "active": True,
            "draining": False,
        }
        self.managers.append(manager)
        return manager

    async def a_running_block(self, *, tasks: int = 0) -> Block:
        self.fleet.request(1)
        block = self.fleet.blocks()[-1]
        await self.until(lambda: block.job_id)
        self.scheduler.states[block.job_id] = ("RUNNING", "RUNNING on n1")
        self.register(block, tasks=tasks)
        await self.until(lambda: block.ready_at and block.state == "running")
        return block


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path)


async def test_a_name_is_written_before_the_job_is_submitted(ground: Ground) -> None:
    ground.fleet.request(2)
    assert [block.state for block in ground.fleet.blocks()] == ["requested", "requested"]
    await ground.until(lambda: all(block.state == "queued" for block in ground.fleet.blocks()))
    assert ground.scheduler.written_first == [True, True]
    await ground.until(lambda: ground.fleet.blocks()[0].message == "PENDING (Priority)")
    await ground.fleet.stop()
    assert ground.scheduler.find("") == []


async def test_a_refusal_is_kept_in_the_schedulers_words(ground: Ground) -> None:
    refusal = OSError("submission failed")
    refusal.stderr = "sbatch: error: Invalid account\n"  # type: ignore[attr-defined]
    ground.scheduler.refusal = refusal
    ground.fleet.request(1)
    await ground.until(lambda: ground.fleet.blocks()[0].state == "failed")
    assert ground.fleet.failures().words == "sbatch: error: Invalid account"
    assert ground.fleet.failures().in_a_row == 1
    assert ground.fleet.views() == []


async def test_a_job_whose_submission_seemed_to_fail_is_cancelled_by_its_name(ground: Ground) -> None:
    submit = ground.scheduler.submit

    def too_slow(*arguments: Any) -> str:
        submit(*arguments)
        raise subprocess.TimeoutExpired("sbatch", 10)

    ground.scheduler.submit = too_slow  # type: ignore[assignment, method-assign]
    ground.fleet.request(1)
    await ground.until(lambda: ground.fleet.blocks()[0].state == "failed")
    assert ground.scheduler.cancelled == ["1"]


async def test_a_job_that_ends_before_its_workers_come_has_failed(ground: Ground) -> None:
    ground.fleet.request(1)
    (block,) = ground.fleet.blocks()
    await ground.until(lambda: block.job_id)
    ground.scheduler.states[block.job_id] = ("FAILED", "FAILED (NonZeroExitCode)")
    await ground.until(lambda: block.state == "failed")
    assert block.message == "FAILED (NonZeroExitCode); module load: not found"


async def test_success_ends_a_row_of_failures(ground: Ground) -> None:
    ground.scheduler.refusal = OSError("no")
    ground.fleet.request(2)
    await ground.until(lambda: ground.fleet.failures().in_a_row == 2)
    ground.scheduler.refusal = None
    block = await ground.a_running_block(tasks=1)
    await ground.until(lambda: ground.fleet.failures().in_a_row == 0)
    assert block.workers == 2


async def test_a_block_whose_workers_fall_silent_is_over_and_its_job_cancelled(ground: Ground) -> None:
    block = await ground.a_running_block(tasks=1)
    ground.managers.clear()
    await ground.until(lambda: block.state == "ended")
    await ground.until(lambda: ground.scheduler.cancelled == [block.job_id])
    assert ground.fleet.views() == []


async def test_a_draining_block_ends_only_when_it_has_nothing_to_do(ground: Ground) -> None:
    block = await ground.a_running_block(tasks=1)
    ground.fleet.drain([block.block_id], "enough")
    assert not ground.fleet.accepts(block.block_id)
    await ground.until(lambda: not ground.managers[0]["active"])
    for _ in range(20):
        ground.look()
        await asyncio.sleep(0.01)
    assert ground.scheduler.cancelled == []
    ground.managers[0]["tasks"] = 0
    await ground.until(lambda: block.state == "ended")
    await ground.until(lambda: ground.scheduler.cancelled == [block.job_id])


async def test_a_block_near_its_walltime_drains(tmp_path: Path) -> None:
    ground = Ground(tmp_path, walltime_s=600)
    block = await ground.a_running_block(tasks=1)
    longest_s = ground.fleet.longest_s()
    assert longest_s is not None and 500 < longest_s < 600
    assert block.started_at is not None
    block.started_at -= 545
    await ground.until(lambda: block.state == "draining")
    assert ground.fleet.longest_s() is None


async def test_a_requeued_job_counts_as_queued_again(ground: Ground) -> None:
    block = await ground.a_running_block()
    ground.managers.clear()
    ground.scheduler.states[block.job_id] = ("PENDING", "PENDING (BeginTime)")
    await ground.until(lambda: block.state in ("queued", "ended"))
    assert block.workers == 0


async def test_workers_of_a_block_that_is_over_get_nothing_more(ground: Ground) -> None:
    block = await ground.a_running_block(tasks=1)
    ground.scheduler.states[block.job_id] = ("FAILED", "NODE_FAIL")
    await ground.until(lambda: block.state == "ended")
    await ground.until(lambda: not ground.managers[0]["active"])
    assert not ground.fleet.accepts(block.block_id)
    assert ground.fleet.is_over(block.block_id)


async def test_ended_blocks_are_told_of_until_they_are_forgotten(ground: Ground) -> None:
    block = await ground.a_running_block()
    ground.fleet.cancel([block.block_id], "not wanted")
    assert [each.state for each in ground.fleet.blocks()] == ["ended"]
    assert ground.fleet.forget({"another"}) == []
    assert ground.fleet.forget({block.block_id}) == [block]
    assert ground.fleet.blocks() == []


async def test_what_a_block_ran_when_it_ended_is_to_run_again_though_its_workers_are_not_missed_yet(
    ground: Ground,
) -> None:
    block = await ground.a_running_block(tasks=2)
    assert ground.fleet.doomed(ground.managers) == 0
    ground.scheduler.states[block.job_id] = ("TIMEOUT", "TIMEOUT (TimeLimit)")
    await ground.until(lambda: block.state == "ended")
    ground.fleet.forget({block.block_id})
    assert ground.fleet.doomed(ground.managers) == 2
    ground.managers.clear()
    assert ground.fleet.doomed(ground.managers) == 0
    await ground.fleet.stop()
