"""The engine itself, with real processes: it runs chunks, heals, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import signal
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import psutil
import pytest

from endpoints.block_book import BlockBook
from endpoints.chunk import ChunkReport
from endpoints.configuration import Configuration
from endpoints.engine import Engine, EngineFailed, Premises, is_loss
from endpoints.journal import read_journal
from endpoints.pilots import Backlog
from endpoints.processes import find_processes
from faas.errors import ConfigurationError
from tests.unit.endpoints.chunks import ChunkMaker

pytestmark = pytest.mark.anyio


def make_engine(configuration: Configuration, directory: Path, nonce: str) -> Engine:
    book = BlockBook(directory / "blocks.json", nonce)
    return Engine(Premises(configuration, directory, nonce, book), "default")


@asynccontextmanager
async def started(directory: Path, settings: str = "") -> AsyncIterator[tuple[Engine, str]]:
    nonce = uuid.uuid4().hex
    configuration = Configuration.parse(f"name: lab\nworkers: 2\n{settings}", "config.yaml")
    engine = make_engine(configuration, directory, nonce)
    try:
        await engine.start()
        await looked(engine, lambda: engine.workers == 2)
        yield engine, nonce
    finally:
        await engine.stop()
        assert find_processes(nonce) == []


async def looked(engine: Engine, condition: Callable[[], bool]) -> None:
    """Look after the engine until something is so."""

    async def look() -> None:
        while not condition():
            await engine.look(Backlog())
            await asyncio.sleep(0.05)

    await asyncio.wait_for(look(), 120)


def a_chunk(directory: Path, name: str, source: str, *arguments: object) -> bytes:
    maker = ChunkMaker(directory, chunk_id=name)
    maker.add_source(source, *arguments)
    return maker.encode()


async def result(future: object) -> ChunkReport:
    payload: bytes = await asyncio.wait_for(asyncio.wrap_future(future), 120)  # type: ignore[arg-type]
    return msgspec.msgpack.decode(payload, type=ChunkReport)


def processes(nonce: str, part: str) -> list[psutil.Process]:
    return [process for process in find_processes(nonce) if part in " ".join(process.cmdline())]


async def test_it_heals_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """One engine for all of it, for it takes seconds to start."""
    sleep = "def f(seconds):\n    import time\n    time.sleep(seconds)\n    return seconds\n"
    async with started(tmp_path) as (engine, nonce):
        report = await result(engine.submit(a_chunk(tmp_path, "first", "def f(x):\n    return 2 * x\n", 21)))
        assert report.tasks[0].state == "succeeded"

        # A worker dies: its chunk is lost, the pool replaces it.
        future = engine.submit(a_chunk(tmp_path, "second", sleep, 300))
        journal = tmp_path / "journal" / "second"
        await looked(engine, lambda: journal.exists() and b"started" in journal.read_bytes())
        runner = psutil.Process(*read_journal(journal).runners.values())
        worker = runner.parent()
        assert worker is not None
        worker.kill()
        waiting = asyncio.wrap_future(future)
        await asyncio.wait({waiting}, timeout=120)
        error = waiting.exception()
        assert error is not None
        assert is_loss(error)

        # The pool dies: it is started again.
        pools = [process for process in processes(nonce, "process_worker_pool") if process.name() != "bash"]
        (pool,) = [process for process in pools if process.parent() not in pools]  # workers are copies of it
        pool.send_signal(signal.SIGKILL)
        await looked(engine, lambda: engine.workers == 0)
        await looked(engine, lambda: engine.workers == 2)
        report = await result(engine.submit(a_chunk(tmp_path, "third", sleep, 0)))
        assert report.tasks[0].state == "succeeded"

        # The interchange dies: the engine says that it has to be started again, and can be.
        future = engine.submit(a_chunk(tmp_path, "fourth", sleep, 300))
        (interchange,) = processes(nonce, "interchange")
        interchange.kill()
        with pytest.raises(EngineFailed, match="interchange ended"):
            await looked(engine, lambda: False)
        await engine.stop()
        with pytest.raises(EngineFailed):
            await result(future)
        assert find_processes(nonce) == []
        with pytest.raises(EngineFailed):
            engine.submit(b"")
        await engine.start()
        await looked(engine, lambda: engine.workers == 2)


async def test_a_start_that_is_interrupted_leaves_nothing_behind(tmp_path: Path) -> None:
    nonce = uuid.uuid4().hex
    engine = make_engine(Configuration.parse("name: lab\nworkers: 1", "config.yaml"), tmp_path, nonce)
    starting = asyncio.ensure_future(engine.start())
    while not find_processes(nonce):
        await asyncio.sleep(0.05)
    starting.cancel()
    await asyncio.wait({starting})
    await engine.stop()
    assert find_processes(nonce) == []


async def test_pilots_see_neither_the_current_directory_nor_a_users_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoys = tmp_path / "decoys"
    decoys.mkdir()
    for name in ("queue", "random", "endpoints", "faas", "parsl"):
        (decoys / f"{name}.py").write_text("raise RuntimeError('the wrong module')\n")
    monkeypatch.chdir(decoys)
    async with started(tmp_path / "run", "encrypted: true") as (engine, _):
        report = await result(engine.submit(a_chunk(tmp_path / "run", "c", "def f(x):\n    return x\n", 1)))
        assert report.tasks[0].state == "succeeded"


def test_losses_are_told_from_other_failures() -> None:
    class ManagerLost(Exception):
        pass

    assert is_loss(ManagerLost("m", "h"))
    assert is_loss(RuntimeError("Task failure due to loss of worker 0 on host h"))
    assert is_loss(EngineFailed("stopped"))
    assert not is_loss(ImportError("No module named 'dill'"))


async def test_an_engine_that_cannot_be_started_says_why(tmp_path: Path) -> None:
    configuration = Configuration.parse("name: lab\nengine: {address_by_interface: no0}", "config.yaml")
    engine = make_engine(configuration, tmp_path, uuid.uuid4().hex)
    with pytest.raises(ConfigurationError):
        await engine.start()
    await engine.stop()
    assert "no0" in engine.problem
