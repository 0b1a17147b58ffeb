"""Runs a chunk of tasks in the pilot's worker process, feeding them to a warm runner one after the other.

The engine calls `run_chunk` with an encoded `endpoints.chunk.Chunk` and gets an encoded `ChunkReport`.
A few tasks are sent ahead, so that the runner need not wait between them; it says when each starts.
When a runner dies only the task that had started is at fault: those sent but not started go to a new one.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from pathlib import Path
from typing import Literal

import msgspec

from endpoints.chunk import Chunk, ChunkReport, ChunkTask, TaskReport
from endpoints.code_cache import CachedCode, CodeCache, CodeUnavailable
from endpoints.interpreter import Interpreter
from endpoints.journal import Journal
from endpoints.output_file import OutputFile, Stream, place
from endpoints.output_tail import OpenFile, no_file
from endpoints.result_upload import ResultUploads
from endpoints.runner import remove_output, unfinished_output
from endpoints.runner_process import Answer, RunnerEnded, RunnerKey, RunnerProcess, RunnerUnavailable
from endpoints.verdicts import explain_end, may_be_shared
from endpoints.warm_runners import WarmRunners
from endpoints.whereabouts import nodes_given
from faas.models import AttemptKey, Failure, FailureKind

SENT_AHEAD = 256
SENT_AHEAD_BYTES = 512 * 1024
RECALL_CHECK_S = 0.5
SHARED_END_S = 2.0
"""How much later than its runner a worker may be ended, where a scheduler ends all processes of a job."""
_UNEXPLAINED_DEATHS = 3
"""A runner that dies before it starts the task it was sent is replaced this often."""


_lock = threading.Lock()
_runners: WarmRunners | None = None
_codes = CodeCache()


def run_chunk(payload: bytes) -> bytes:
    """Run a chunk's tasks and report on each.

    Args:
        payload: an encoded `Chunk`.

    Returns:
        An encoded `ChunkReport`: one report for each task, in order.
    """
    global _runners
    chunk = msgspec.msgpack.decode(payload, type=Chunk)
    with _lock:
        if _runners is None or _runners.process != os.getpid():
            _runners = WarmRunners()
        return msgspec.msgpack.encode(ChunkRun(_runners, _codes, chunk).run())


def stop_runners() -> None:
    """End this process's runners; the next chunk starts new ones."""
    global _runners
    with _lock:
        if _runners is not None:
            _runners.stop()
            _runners = None


