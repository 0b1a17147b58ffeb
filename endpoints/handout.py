"""Chunks in and out of the engine: tasks handed to workers, their reports taken apart, lost workers accounted for."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import logging
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import msgspec
import psutil

from endpoints.chunk import Chunk, ChunkReport, ChunkTask, ResultStore
from endpoints.chunking import RunTimes
from endpoints.configuration import Configuration
from endpoints.engine import ChunkEngine, EngineFailed, is_loss
from endpoints.environments import Environments
from endpoints.journal import JournalEntries, read_journal
from endpoints.ledger import Held, Ledger
from endpoints.lost_work import lost_outcome
from endpoints.output_file import find
from endpoints.outputs import Outputs
from endpoints.outstanding import Outstanding, OutstandingChunks
from endpoints.processes import NONCE_VARIABLE, RUNNER_VARIABLE
from endpoints.reporter import Reporter
from endpoints.spool import Batch
from endpoints.waiting import Waiting
from endpoints.whereabouts import Whereabouts
from faas.errors import FaasError, RequestRefused
from faas.models import AttemptKey, Failure, FailureKind, Outcome

logger = logging.getLogger(__name__)

_DROPPED = "Its task had ended before it started here."
_LONGER = "Its function takes longer than was known when it was leased."
_PAUSE_S = 1.0
_PAUSE_MAX_S = 60.0

_chunk_encoder = msgspec.msgpack.Encoder()
_report_decoder = msgspec.msgpack.Decoder(ChunkReport)
_numbers = itertools.count(1)


class Handout:
    """Keeps workers busy with what waits in the ledger, and turns what comes back into outcomes.

    Args:
        configuration: chunk sizes, and how much output to keep.
        environments: what tasks run in.
        run_directory: shared with the workers.
        output_directory: where they keep what tasks print.
        nonce: of the session; names chunks and marks processes.
        engine: runs chunks.
        ledger: what is held.
        waiting: what of it waits for this engine's workers.
        run_times: measured here.
        reporter: takes outcomes.
        outputs: stores what tasks have written.
        room: called when a worker may have become free.
        service_url: where workers ask to store large results by themselves.
        ticket: gives a worker leave to do so for one attempt.
    """

    def __init__(
        self,
        configuration: Configuration,
        environments: Environments,
        run_directory: Path,
        output_directory: Path,
        nonce: str,
        engine: ChunkEngine,
        ledger: Ledger,
        waiting: Waiting,
        run_times: RunTimes,
        reporter: Reporter,
        outputs: Outputs,
        room: Callable[[], None],
        service_url: str,
        ticket: Callable[[AttemptKey], str],
    ) -> None:
        self._settings = configuration.leasing
        self._output_bytes = configuration.output.task_bytes
        self._environments = environments
        self._run_directory = run_directory
        self._output_directory = output_directory
        self._nonce = nonce
        self._engine = engine
        self._ledger = ledger
        self._waiting = waiting
        self._run_times = run_times
        self._reporter = reporter
        self._outputs = outputs
        self._room = room
        self.storing: set[asyncio.Task[None]] = set()
        """Attempts that have succeeded and whose files are on their way to the store."""
        self._ticket = ticket
        self._large_result_bytes = configuration.results.large_result_bytes
        self._result_store = None if configuration.results.by == "agent" else ResultStore(url=service_url)
        self._announcing: set[asyncio.Task[None]] = set()
        self._pause_s = 0.0
        self.outstanding = OutstandingChunks(engine, configuration.leasing.lookahead_s)
        self.paused_until = 0.0
        """Until then (monotonic) no work should be leased: workers here failed to run any."""
        self.closed = False
        """Nothing more goes to the engine."""

    # What the lease loop asks

    @property
    def idle_workers(self) -> int:
        """Workers with nothing to do and nothing waiting for them."""
        return max(0, self.outstanding.free_workers - len(self._waiting))

    @property
    def takers(self) -> int:
        """Workers with nothing to do, now or soon, and nothing waiting for them."""
        return max(0, self.outstanding.free_workers + self.outstanding.soon_free - len(self._waiting))

    # Into the engine

    def pump(self) -> None:
        """Hand out what workers can take: one chunk each, and one behind it for each that is free soon."""
        workers = self._engine.workers
        if self.closed or not workers:
            return
        # Reckoned anew after each round: what it handed out may be short.
        while self._waiting and (room := self.outstanding.free_workers + min(workers, self.outstanding.soon_free)) > 0:
            for _ in range(room):
                if not self._waiting or not self._in_time():
                    return
                chunk = self._waiting.next_chunk(
                    idle_workers=max(0, self.outstanding.free_workers),
                    workers=workers,
                    target_s=self._settings.chunk_s,
                    at_most=self._settings.chunk_tasks,
                )
                self._hand_out(chunk)

    def _in_time(self) -> bool:
        """Whether what is next will end before its worker has to go, or no block would ever be long enough for it."""
        longest_s = self._engine.longest_s()
        return longest_s is None or not longest_s < self._waiting.next_s <= self._engine.fresh_s

    def _hand_out(self, tasks: list[Held]) -> None:
        chunk_id = f"{self._nonce[:12]}-{next(_numbers)}"
        estimate_s = sum(self._waiting.estimate(held.task.function_id) for held in tasks)
        known = all(self._run_times.get(held.task.function_id) is not None for held in tasks)
        for held in tasks:
            held.chunk_id = chunk_id
        chunk = self.outstanding[chunk_id] = Outstanding(chunk_id, tasks, estimate_s, estimate_s if known else None)
        if len(tasks) == 1 and not tasks[0].task.idempotent:
            announcing = asyncio.ensure_future(self._announce(chunk))
            self._announcing.add(announcing)
            announcing.add_done_callback(self._announcing.discard)
        else:
            self._submit(chunk)

    async def _announce(self, chunk: Outstanding) -> None:
        """A task that must not run twice starts only when the service knows that it does."""
        held = chunk.tasks[0]
        now = time.time()
        try:
            await self._reporter.announce(held.task.attempt, now)
        except RequestRefused as error:
            self._back(chunk, Outcome(attempt=held.task.attempt, state="released", message=str(error)))
            self.pause(error)
            return
        held.started_at = now
        if held.recalled:
            self._back(chunk, Outcome(attempt=held.task.attempt, state="cancelled", message=_DROPPED))
        elif self.closed:
            self._back(chunk, Outcome(attempt=held.task.attempt, state="lost", message="The endpoint stopped."))
        else:
            self._submit(chunk)

    def _back(self, chunk: Outstanding, outcome: Outcome) -> None:
        del self.outstanding[chunk.chunk_id]
        self._add(chunk.tasks[0], outcome)
        self._room()

    def _submit(self, chunk: Outstanding) -> None:
        environment = self._environments[name := chunk.environment]
        payload = _chunk_encoder.encode(
            Chunk(
                chunk_id=chunk.chunk_id,
                owner_id=chunk.tasks[0].task.owner_id,
                tasks=[
                    ChunkTask(
                        attempt=held.task.attempt,
                        task_id=held.task.task_id,
                        function_id=held.task.function_id,
                        payload=held.payload,
                        payload_file=held.payload_file,
                        values=held.values,
                        value_files=held.value_files,
                        outputs=held.outputs,
                        timeout_s=held.task.timeout_s,
                        ticket=self._ticket(held.task.attempt) if self._result_store is not None else "",
                    )
                    for held in chunk.tasks
                ],
                run_directory=str(self._run_directory),
                environment=name,
                interpreter=environment.command,
                setup=environment.setup,
                variables=environment.variables,
                output_directory=str(self._output_directory) if self._output_bytes else "",
                output_bytes=self._output_bytes,
                large_result_bytes=self._large_result_bytes,
                store=self._result_store,
            )
        )
        loop = asyncio.get_running_loop()
        try:
            future = self._engine.submit(payload)
        except Exception as error:
            future = Future()
            future.set_exception(error if isinstance(error, FaasError) else EngineFailed(str(error)))
        chunk.since = time.monotonic()
        future.add_done_callback(functools.partial(self._call_back, loop, chunk))

    def _call_back(self, loop: asyncio.AbstractEventLoop, chunk: Outstanding, future: Future[bytes]) -> None:
        """Runs in the engine's thread."""
        with contextlib.suppress(RuntimeError):  # the agent has ended
            loop.call_soon_threadsafe(self._returned, chunk, future)

    # Out of the engine

    def _returned(self, chunk: Outstanding, future: Future[bytes]) -> None:
        self.outstanding.pop(chunk.chunk_id, None)
        journal = self._run_directory / "journal" / chunk.chunk_id
        try:
            report = _report_decoder.decode(future.result())
        except BaseException as error:  # whatever it is, the attempts must be accounted for
            self._account(chunk, error, read_journal(journal))
        else:
            try:
                self._take_apart(chunk, report)
            except Exception:
                logger.exception("a chunk's report could not be taken in; its tasks go back to the service")
                self._ledger.settled(held.task.attempt for held in chunk.tasks)
        journal.unlink(missing_ok=True)
        self.pump()
        self._give_back_long()
        self._room()

    def _take_apart(self, chunk: Outstanding, report: ChunkReport) -> None:
        batch = Batch(owner_id=chunk.tasks[0].task.owner_id)
        run_s = batch.run_s
        held_by_attempt = {held.task.attempt: held for held in chunk.tasks}
        host, worker, python_version = report.host, report.worker, report.python_version
        node, job_id, block_id, environment = report.node, report.job_id, report.block_id, chunk.environment
        for task in report.tasks:
            held = held_by_attempt.pop(task.attempt, None)
            if held is None:
                continue
            outcome = Outcome(
                attempt=task.attempt,
                state=task.state,  # type: ignore[arg-type]
                kind=task.kind,
                message=task.message,
                location=task.location,
                started_at=task.started_at,
                ended_at=task.ended_at,
                run_s=task.run_s,
                host=host,
                worker=worker,
                python_version=python_version,
                stdout=task.stdout,
                stderr=task.stderr,
                node=node,
                job_id=job_id,
                block_id=block_id,
                environment=environment,
                peak_memory_bytes=task.peak_memory_bytes,
            )
            result = task.result
            if task.state == "failed" and not result and not task.result_file:
                result = encode_failure(task.kind or "crash", task.message)
            if task.objects:
                outcome.objects = list(task.objects)
            if held.stored and task.state == "succeeded":
                self._store(held, outcome, result, self._result_file(task.result_file))
            else:
                batch.add(outcome, result, self._result_file(task.result_file))
                self._over(held)
            if task.run_s is not None:
                seconds, calls = run_s.get(held.task.function_id, (0.0, 0))
                run_s[held.task.function_id] = (seconds + task.run_s, calls + 1)
        for attempt in held_by_attempt:
            batch.add(Outcome(attempt=attempt, state="released", message="The worker did not say what became of it."))
        for function_id, (seconds, calls) in run_s.items():
            self._run_times.measured(function_id, seconds / calls)
        self._reporter.add(batch)
        if report.runner:
            self._environments.learn(environment, report.runner)
        if report.broken:
            self._environments.broke(environment, report.broken)
            for held in self._ledger.withdraw(lambda held: held.environment == environment):
                self.released(held, report.broken)
        else:
            self._environments.worked(environment)
            self._pause_s = 0.0

    def _store(self, held: Held, outcome: Outcome, result: bytes, file: str) -> None:
        """A task that has written files counts as succeeded when they are stored."""
        storing = asyncio.ensure_future(self._store_and_report(held, outcome, result, file))
        self.storing.add(storing)
        storing.add_done_callback(self.storing.discard)

    async def _store_and_report(self, held: Held, outcome: Outcome, result: bytes, file: str) -> None:
        try:
            await self._outputs.store(held)
        except (RequestRefused, OSError) as error:
            outcome.state, outcome.kind, outcome.objects, outcome.location = "failed", "serialization", [], None
            outcome.message = f"What the function wrote could not be stored: {error}"
            result, file = encode_failure("serialization", outcome.message), ""
        batch = Batch(owner_id=held.task.owner_id)
        batch.add(outcome, result, file)
        self._over(held)
        self._reporter.add(batch)
        self._room()

    def stop_storing(self) -> None:
        """Store no more; what was not is lost, and may be run again."""
        for storing in self.storing:
            storing.cancel()

    def _result_file(self, name: str) -> str:
        """A worker's word for a file, held to the directory where results go."""
        return str(self._run_directory / "results" / Path(name).name) if name else ""

    def _account(self, chunk: Outstanding, error: BaseException, entries: JournalEntries) -> None:
        """A chunk came back without a report: what had started is lost, the rest goes back."""
        started = 0
        where = entries.worker
        why = " ".join(filter(None, (_reason(error), self._engine.word_of(where.block_id))))
        batch = Batch(owner_id=chunk.tasks[0].task.owner_id)
        for held in chunk.tasks:
            attempt = held.task.attempt
            at = entries.started.get(attempt)
            if at is None and held.task.idempotent:
                message = f"Not started: {why}"
                batch.add(Outcome(attempt=attempt, state="released", message=message))
            else:
                started += 1
                batch.add(self._lost(held, why, at, where))
            self._over(held)
        self._reporter.add(batch)
        stop_runners(entries, self._nonce)
        if self.closed:
            return
        logger.warning(
            "a chunk of %d task(s) was lost (%s): %d had started, %d go back to the queue",
            len(chunk.tasks),
            _reason(error),
            started,
            len(chunk.tasks) - started,
        )
        if not is_loss(error):
            self.pause(error)

    def _lost(self, held: Held, why: str, at: float | None, where: Whereabouts) -> Outcome:
        task = held.task
        return lost_outcome(
            task.attempt,
            why,
            started_at=at,
            where=where,
            printed=lambda stream: find(self._output_directory, task.attempt, task.task_id, stream),
            environment=held.environment,
        )

    def pause(self, error: BaseException) -> None:
        """A site that cannot run tasks at all must not drain the federation's queues by returning them fast."""
        self._pause_s = min(max(_PAUSE_S, 2 * self._pause_s), _PAUSE_MAX_S)
        self.paused_until = time.monotonic() + self._pause_s
        logger.error("this site cannot run tasks now; leasing nothing for %.0f s: %s", self._pause_s, _reason(error))

    # Ends that need no worker

    def failed(self, held: Held, kind: FailureKind, message: str) -> None:
        """An attempt cannot run: report it failed."""
        outcome = Outcome(attempt=held.task.attempt, state="failed", kind=kind, message=message)
        self._add(held, outcome, encode_failure(kind, message))

    def released(self, held: Held, reason: str) -> None:
        """An attempt goes back, uncharged."""
        self._add(held, Outcome(attempt=held.task.attempt, state="released", message=reason))

    def release_waiting(self, reason: str) -> int:
        """Everything that waits goes back; returns how many attempts."""
        waiting = self._ledger.withdraw(lambda _: True)
        for held in waiting:
            self.released(held, reason)
        return len(waiting)

    def _give_back_long(self) -> None:
        """Tasks held in advance as short ones that turn out to be long go back: others may have workers for them."""
        workers, lookahead_s = self._engine.workers, self._settings.lookahead_s
        if self.closed or self._waiting.seconds <= 2 * lookahead_s * workers:
            return
        kept = 0

        def is_surplus(held: Held) -> bool:
            nonlocal kept
            if (self._run_times.get(held.task.function_id) or 0.0) < lookahead_s:
                return False
            kept += 1
            return kept > workers

        surplus = self._waiting.withdraw(is_surplus)
        for held in surplus:
            self.released(held, _LONGER)
        if surplus:
            logger.info("gave back %d waiting task(s): they take longer than was known", len(surplus))

    def recall(self, attempts: list[AttemptKey]) -> None:
        """The tasks of these attempts have ended: drop those that wait, tell the workers of the others."""
        recalled = []
        for attempt in attempts:
            held = self._ledger.get(attempt)
            if held is None or held.recalled:
                continue
            held.recalled = True
            if held.chunk_id:
                (self._run_directory / "recalled" / _name(attempt)).touch()
            else:
                recalled.append(held)
        if recalled:
            self._ledger.withdraw(lambda held: held.recalled)
            for held in recalled:
                self._add(held, Outcome(attempt=held.task.attempt, state="cancelled", message=_DROPPED))
            self._room()

    def _add(self, held: Held, outcome: Outcome, result: bytes = b"") -> None:
        batch = Batch(owner_id=held.task.owner_id)
        batch.add(outcome, result)
        self._over(held)
        self._reporter.add(batch)

    def _over(self, held: Held) -> None:
        if held.let_go:
            held.free()
        if held.recalled:
            (self._run_directory / "recalled" / _name(held.task.attempt)).unlink(missing_ok=True)

    def mark_started(self) -> dict[str, float]:
        """Read the journals of chunks that take a while; returns the attempts newly known to have started."""
        news: dict[str, float] = {}
        old = time.monotonic() - 1.0
        for chunk in self.outstanding.values():
            if chunk.since > old or chunk.marked == len(chunk.tasks):
                continue
            entries = read_journal(self._run_directory / "journal" / chunk.chunk_id)
            chunk.marked = len(entries.started)
            for attempt, at in entries.started.items():
                held = self._ledger.get(attempt)
                if held is not None and held.started_at is None:
                    held.started_at = at
                    news[_name(attempt)] = at
        return news


def encode_failure(kind: FailureKind, message: str) -> bytes:
    """What is stored as the result of a task that failed without a word of its own."""
    return msgspec.msgpack.encode(Failure(kind=kind, message=message))


def stop_runners(entries: JournalEntries, nonce: str) -> None:
    """Kill runners still busy with tasks of a lost worker; they lead process groups of their own."""
    for pid in {entries.runners[attempt] for attempt in entries.running}:
        try:
            variables = psutil.Process(pid).environ()
            # The worker may have been on another host, where the number meant another process.
            if variables.get(NONCE_VARIABLE) == nonce and RUNNER_VARIABLE in variables:
                os.killpg(pid, signal.SIGKILL)
        except (psutil.Error, OSError):
            continue


def _name(attempt: AttemptKey) -> str:
    return f"{attempt.sequence}.{attempt.number}"


def _reason(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    text = lines[-1] if lines else type(error).__name__
    return text[:500]
