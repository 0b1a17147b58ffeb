"""One real block, to see whether an endpoint works: started, given a call that does nothing, ended."""

from __future__ import annotations

import asyncio
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from endpoints.block_book import BlockBook, read_blocks
from endpoints.chunk import Chunk, ChunkReport, ChunkTask
from endpoints.configuration import Configuration
from endpoints.engine import Engine, EngineFailed, Premises
from endpoints.findings import Finding, doubtful, failed, ok
from endpoints.job_queue import QueueUnavailable, cancel_all
from endpoints.pilots import Backlog
from endpoints.places import Places
from endpoints.profiles import find_profile
from faas.models import AttemptKey, Block, FunctionCode
from faas.packing import function_id, pack_arguments

_LOOK_S = 0.2
_CALL_S = 120.0
_GONE_S = 30.0
_OWNER = str(uuid.UUID(int=0))
_SOURCE = b"st\nnothing:def nothing():\n    return None\n"


def try_block(
    configuration: Configuration, places: Places, wait_s: float, progress: Callable[[str], None]
) -> Iterator[Finding]:
    """Start a block of the smallest shape, use it, and end it; beside an agent that runs, if one does.

    Args:
        configuration: the endpoint's.
        places: its files.
        wait_s: how long to wait for workers.
        progress: told what is waited for.

    Yields:
        How it went.
    """
    try:
        clear_up(places, configuration)
        places.check.mkdir(parents=True, mode=0o700)
        try:
            yield from asyncio.run(_Trial(configuration, places.check, wait_s, progress).run())
        finally:
            clear_up(places, configuration)
    except QueueUnavailable as error:
        yield failed("block", f"it cannot be seen whether one is left: {error}")


def clear_up(places: Places, configuration: Configuration) -> None:
    """Cancel what a check left in the queue, if it was killed, and remove its files.

    Raises:
        QueueUnavailable: its job cannot be cancelled.
    """
    for block in read_blocks(places.check / "blocks.json"):
        queue = find_profile(configuration.profile).queue(configuration)
        cancel_all(queue, block.block_id, _GONE_S, [block.block_id])
    shutil.rmtree(places.check, ignore_errors=True)


class _Trial:
    def __init__(
        self, configuration: Configuration, directory: Path, wait_s: float, progress: Callable[[str], None]
    ) -> None:
        one = {"min_blocks": 0, "max_blocks": 1, "max_failed_blocks": 1, "probe_s": 3600.0, "probe_max_s": 3600.0}
        blocks = configuration.blocks.model_copy(update={**one, "max_idletime_s": 86_400.0})
        self._configuration = configuration.model_copy(update={"blocks": blocks})
        self._directory = directory
        self._wait_s = wait_s
        self._progress = progress
        self._said = ""

    async def run(self) -> list[Finding]:
        for part in ("code", "journal", "recalled", "results", "values"):
            (self._directory / part).mkdir()
        shape = self._configuration.shapes_by_size()[0]
        nonce = uuid.uuid4().hex
        book = BlockBook(self._directory / "blocks.json", nonce)
        engine = Engine(Premises(self._configuration, self._directory, nonce, book), shape)
        began = time.monotonic()
        try:
            await engine.start()
            if trouble := await self._workers(engine):
                return [trouble]
            found = [ok("block", f"{engine.workers} worker(s) after {time.monotonic() - began:.1f} s")]
            for name in sorted(self._configuration.environments):
                found.append(await self._call(engine, name))
            return found
        except EngineFailed as error:
            return [failed("block", str(error), f"see the logs in {self._directory.parent}")]
        except Exception as error:
            return [failed("block", f"the engine does not start: {' '.join(str(error).split())}", "see `engine:`")]
        finally:
            await engine.stop()

    async def _workers(self, engine: Engine) -> Finding | None:
        """Wait for workers; returns why there are none."""
        deadline = time.monotonic() + self._wait_s
        while not engine.workers:
            await engine.look(Backlog(tasks=1, seconds=None))
            block = next(iter(engine.blocks()), None)
            self._tell(block)
            if block is not None and not engine.workers and block.ended_at is not None:
                return failed("block", f"{_number(block)} {block.state}: {block.message}", "see `scheduler:`")
            if time.monotonic() > deadline:
                waits = f"{_number(block)} is {block.state}: {block.message}" if block is not None else engine.problem
                return doubtful("block", f"no worker in {self._wait_s:.0f} s; {waits}", "wait longer: --block-wait")
            await asyncio.sleep(_LOOK_S)
        return None

    def _tell(self, block: Block | None) -> None:
        if block is None:
            return
        said = f"{_number(block)} is {block.state}{f': {block.message}' if block.message else ''}"
        if said != self._said:
            self._progress(f"{said} …")
        self._said = said

    async def _call(self, engine: Engine, environment: str) -> Finding:
        """Run a call that does nothing."""
        what = f"call in environment {environment}"
        chunk = _chunk(self._directory, self._configuration, environment)
        began = time.monotonic()
        try:
            answer: bytes = await asyncio.wait_for(asyncio.wrap_future(engine.submit(chunk)), _CALL_S)
        except asyncio.TimeoutError:
            return failed(what, f"not done in {_CALL_S:.0f} s", "see whether its Python starts on a compute node")
        except Exception as error:
            return failed(what, " ".join(str(error).split())[-500:], "see `environments:`")
        report = msgspec.msgpack.decode(answer, type=ChunkReport)
        (task,) = report.tasks
        if task.state != "succeeded":
            return failed(
                what, " ".join((report.broken or task.message or task.stderr).split())[-500:], "see `environments:`"
            )
        python = f"Python {report.python_version} " if report.python_version else ""
        return ok(what, f"{python}on {report.node or report.host}, {time.monotonic() - began:.1f} s")


def _number(block: Block) -> str:
    return f"job {block.job_id}" if block.job_id else block.block_id


def _chunk(directory: Path, configuration: Configuration, environment: str) -> bytes:
    wanted = configuration.environments[environment]
    identifier = function_id(_OWNER, "st", _SOURCE)
    code = FunctionCode(function_id=identifier, owner_id=_OWNER, name="nothing", serializer="st", code=_SOURCE)
    (directory / "code" / identifier).write_bytes(msgspec.msgpack.encode(code))
    task = ChunkTask(
        attempt=AttemptKey(1, 1),
        task_id=str(uuid.uuid4()),
        function_id=identifier,
        payload=pack_arguments((), {}).payload,
    )
    return msgspec.msgpack.encode(
        Chunk(
            chunk_id=f"check-{environment}",
            owner_id=_OWNER,
            tasks=[task],
            run_directory=str(directory),
            environment=environment,
            interpreter=wanted.command,
            setup=wanted.setup,
            variables=wanted.variables,
        )
    )
