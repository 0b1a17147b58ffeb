"""The engine: Globus Compute's, started, watched, healed and stopped with nothing left behind."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import shutil
import uuid
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from endpoints.allocation import whole_minutes
from endpoints.block_book import BlockBook
from endpoints.configuration import Configuration
from endpoints.fleet import Fleet
from endpoints.globus_config.mpi import share_of_nodes
from endpoints.pilots import Backlog, Budget
from endpoints.processes import NONCE_VARIABLE, stop_processes
from endpoints.profiles import find_profile
from endpoints.steering import Steering
from endpoints.threads import in_thread
from faas.errors import FaasError
from faas.models import Block

logger = logging.getLogger(__name__)

_CONTEXT: dict[str, Any] = {"task_executor": {"f": "endpoints.worker.run_chunk", "a": (), "k": {}}}
_COMMAND_S = 20.0
_ALIVE_S = 1.0
_START_S = 60.0
_SHUTDOWN_S = 15.0
_COLLECT_AFTER = 50_000
LET_GO = "let-go"
"""In the engine's directory, files named like the blocks whose pilots are to end; see ``endpoints/pilot.py``."""


class EngineFailed(FaasError):
    """The engine cannot run anything any more; it has to be started again."""


class ChunkEngine(Protocol):
    """What the agent needs of an engine: workers of one shape, and the blocks that hold them."""

    workers: int
    """Workers that take chunks."""
    leaving: int
    """Chunks still run by workers that take no more."""

    async def start(self) -> None:
        """Start it; workers come up later."""

    def submit(self, payload: bytes) -> Future[bytes]:
        """Run a chunk. The future fails with whatever kept it from running.

        Raises:
            EngineFailed: it takes no more work.
        """

    async def look(self, backlog: Backlog) -> None:
        """See how many workers live, and have as many blocks as the backlog is worth.

        Raises:
            EngineFailed: it has to be started again.
        """

    def word_of(self, block_id: str) -> str:
        """What the scheduler last said of a block, as a sentence; empty if it said nothing."""

    @property
    def problem(self) -> str:
        """Why nothing can run here now; empty when well."""

    @property
    def ports(self) -> list[int]:
        """Where it listens for its workers."""

    @property
    def restless(self) -> bool:
        """Whether to look again soon."""

    @property
    def fresh_s(self) -> float:
        """The longest run time that fits a new block."""

    def longest_s(self) -> float | None:
        """The longest run time that fits before any worker that takes chunks has to go; None for any."""

    def blocks(self) -> list[Block]:
        """Those that live, and those that ended and were not yet forgotten."""

    def forget(self, block_ids: set[str]) -> list[Block]:
        """Drop ended blocks that the service knows of; returns them."""

    async def stop(self) -> None:
        """End every block and process; chunks still running fail."""


def is_loss(error: BaseException) -> bool:
    """Whether a chunk failed because its worker or node went away, rather than by itself.

    The engine wraps remote errors, so that the class alone does not tell; the text does.
    """
    text = f"{type(error).__name__} {error!r} {error}"
    return isinstance(error, EngineFailed) or any(
        sign in text for sign in ("ManagerLost", "WorkerLost", "loss of manager", "loss of worker", "BadState")
    )


@dataclass(frozen=True)
class Premises:
    """What the engines of a session share.

    Args:
        configuration: the endpoint's.
        run_directory: shared with the workers.
        nonce: marks every process and names every job, so that leftovers are found.
        book: where blocks are named.
        budget: what may still be spent on blocks.
        changed: called when a block's state has.
    """

    configuration: Configuration
    run_directory: Path
    nonce: str
    book: BlockBook
    budget: Callable[[], Budget] = Budget
    changed: Callable[[], None] = lambda: None


