"""Chunks in the engine's hands, and what they tell of when its workers will be free."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from math import inf
from typing import TYPE_CHECKING

from endpoints.chunking import FORESEEN, likely_free
from endpoints.engine import ChunkEngine

if TYPE_CHECKING:
    from endpoints.ledger import Held


class Outstanding:
    """A chunk in the engine's hands."""

    __slots__ = ("chunk_id", "environment", "estimate_s", "known_s", "marked", "since", "tasks")

    def __init__(self, chunk_id: str, tasks: list[Held], estimate_s: float, known_s: float | None) -> None:
        self.chunk_id = chunk_id
        self.tasks = tasks
        self.environment = tasks[0].environment
        self.estimate_s = estimate_s
        self.known_s = known_s
        """The estimate, where it rests on measurements."""
        self.since = time.monotonic()
        self.marked = 0
        """Tasks known to have started."""


class OutstandingChunks(dict[str, Outstanding]):
    """By chunk id, in the order in which workers take them.

    Args:
        engine: runs them.
        lookahead_s: how far to look.
    """

    def __init__(self, engine: ChunkEngine, lookahead_s: float) -> None:
        super().__init__()
        self._engine = engine
        self._lookahead_s = lookahead_s

    @property
    def _busy_workers(self) -> int:
        return self._engine.workers + self._engine.leaving

    @property
    def running(self) -> Iterator[Outstanding]:
        """Those that workers run; the others wait in the engine."""
        return itertools.islice(self.values(), self._busy_workers)

    @property
    def free_workers(self) -> int:
        """Workers without a chunk; below 0 where chunks wait for a worker."""
        return self._busy_workers - len(self)

    @property
    def queued_s(self) -> float:
        """Estimated run time of chunks that wait for a worker."""
        return sum(chunk.estimate_s for chunk in itertools.islice(self.values(), self._busy_workers, None))

    @property
    def soon_free(self) -> int:
        """Workers that are likely to be free within the look-ahead: holding more work would only bind it."""
        now, within_s = time.monotonic(), self._lookahead_s
        likely = sum(likely_free(chunk.known_s, now - chunk.since, within_s=within_s) for chunk in self.running)
        return int(likely + 1e-9)

    @property
    def next_free_s(self) -> float:
        """Until another worker comes within the look-ahead of what it runs; that alone makes room for more."""
        now, within_s = time.monotonic(), self._lookahead_s
        left = [chunk.known_s - within_s - (now - chunk.since) for chunk in self.running if chunk.known_s is not None]
        return min((left_s for left_s in left if 0 < left_s < FORESEEN * within_s), default=inf)

    @property
    def unknown_for_s(self) -> float:
        """For how long chunks of unknown run time have been running, the longest."""
        now = time.monotonic()
        return max((now - chunk.since for chunk in self.running if chunk.known_s is None), default=0.0)
