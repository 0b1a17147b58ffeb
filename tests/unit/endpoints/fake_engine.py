"""An engine without processes: chunks run in threads, as the test says; they can be held back, and lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from math import inf
from pathlib import Path

import msgspec

from endpoints.chunk import Chunk, ChunkReport, ChunkTask, TaskReport
from endpoints.engine import EngineFailed
from endpoints.journal import Journal
from endpoints.pilots import Backlog
from endpoints.whereabouts import Whereabouts
from faas.models import Block

WHERE = Whereabouts(host="node", worker="1@node", node="theta3", job_id="4711", block_id="ab-1")

Body = Callable[[Chunk, ChunkTask], TaskReport]


class ManagerLost(Exception):
    """Named as the engine's own."""


def echo(chunk: Chunk, task: ChunkTask) -> TaskReport:
    """Succeed with the arguments as the result."""
    now = time.time()
    payload = task.payload or (Path(task.payload_file).read_bytes() if task.payload_file else b"none")
    return TaskReport(
        attempt=task.attempt, state="succeeded", result=payload, started_at=now, ended_at=now, run_s=0.0001
    )


class FakeEngine:
    """See ``endpoints.engine.ChunkEngine``.

    Args:
        body: what running a task does.
        workers: that come up.
    """

    def __init__(self, body: Body = echo, workers: int = 2) -> None:
        self.workers = 0
        self.leaving = 0
        self.problem = ""
        self.restless = False
        self.ports: list[int] = []
        self.fresh_s = inf
        self.longest: float | None = None
        self.backlogs: list[Backlog] = []
        self.live_blocks: list[Block] = []
        self.words: dict[str, str] = {}
        self.body = body
        self.chunks: list[Chunk] = []
        self.open = threading.Event()
        """Chunks wait for it before they run."""
        self.open.set()
        self.starts = 0
        self.stops = 0
        self.broken = ""
        self.broken_environments: dict[str, str] = {}
        """Why none of their tasks can be run."""
        self._workers = workers
        self._running: set[Future[bytes]] = set()

    async def start(self) -> None:
        self.starts += 1
        self.broken = ""

    async def look(self, backlog: Backlog) -> None:
        self.backlogs.append(backlog)
        if self.broken:
            raise EngineFailed(self.broken)
        self.workers = self._workers

    def set_workers(self, workers: int) -> None:
        """From the next look on there are so many."""
        self._workers = workers

    def longest_s(self) -> float | None:
        return self.longest

    def blocks(self) -> list[Block]:
        return self.live_blocks

    def word_of(self, block_id: str) -> str:
        return self.words.get(block_id, "")

    def forget(self, block_ids: set[str]) -> list[Block]:
        over = [block for block in self.live_blocks if block.ended_at is not None and block.block_id in block_ids]
        self.live_blocks = [block for block in self.live_blocks if block not in over]
        return over

    def submit(self, payload: bytes) -> Future[bytes]:
        chunk = msgspec.msgpack.decode(payload, type=Chunk)
        self.chunks.append(chunk)
        future: Future[bytes] = Future()
        self._running.add(future)
        threading.Thread(target=self._run, args=(chunk, future), daemon=True).start()
        return future

    def _run(self, chunk: Chunk, future: Future[bytes]) -> None:
        self.open.wait(60)
        if problem := self.broken_environments.get(chunk.environment):
            given_back = [TaskReport(attempt=task.attempt, state="released", message=problem) for task in chunk.tasks]
            self._settle(
                future,
                msgspec.msgpack.encode(
                    ChunkReport(chunk_id=chunk.chunk_id, host="node", worker="1@node", broken=problem, tasks=given_back)
                ),
            )
            return
        journal = Journal(Path(chunk.run_directory) / "journal" / chunk.chunk_id, WHERE)
        reports = []
        try:
            for task in chunk.tasks:
                journal.started(task.attempt, time.time(), 2**22 + 1)
                journal.flush()
                reports.append(self.body(chunk, task))
                journal.ended(task.attempt)
            report = ChunkReport(
                chunk_id=chunk.chunk_id,
                host="node",
                worker="1@node",
                node=WHERE.node,
                job_id=WHERE.job_id,
                block_id=WHERE.block_id,
                runner={"python": "3"},
                tasks=reports,
            )
        except Exception as error:
            journal.close()
            self._settle(future, error=error)
        else:
            journal.close()
            self._settle(future, msgspec.msgpack.encode(report))

    def _settle(self, future: Future[bytes], result: bytes = b"", error: BaseException | None = None) -> None:
        self._running.discard(future)
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)

    async def stop(self) -> None:
        self.stops += 1
        self.workers = 0
        for future in list(self._running):
            self._settle(future, error=EngineFailed("The engine was stopped."))