class Engine:
    """A ``GlobusComputeEngine`` as the agent uses it: one for each shape of worker.

    Args:
        premises: what it shares with the others.
        shape: of its workers.
    """

    def __init__(self, premises: Premises, shape: str) -> None:
        self.workers = 0
        self.leaving = 0
        self._premises = premises
        self._configuration = premises.configuration
        self._shape = shape
        self._directory = premises.run_directory / "engine" / shape
        self._nonce = premises.nonce
        self._engine: Any = None
        self._executor: Any = None
        self._profile = find_profile(self._configuration.profile)
        self._context = _CONTEXT
        self._fleet, self._steering = self._controller()
        self._running = False
        self._trouble = ""
        self._starting: asyncio.Future[Any] | None = None
        self._futures: set[Future[bytes]] = set()

    async def start(self) -> None:
        """Start the interchange; blocks are requested when they are looked for."""
        os.environ[NONCE_VARIABLE] = self._nonce
        self._running = True

        def run() -> Any:
            from endpoints.profiles.engine_parts import build_engine

            shutil.rmtree(self._directory, ignore_errors=True)  # logs and scripts of earlier runs
            self._directory.mkdir(parents=True, mode=0o700)
            engine = build_engine(self._profile, self._configuration, self._shape, self._directory)
            engine.start(endpoint_id=uuid.uuid4(), run_dir=str(self._directory))
            return engine

        self._starting = asyncio.ensure_future(in_thread(run, name="engine-start"))
        try:
            self._engine = await asyncio.shield(self._starting)
        except Exception as error:
            self._trouble = f"The engine cannot be started: {error or type(error).__name__}"
            raise
        self._trouble = ""
        self._executor = self._engine.executor
        # The engine's imports are a quarter of a million objects for the collector to go through again and again,
        # and a batch of tasks makes a few thousand more at once: that was half of the agent's time.
        gc.collect()
        gc.freeze()
        gc.set_threshold(_COLLECT_AFTER, 20, 50)
        launch = self._executor.launch_cmd
        self._fleet.attach(self._executor.provider, lambda name: launch.format(block_id=name))

    def _controller(self) -> tuple[Fleet, Steering]:
        """What has blocks come and go; it outlives a restart of the engine, for it remembers what failed."""
        configuration, scheduler = self._configuration, self._configuration.scheduler
        local = self._profile.on_this_host
        nodes = 1 if local else scheduler.nodes_per_block
        workers = nodes * configuration.workers_per_node(self._shape)
        file = configuration.engine_file
        if file is not None and file.mpi:
            workers = configuration.workers_per_node(self._shape)
            self._context = {**_CONTEXT, "resource_spec": share_of_nodes(nodes, workers)}
        walltime_s = 0.0 if local else whole_minutes(scheduler.walltime_s) * 60.0
        fleet = Fleet(
            self._shape,
            self._premises.book,
            self._profile.queue(configuration),
            nodes=nodes,
            walltime_s=walltime_s,
            settings=configuration.blocks,
            status_period_s=scheduler.status_period_s,
            changed=self._premises.changed,
        )
        steering = Steering(
            self._shape,
            fleet,
            configuration.blocks,
            workers_per_block=workers,
            node_hours_per_block=nodes * walltime_s / 3600,
            budget=self._premises.budget,
        )
        return fleet, steering

    def submit(self, payload: bytes) -> Future[bytes]:
        """Hand a chunk to the interchange; only ever called from the event loop's thread."""
        if self._executor is None or self._executor.bad_state_is_set:
            raise EngineFailed(f"The engine gave up: {getattr(self._executor, 'executor_exception', 'not started')}")
        future: Future[bytes] = self._executor.submit_payload(self._context, payload)
        self._futures.add(future)
        future.add_done_callback(self._futures.discard)
        return future

    async def look(self, backlog: Backlog) -> None:
        """Ask the interchange who is connected, and the scheduler after its jobs; then do what the backlog is worth."""
        executor, fleet = self._executor, self._fleet
        if executor is None:
            raise EngineFailed("The engine is not running.")
        if executor.bad_state_is_set:
            raise EngineFailed(f"The engine gave up: {executor.executor_exception}")
        managers = await self._managers(executor)
        to_hold = fleet.observe(managers)
        taking = [
            manager
            for manager in managers
            if manager["active"] and not manager["draining"] and fleet.accepts(manager["block_id"])
        ]
        self.workers = sum(manager["worker_count"] for manager in taking)
        self.leaving = sum(manager["tasks"] for manager in managers if manager not in taking)
        self._let_go(managers)
        if to_hold:
            await self._ask(executor, lambda: [executor.command_client.run(["HOLD_MANAGER", name]) for name in to_hold])
        fleet.poll()
        # What is lost with a block wants the next at once, not only when its loss has gone to the service and back.
        self._steering.steer(replace(backlog, tasks=backlog.tasks + fleet.doomed(managers)))

    def _let_go(self, managers: list[dict[str, Any]]) -> None:
        """Pilots may outlive their job, where a node's daemon died: once they have nothing to do they are to end."""
        busy = {manager["block_id"] for manager in managers if manager["tasks"]}
        for block_id in {manager["block_id"] for manager in managers} - busy:
            if self._fleet.is_over(block_id):
                (self._directory / LET_GO).mkdir(exist_ok=True)
                (self._directory / LET_GO / block_id).touch()

    def word_of(self, block_id: str) -> str:
        """What the scheduler last said of a block, as a sentence; empty if it said nothing."""
        return self._fleet.word_of(block_id)

    @property
    def problem(self) -> str:
        """Why nothing can run here now; empty when well."""
        return self._trouble or self._steering.problem

    @property
    def ports(self) -> list[int]:
        """Where it listens for its workers."""
        return [self._executor.worker_port] if self._executor is not None and self._executor.worker_port else []

    @property
    def restless(self) -> bool:
        """Whether to look again soon."""
        return self._fleet.restless

    @property
    def fresh_s(self) -> float:
        """The longest run time that fits a new block."""
        return self._fleet.fresh_s

    def longest_s(self) -> float | None:
        """The longest run time that fits before any worker that takes chunks has to go; None for any."""
        return self._fleet.longest_s()

    def blocks(self) -> list[Block]:
        """Those that live, and those that ended and were not yet forgotten."""
        return self._fleet.blocks()

    def forget(self, block_ids: set[str]) -> list[Block]:
        """Drop ended blocks that the service knows of; returns them."""
        return self._fleet.forget(block_ids)

    async def _managers(self, executor: Any) -> list[dict[str, Any]]:
        """Who is connected to the interchange."""
        managers: list[dict[str, Any]] = await self._ask(
            executor, lambda: executor.command_client.run("MANAGERS", timeout_s=_COMMAND_S)
        )
        return managers

    async def _ask(self, executor: Any, command: Callable[[], Any]) -> Any:
        """Ask the interchange something; while it does not answer, see whether it lives."""
        asking = asyncio.ensure_future(in_thread(command, timeout_s=_COMMAND_S + 5))
        try:
            while not asking.done():
                code = executor.interchange_proc.poll()
                if code is not None:
                    raise EngineFailed(f"The engine's interchange ended with exit code {code}.")
                await asyncio.wait({asking}, timeout=_ALIVE_S)
            return asking.result()
        except EngineFailed:
            raise
        except Exception as error:
            raise EngineFailed(f"The engine's interchange does not answer ({type(error).__name__}).") from error
        finally:
            asking.cancel()

    async def stop(self) -> None:
        """Shut down, then see to it that no process is left."""
        if not self._running:
            return
        self._running = False
        await self._started()
        engine, self._engine = self._engine, None
        executor, self._executor = self._executor, None
        self.workers = self.leaving = 0
        await self._fleet.stop()
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
