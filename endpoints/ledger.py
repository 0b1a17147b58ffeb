"""What the agent holds: every attempt leased and not yet reported, and the queues of those that wait."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

from endpoints.chunking import Candidate, RunTimes, chunk_length, share
from faas.models import DEFAULT_ENVIRONMENT, AttemptKey, LeasedTask

QueueKey: TypeAlias = tuple[str, str, str]
"""Owner, environment, modules: what tasks of one chunk have in common."""


class Held:
    """One attempt in the agent's hands."""

    __slots__ = (
        "chunk_id",
        "key",
        "let_go",
        "payload",
        "payload_file",
        "recalled",
        "started_at",
        "task",
        "value_files",
        "values",
    )

    def __init__(self, task: LeasedTask) -> None:
        self.task = task
        self.key: QueueKey | None = None
        self.payload = task.payload
        self.payload_file = ""
        self.values: dict[str, bytes] = {}
        self.value_files: dict[str, str] = {}
        self.let_go: list[Callable[[], None]] = []
        """Called when the attempt is over: shared values may go."""
        self.chunk_id = ""
        self.started_at: float | None = None
        self.recalled = False

    def free(self) -> None:
        """The attempt is over: let go of what it shared."""
        while self.let_go:
            self.let_go.pop()()

    @property
    def environment(self) -> str:
        """The name of the environment it runs in."""
        return self.task.environment or DEFAULT_ENVIRONMENT

    @property
    def alone(self) -> bool:
        """Whether it must not share a chunk: it may have killed its worker, or must not run twice."""
        return self.task.losses > 0 or not self.task.idempotent


class Ledger:
    """Attempts from lease to acknowledged report, and in between the queues they wait in.

    Args:
        run_times: for estimates.
        unknown_s: run time assumed of a function never measured.
    """

    def __init__(self, run_times: RunTimes, *, unknown_s: float) -> None:
        self._attempts: dict[AttemptKey, Held] = {}
        self._queues: dict[QueueKey, deque[Held]] = {}
        self._waiting: Counter[str] = Counter()
        self._run_times = run_times
        self._unknown_s = unknown_s

    def __len__(self) -> int:
        return len(self._attempts)

    def __contains__(self, attempt: AttemptKey) -> bool:
        return attempt in self._attempts

    def get(self, attempt: AttemptKey) -> Held | None:
        """The attempt, if it is held."""
        return self._attempts.get(attempt)

    def keys(self) -> list[AttemptKey]:
        """Every attempt held: the inventory."""
        return list(self._attempts)

    def __iter__(self) -> Iterator[Held]:
        return iter(list(self._attempts.values()))

    @property
    def waiting(self) -> int:
        """Attempts in the queues, ready to run."""
        return self._waiting.total()

    @property
    def waiting_s(self) -> float:
        """Estimated run time of what waits."""
        return sum(n * self.estimate(function_id) for function_id, n in self._waiting.items())

    def estimate(self, function_id: str) -> float:
        """Run time to reckon with for one task."""
        run_s = self._run_times.get(function_id)
        return self._unknown_s if run_s is None else run_s

    def add(self, held: Held) -> None:
        """Take an attempt in."""
        self._attempts[held.task.attempt] = held

    def enqueue(self, held: Held, key: QueueKey) -> None:
        """Everything the attempt needs is here: let it wait for a worker."""
        held.key = key
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = deque()
        queue.append(held)
        self._waiting[held.task.function_id] += 1

    def next_chunk(self, *, idle_workers: int, workers: int, target_s: float, at_most: int) -> list[Held]:
        """Take the tasks of the next chunk out of the queue whose turn it is; empty if nothing waits."""
        if not self._queues:
            return []
        key = next(iter(self._queues))
        queue = self._queues.pop(key)
        length = chunk_length(
            map(self._candidate, queue),
            at_most=min(at_most, share(self.waiting, idle_workers, workers)),
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
        self._waiting[function_id] -= 1
        if not self._waiting[function_id]:
            del self._waiting[function_id]

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

    def settled(self, attempts: Iterable[AttemptKey]) -> None:
        """The service knows what became of these: they are no longer held."""
        for attempt in attempts:
            self._attempts.pop(attempt, None)
