"""The queues of tasks that are ready to run and wait for workers of one shape."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from endpoints.chunking import Candidate, RunTimes, chunk_length, share

if TYPE_CHECKING:
    from endpoints.ledger import Held, QueueKey


class Waiting:
    """Queues that take turns, one for each kind of task that may share a chunk.

    Args:
        run_times: for estimates.
        unknown_s: run time assumed of a function never measured.
    """

    def __init__(self, run_times: RunTimes, *, unknown_s: float) -> None:
        self._queues: dict[QueueKey, deque[Held]] = {}
        self._counts: Counter[str] = Counter()
        self._run_times = run_times
        self._unknown_s = unknown_s

    def __len__(self) -> int:
        return self._counts.total()

    @property
    def seconds(self) -> float:
        """Estimated run time of what waits."""
        return sum(n * self.estimate(function_id) for function_id, n in self._counts.items())

    @property
    def unknown(self) -> bool:
        """Whether no run time of what waits is known."""
        return bool(self._counts) and all(self._run_times.get(each) is None for each in self._counts)

    @property
    def next_s(self) -> float:
        """Run time of the task whose turn it is, if it is known."""
        for queue in self._queues.values():
            return self._run_times.get(queue[0].task.function_id) or 0.0
        return 0.0

    def estimate(self, function_id: str) -> float:
        """Run time to reckon with for one task."""
        run_s = self._run_times.get(function_id)
        return self._unknown_s if run_s is None else run_s

    def enqueue(self, held: Held, key: QueueKey) -> None:
        """Everything the attempt needs is here: let it wait for a worker."""
        held.key = key
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = deque()
        queue.append(held)
        self._counts[held.task.function_id] += 1

    def next_chunk(self, *, idle_workers: int, workers: int, target_s: float, at_most: int) -> list[Held]:
        """Take the tasks of the next chunk out of the queue whose turn it is; empty if nothing waits."""
        if not self._queues:
            return []
        key = next(iter(self._queues))
        queue = self._queues.pop(key)
        length = chunk_length(
            map(self._candidate, queue),
            at_most=min(at_most, share(len(self), idle_workers, workers)),
            target_s=target_s,
        )
        chunk = [queue.popleft() for _ in range(length)]
        if queue:
            self._queues[key] = queue  # back at the end: identities take turns
        for held in chunk:
            self._left(held)
        return chunk

    def _candidate(self, held: Held) -> Candidate:
        return Candidate(self._run_times.get(held.task.function_id), held.alone, len(held.payload))

    def _left(self, held: Held) -> None:
        function_id = held.task.function_id
        self._counts[function_id] -= 1
        if not self._counts[function_id]:
            del self._counts[function_id]

    def withdraw(self, wanted: Callable[[Held], bool]) -> list[Held]:
        """Take those attempts out of the queues that fit; they stay held."""
        withdrawn: list[Held] = []
        for key, queue in list(self._queues.items()):
            kept: deque[Held] = deque()
            for held in queue:
                (withdrawn if wanted(held) else kept).append(held)
            if kept:
                self._queues[key] = kept
            else:
                del self._queues[key]
        for held in withdrawn:
            self._left(held)
        return withdrawn
