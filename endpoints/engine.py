"""The engine: Globus Compute's, started, watched, healed and stopped with nothing left behind."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import shutil
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Protocol

from endpoints.configuration import Configuration
from endpoints.processes import NONCE_VARIABLE, stop_processes
from endpoints.profiles import find_profile
from endpoints.threads import in_thread
from faas.errors import FaasError

logger = logging.getLogger(__name__)

_CONTEXT = {"task_executor": {"f": "endpoints.worker.run_chunk", "a": (), "k": {}}}
_COMMAND_S = 20.0
_ALIVE_S = 1.0
_START_S = 60.0
_SHUTDOWN_S = 15.0
_WORKERLESS_S = 180.0
_REPLACE_PAUSE_S = 2.0
_COLLECT_AFTER = 50_000
_REPLACE_PAUSE_MAX_S = 60.0


class EngineFailed(FaasError):
    """The engine cannot run anything any more; it has to be started again."""


class ChunkEngine(Protocol):
    """What the agent needs of an engine."""

    workers: int
    """Workers alive."""

    async def start(self) -> None:
        """Start it; workers come up later."""

    def submit(self, payload: bytes) -> Future[bytes]:
        """Run a chunk. The future fails with whatever kept it from running.

        Raises:
            EngineFailed: it takes no more work.
        """

    async def look(self) -> None:
        """See how many workers live, and replace lost blocks.

        Raises:
            EngineFailed: it has to be started again.
        """

    async def stop(self) -> None:
        """End every process; chunks still running fail."""


def is_loss(error: BaseException) -> bool:
    """Whether a chunk failed because its worker or node went away, rather than by itself.

    The engine wraps remote errors, so that the class alone does not tell; the text does.
    """
    text = f"{type(error).__name__} {error!r} {error}"
    return isinstance(error, EngineFailed) or any(
        sign in text for sign in ("ManagerLost", "WorkerLost", "loss of manager", "loss of worker", "BadState")
    )


class Engine:
    """A ``GlobusComputeEngine`` as the agent uses it: one per session and process tree.

    Args:
        configuration: names the profile and its settings.
        run_directory: shared with the workers.
        nonce: marks every process started, so that leftovers are found.
    """

    def __init__(self, configuration: Configuration, run_directory: Path, nonce: str) -> None:
        self.workers = 0
        self._configuration = configuration
        self._directory = run_directory / "engine"
        self._nonce = nonce
        self._engine: Any = None
        self._executor: Any = None
        self._running = False
        self._starting: asyncio.Future[Any] | None = None
        self._futures: set[Future[bytes]] = set()
        self._workers_seen_at = 0.0
        self._replaced_at = 0.0
        self._replace_pause_s = _REPLACE_PAUSE_S

    async def start(self) -> None:
        """Start the interchange and ask for the first block."""
        os.environ[NONCE_VARIABLE] = self._nonce
        self._running = True
        build = find_profile(self._configuration.profile)

        def run() -> Any:
            shutil.rmtree(self._directory, ignore_errors=True)  # logs and scripts of earlier runs
            self._directory.mkdir(parents=True, mode=0o700)
            engine = build(self._configuration, self._directory)
            engine.start(endpoint_id=uuid.uuid4(), run_dir=str(self._directory))
            return engine

        self._starting = asyncio.ensure_future(in_thread(run, name="engine-start"))
        self._engine = await asyncio.shield(self._starting)
        self._executor = self._engine.executor
        # The engine's imports are a quarter of a million objects for the collector to go through again and again,
        # and a batch of tasks makes a few thousand more at once: that was half of the agent's time.
        gc.collect()
        gc.freeze()
        gc.set_threshold(_COLLECT_AFTER, 20, 50)
        self._workers_seen_at = time.monotonic()

    def submit(self, payload: bytes) -> Future[bytes]:
        """Hand a chunk to the interchange; only ever called from the event loop's thread."""
        if self._executor is None or self._executor.bad_state_is_set:
            raise EngineFailed(f"The engine gave up: {getattr(self._executor, 'executor_exception', 'not started')}")
        future: Future[bytes] = self._executor.submit_payload(_CONTEXT, payload)
        self._futures.add(future)
        future.add_done_callback(self._futures.discard)
        return future

    async def look(self) -> None:
        """Ask the interchange who is connected, and replace blocks that ended."""
        executor = self._executor
        if executor is None:
            raise EngineFailed("The engine is not running.")
        if executor.bad_state_is_set:
            raise EngineFailed(f"The engine gave up: {executor.executor_exception}")
        managers = await self._managers(executor)
        self.workers = sum(manager["worker_count"] for manager in managers if manager["active"])
        now = time.monotonic()
        if self.workers:
            self._workers_seen_at = now
            self._replace_pause_s = _REPLACE_PAUSE_S
        elif now - self._workers_seen_at > _WORKERLESS_S:
            raise EngineFailed(f"No worker has shown up for {_WORKERLESS_S:.0f} s.")
        else:
            await self._replace_blocks(now)

    async def _managers(self, executor: Any) -> list[dict[str, Any]]:
        """Who is connected to the interchange; while it does not answer, see whether it lives."""
        asking = asyncio.ensure_future(
            in_thread(lambda: executor.command_client.run("MANAGERS", timeout_s=_COMMAND_S), timeout_s=_COMMAND_S + 5)
        )
        try:
            while not asking.done():
                code = executor.interchange_proc.poll()
                if code is not None:
                    raise EngineFailed(f"The engine's interchange ended with exit code {code}.")
                await asyncio.wait({asking}, timeout=_ALIVE_S)
            managers: list[dict[str, Any]] = asking.result()
            return managers
        except EngineFailed:
            raise
        except Exception as error:
            raise EngineFailed(f"The engine's interchange does not answer ({type(error).__name__}).") from error
        finally:
            asking.cancel()

    async def _replace_blocks(self, now: float) -> None:
        status = dict(self._executor.status_facade)
        if not status or any(not block.terminal for block in status.values()):
            return  # one is coming up, or running
        if now - self._replaced_at < self._replace_pause_s:
            return
        last = status[max(status, key=int)]
        logger.warning("all workers are gone (%s); starting new ones", _ending(last))
        self._replaced_at = now
        self._replace_pause_s = min(2 * self._replace_pause_s, _REPLACE_PAUSE_MAX_S)
        await in_thread(lambda: self._engine.scale_out(1), timeout_s=60)

    async def stop(self) -> None:
        """Shut down, then see to it that no process is left."""
        if not self._running:
            return
        self._running = False
        await self._started()
        engine, self._engine = self._engine, None
        executor, self._executor = self._executor, None
        self.workers = 0
        if engine is not None:
            if executor.interchange_proc.poll() is None and not executor.bad_state_is_set:
                try:
                    await in_thread(engine.shutdown, timeout_s=_SHUTDOWN_S, name="engine-stop")
                except Exception as error:
                    logger.debug("the engine did not shut down by itself: %r", error)
                    _abandon(engine)
            else:
                _abandon(engine)
        await in_thread(lambda: stop_processes(self._nonce), name="stop-processes")
        for future in list(self._futures):
            if not future.done():
                future.set_exception(EngineFailed("The engine was stopped."))
        await asyncio.sleep(0)

    async def _started(self) -> None:
        """A start under way cannot be taken back: let it come to its end, or it would leave processes behind."""
        starting, self._starting = self._starting, None
        if starting is None:
            return
        try:
            self._engine = await asyncio.wait_for(starting, _START_S)
            self._executor = self._engine.executor
        except Exception as error:
            logger.debug("the engine did not start: %r", error)


def _abandon(engine: Any) -> None:
    """Let go of an engine whose interchange answers nothing: its own shutdown would wait for ever."""
    poller = engine.job_status_poller
    calls: list[Callable[[], Any]] = [
        lambda: poller._kill_event.set(),
        lambda: engine.executor._result_queue_thread_exit.set(),
        lambda: engine.executor.interchange_proc.kill(),
        lambda: engine.executor.interchange_proc.wait(5),
    ]
    for call in calls:
        try:
            call()
        except Exception as error:
            logger.debug("while abandoning the engine: %r", error)


def _ending(status: Any) -> str:
    parts = [status.status_name.lower()]
    if status.exit_code is not None:
        parts.append(f"exit code {status.exit_code}")
    if status.message:
        parts.append(str(status.message))
    try:
        tail = (status.stderr_summary or "").strip().splitlines()[-1:]
    except OSError:
        tail = []
    return "; ".join(parts + [line[:300] for line in tail])
