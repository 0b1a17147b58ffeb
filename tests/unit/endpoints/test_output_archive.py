"""Output files at an agent: handed over when asked for, added to what was lost, removed when old."""

from __future__ import annotations

from pathlib import Path

import pytest

from endpoints.chunk import Chunk, ChunkTask, TaskReport
from endpoints.output_file import OutputFile, place
from faas.models import AttemptKey
from tests.unit.endpoints.fake_engine import FakeEngine, ManagerLost, echo
from tests.unit.endpoints.fake_service import FakeService, function_code
from tests.unit.endpoints.running_agent import killed, places_in, running

pytestmark = pytest.mark.anyio

CODE = function_code("def f(x):\n    return x\n", "f")
TEXT = "".join(f"line {number}\n" for number in range(2000))


@pytest.fixture
def service() -> FakeService:
    return FakeService()


def printing(chunk: Chunk, task: ChunkTask) -> TaskReport:
    """Print as a worker would write it down."""
    at = place(Path(chunk.output_directory), task.attempt, task.task_id, 1_700_000_000)
    file = OutputFile(at.with_name(f"{at.name}.out"), chunk.output_bytes)
    file.write(TEXT.encode())
    file.close()
    return echo(chunk, task)


def printing_and_lost(chunk: Chunk, task: ChunkTask) -> TaskReport:
    printing(chunk, task)
    raise ManagerLost("The manager was lost")


async def test_a_file_is_stored_when_it_is_asked_for(service: FakeService, tmp_path: Path) -> None:
    engine = FakeEngine(printing)
    async with running(service, engine, tmp_path, "output: {days: 36000}\n"):
        attempt = service.add(CODE)
        service.notify()
        await service.until(lambda: service.ended(attempt))
        task_id = engine.chunks[0].tasks[0].task_id
        out = service.want_log(attempt, task_id)
        await service.until(lambda: len(service.logs_found) == 1)
        service.want_log(attempt, task_id, "stderr")
        await service.until(lambda: len(service.logs_found) == 2)
        service.want_log(AttemptKey(attempt.sequence, 2), task_id)
        await service.until(lambda: len(service.logs_found) == 3)
    assert service.objects[out].decode() == TEXT
    assert [found.size_bytes for found in service.logs_found] == [len(TEXT), None, None]
    assert not list((places_in(tmp_path).run / "values").iterdir())


async def test_a_lost_attempt_says_where_it_ran_and_what_it_had_printed(service: FakeService, tmp_path: Path) -> None:
    async with running(service, FakeEngine(printing_and_lost), tmp_path, "output: {days: 36000}\n"):
        attempt = service.add(CODE)
        service.notify()
        await service.until(lambda: service.ended(attempt))
    lost = service.ended(attempt)
    assert lost is not None
    assert (lost.state, lost.node, lost.job_id, lost.block_id) == ("lost", "theta3", "4711", "ab-1")
    assert lost.environment == "default"
    assert lost.stdout == TEXT[-4096:]
    assert lost.message == "The manager was lost"


async def test_so_does_one_that_was_lost_with_the_agent(service: FakeService, tmp_path: Path) -> None:
    engine = FakeEngine(printing)
    started = []

    def hanging(chunk: Chunk, task: ChunkTask) -> TaskReport:
        report = printing(chunk, task)
        started.append(task.attempt)
        engine.open.clear()
        engine.open.wait(60)
        return report

    engine.body = hanging
    async with running(service, engine, tmp_path, "output: {days: 36000}\n") as (_, run):
        attempt = service.add(CODE)
        service.notify()
        await service.until(lambda: started)
        await killed(service, engine, run, tmp_path)
    async with running(service, FakeEngine(), tmp_path, "output: {days: 36000}\n"):
        await service.until(lambda: service.ended(attempt))
    lost = service.ended(attempt)
    assert lost is not None
    assert (lost.state, lost.node, lost.stdout) == ("lost", "theta3", TEXT[-4096:])


async def test_files_of_old_days_are_removed(service: FakeService, tmp_path: Path) -> None:
    old = places_in(tmp_path).output / "2023-11-14"
    old.mkdir(parents=True)
    (old / "1.1.task.out").touch()
    async with running(service, FakeEngine(), tmp_path):
        await service.until(lambda: not old.exists())