class ChunkRun:
    """One chunk under way."""

    def __init__(self, runners: WarmRunners, codes: CodeCache, chunk: Chunk) -> None:
        self._runners = runners
        self._codes = codes
        self._chunk = chunk
        self._tasks = chunk.tasks
        self._directory = Path(chunk.run_directory)
        self._results = self._directory / "results"
        self._results.mkdir(exist_ok=True)
        self._recalled: set[str] = set()
        self._recalls_checked = 0.0
        self._reports: list[TaskReport | None] = [None] * len(chunk.tasks)
        self._waiting = deque(range(len(chunk.tasks)))
        self._facts: dict[str, str] = {}
        self._news: dict[str, str] = {}
        self._broken = ""
        self._unexplained_deaths = 0
        self._interpreter = Interpreter(
            chunk.environment,
            tuple(chunk.interpreter),
            tuple(chunk.setup),
            tuple(sorted({**chunk.variables, **nodes_given()}.items())),
        )
        self._where = runners.where
        journal = self._directory / "journal"
        journal.mkdir(exist_ok=True)
        self._journal = Journal(journal / chunk.chunk_id, self._where)
        self._uploads = ResultUploads(chunk.store) if chunk.store is not None else None
        self._sent: deque[int] = deque()
        """Tasks the runner has been sent and has not yet answered."""
        # Of the task that runs now, as far as the runner has told:
        self._started: int | None = None
        self._started_at = 0.0
        self._deadline = float("inf")
        self._since = 0.0

    def run(self) -> ChunkReport:
        """Run every task; whatever happens to one, each gets a report."""
        try:
            while self._waiting:
                self._run_some()
            if self._uploads is not None:
                self._uploads.finish()
        finally:
            self._journal.close()
        where = self._where
        return ChunkReport(
            chunk_id=self._chunk.chunk_id,
            host=where.host,
            worker=where.worker,
            node=where.node,
            job_id=where.job_id,
            block_id=where.block_id,
            python_version=self._facts.get("python", ""),
            runner=self._news,
            broken=self._broken,
            tasks=[report for report in self._reports if report is not None],
        )

    def _run_some(self) -> None:
        """Run tasks from the front, as far as one runner goes."""
        code = self._code_of_next()
        if code is None:
            return
        key = self._key(code)
        try:
            runner = self._runners.take(key)
        except RunnerUnavailable as error:
            self._broken = str(error)
            while (code := self._code_of_next()) and self._key(code) == key:
                index = self._waiting.popleft()
                attempt = self._tasks[index].attempt
                self._reports[index] = TaskReport(attempt=attempt, state="released", message=self._broken)
            return
        self._facts = runner.facts
        if "packages" in runner.facts:  # once from each runner: the list is long
            self._news = dict(runner.facts)
            del runner.facts["packages"]
        try:
            self._feed(runner)
        except BaseException:
            self._runners.discard(runner)
            raise

    def _key(self, code: CachedCode) -> RunnerKey:
        return RunnerKey(self._chunk.owner_id, self._interpreter, code.modules_directory)

    def _code_of_next(self) -> CachedCode | None:
        """The code of the next task to send; those that cannot run are reported and passed over."""
        self._check_recalls()
        while self._waiting:
            task = self._tasks[self._waiting[0]]
            if self._recalled and _name(task.attempt) in self._recalled:
                self._report(self._waiting.popleft(), "cancelled")
                continue
            try:
                return self._codes.load(self._directory, task.function_id)
            except CodeUnavailable as error:
                self._fail(self._waiting.popleft(), "serialization", str(error))
        return None

    def _feed(self, runner: RunnerProcess) -> None:
        """Send tasks ahead and take in answers, until the chunk or the runner ends."""
        sent = self._sent
        sent.clear()
        if self._chunk.output_directory:
            runner.reuse(self._results, self._chunk.large_result_bytes, self._opener("out"), self._opener("err"))
        else:
            runner.reuse(self._results, self._chunk.large_result_bytes, no_file, no_file)
        sent_bytes = 0
        while True:
            while len(sent) < SENT_AHEAD and sent_bytes < SENT_AHEAD_BYTES:
                code = self._code_of_next()
                if code is None or self._key(code) != runner.key:
                    break
                index = self._waiting.popleft()
                sent_bytes += self._send(runner, self._tasks[index], index, code)
                sent.append(index)
            if not sent:
                return
            try:
                unfit = False
                for answer, body in runner.receive(self._patience_s()):
                    if answer.what == "started":
                        self._note_start(answer, runner)
                    elif answer.what == "ended" and sent and answer.task == sent[0]:
                        self._take(answer, body, runner)
                        sent.popleft()
                        unfit = bool(answer.unfit)
                    else:
                        raise ValueError(f"unexpected answer {answer.what}")
                self._journal.flush()
                if not sent:
                    sent_bytes = 0
                if not unfit and not self._overdue(runner, sent):
                    continue
                if unfit:
                    self._runners.discard(runner)
            except RunnerEnded:
                self._explain_end(runner, sent)
            except (ValueError, msgspec.MsgspecError):
                self._runners.discard(runner)
                self._blame(runner, sent, "crash", "The function wrote into the pipe that its runner answers on.")
            self._started = None
            self._deadline = float("inf")
            self._waiting.extendleft(reversed(sent))
            return

    def _opener(self, stream: Stream) -> OpenFile:
        """Opens the files for one stream of the tasks that the runner has been sent."""

        def open_file(ahead: int) -> OutputFile | None:
            if ahead >= len(self._sent):
                return None  # a thread of a task that is over
            task = self._tasks[self._sent[ahead]]
            at = place(Path(self._chunk.output_directory), task.attempt, task.task_id, time.time())
            return OutputFile(at.with_name(f"{at.name}.{stream}"), self._chunk.output_bytes)

        return open_file

    def _send(self, runner: RunnerProcess, task: ChunkTask, index: int, code: CachedCode) -> int:
        function = code.function
        if task.function_id not in runner.functions:
            runner.functions.add(task.function_id)
            runner.send(
                {
                    "is": "function",
                    "id": task.function_id,
                    "name": function.name,
                    "python": function.python_version,
                },
                function.code,
            )
        header: dict[str, object] = {
            "is": "task",
            "task": index,
            "function": task.function_id,
            "name": _name(task.attempt),
        }
        if task.values:
            header["payload_bytes"] = len(task.payload)
            header["values"] = {name: len(value) for name, value in task.values.items()}
        if task.value_files:
            header["value_files"] = task.value_files
        if task.payload_file:
            header["payload_file"] = task.payload_file
        if task.outputs:
            header["outputs"] = task.outputs
        runner.send(header, task.payload, *task.values.values())
        return len(task.payload) + sum(map(len, task.values.values()))

    def _note_start(self, answer: Answer, runner: RunnerProcess) -> None:
        task = self._tasks[answer.task]
        self._started, self._started_at, self._since = answer.task, answer.at_ns / 1e9, time.monotonic()
        self._journal.started(task.attempt, self._started_at, runner.pid)
        self._deadline = self._since + task.timeout_s if task.timeout_s else float("inf")

    def _take(self, answer: Answer, body: bytes, runner: RunnerProcess) -> None:
        stdout, stderr = runner.take_output()
        report = TaskReport(
            attempt=self._tasks[answer.task].attempt,
            state="succeeded",
            result=body,
            result_file=answer.file,
            started_at=self._started_at,
            ended_at=answer.at_ns / 1e9,
            run_s=answer.run_ns / 1e9,
            stdout=stdout,
            stderr=stderr,
            peak_memory_bytes=answer.peak_bytes,
            objects=answer.objects,
        )
        if answer.kind:
            failure = Failure(
                kind=msgspec.convert(answer.kind, FailureKind),
                message=answer.message,
                exception_type=answer.exception_type,
                traceback=answer.traceback,
                exception=body,
            )
            report.state, report.kind, report.message = "failed", failure.kind, failure.message
            report.result = msgspec.msgpack.encode(failure)
        elif answer.unfit:
            report.message = f"The function {answer.unfit}; its process was ended after it."
        self._journal.ended(report.attempt)
        self._reports[answer.task] = report
        if answer.file and self._uploads is not None and (ticket := self._tasks[answer.task].ticket):
            self._uploads.begin(report, ticket)
        self._started = None
        self._deadline = float("inf")

    def _patience_s(self) -> float:
        now = time.monotonic()
        return max(0.0, min(self._deadline - now, self._recalls_checked + RECALL_CHECK_S - now))

    def _check_recalls(self) -> bool:
        """Look for recalls if it is time to."""
        now = time.monotonic()
        if now - self._recalls_checked < RECALL_CHECK_S:
            return False
        self._recalls_checked = now
        try:
            self._recalled = {path.name for path in (self._directory / "recalled").iterdir()}
        except OSError:
            self._recalled = set()
        return True

    def _overdue(self, runner: RunnerProcess, sent: deque[int]) -> bool:
        """End a runner whose task is recalled or has run out of time."""
        self._check_recalls()
        if self._started is None:
            return False
        task = self._tasks[self._started]
        if self._recalled and _name(task.attempt) in self._recalled:
            self._runners.discard(runner)
            self._blame(runner, sent, "cancelled", "The task was cancelled while it ran; its process was killed.")
            return True
        if time.monotonic() >= self._deadline:
            where = runner.where()
            self._runners.discard(runner)
            self._blame(
                runner,
                sent,
                "timeout",
                f"The function ran longer than its timeout_s of {task.timeout_s:g} s and was killed.",
                where,
            )
            return True
        return False

    def _explain_end(self, runner: RunnerProcess, sent: deque[int]) -> None:
        """The runner ended by itself: the task that had started is at fault, if one had."""
        status = runner.exit_status()
        if may_be_shared(status):
            # Where the job ends, this process ends now as well: the task is lost with it, and runs again elsewhere.
            time.sleep(SHARED_END_S)
            self._since += SHARED_END_S  # the function did not run meanwhile
        left = self._runners.discard(runner)
        if self._started is None:
            self._unexplained_deaths += 1
            if self._unexplained_deaths < _UNEXPLAINED_DEATHS:
                return
            self._started, self._started_at, self._since = sent[0], time.time(), time.monotonic()
        code = self._codes.load(self._directory, self._tasks[self._started].function_id).function
        message = explain_end(status)
        ours = runner.facts.get("python", "")
        if status < 0 and code.serializer == "01" and code.python_version.split(".")[:2] != ours.split(".")[:2]:
            message += f" Its byte code was made by Python {code.python_version} and run by Python {ours}."
        if left:
            message += f" It left {left} process{'es' if left > 1 else ''} running, which were killed."
        self._blame(runner, sent, "crash", message)

    def _blame(
        self, runner: RunnerProcess, sent: deque[int], kind: FailureKind, message: str, traceback: str = ""
    ) -> None:
        """Report the started task as ended by what happened to its runner."""
        stdout, stderr = runner.take_last_output()
        index = self._started
        if index is None:
            return
        sent.remove(index)
        task = self._tasks[index]
        (self._results / f"{_name(task.attempt)}.partial").unlink(missing_ok=True)
        for output in task.outputs.values():
            remove_output(unfinished_output(output, _name(task.attempt)))
        run_s = time.monotonic() - self._since
        self._journal.ended(self._tasks[index].attempt)
        self._report(
            index,
            "cancelled" if kind == "cancelled" else "failed",
            kind=kind,
            message=message,
            traceback=traceback,
            started_at=self._started_at,
            ended_at=self._started_at + run_s,
            run_s=run_s,
            stdout=stdout,
            stderr=stderr,
            peak_memory_bytes=runner.peak_bytes,
        )

    def _fail(self, index: int, kind: FailureKind, message: str) -> None:
        """Report a task that never came to run."""
        self._report(index, "failed", kind=kind, message=message)

    def _report(
        self,
        index: int,
        state: Literal["failed", "cancelled"],
        *,
        kind: FailureKind = "cancelled",
        message: str = "The task was cancelled before it started.",
        traceback: str = "",
        started_at: float | None = None,
        ended_at: float | None = None,
        run_s: float | None = None,
        stdout: str = "",
        stderr: str = "",
        peak_memory_bytes: int | None = None,
    ) -> None:
        self._reports[index] = TaskReport(
            attempt=self._tasks[index].attempt,
            state=state,
            kind=kind,
            message=message,
            result=msgspec.msgpack.encode(Failure(kind=kind, message=message, traceback=traceback)),
            started_at=started_at,
            ended_at=ended_at,
            run_s=run_s,
            stdout=stdout,
            stderr=stderr,
            peak_memory_bytes=peak_memory_bytes,
        )


def _name(attempt: AttemptKey) -> str:
    return f"{attempt.sequence}.{attempt.number}"
