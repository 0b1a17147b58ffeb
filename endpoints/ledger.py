"""What the agent holds: every attempt leased and not yet reported, and by shape of worker what waits of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TypeAlias

from endpoints.chunking import RunTimes
from endpoints.waiting import Waiting
from faas.models import DEFAULT_ENVIRONMENT, DEFAULT_SHAPE, AttemptKey, LeasedTask

QueueKey: TypeAlias = tuple[str, str, str]
"""Owner, environment, modules: what tasks of one chunk have in common."""


class Held:
    """One attempt in the agent's hands."""

    __slots__ = (
        "chunk_id",
        "key",
        "let_go",
        "outputs",
        "payload",
        "payload_file",
        "recalled",
        "started_at",
        "stored",
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
        self.outputs: dict[str, str] = {}
        """Files it writes, by their names: where they are to be in the end."""
        self.stored: list[str] = []
        """Those of them that go to the store once they are written."""
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
        shapes: of the endpoint's workers, the smallest first: it gets the tasks that name none of them.
    """

    def __init__(self, run_times: RunTimes, *, unknown_s: float, shapes: Collection[str] = (DEFAULT_SHAPE,)) -> None:
        self._attempts: dict[AttemptKey, Held] = {}
        self.waiting = {shape: Waiting(run_times, unknown_s=unknown_s) for shape in shapes}
        self._smallest = next(iter(self.waiting))

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

    def add(self, held: Held) -> None:
        """Take an attempt in."""
        self._attempts[held.task.attempt] = held

    def shape_of(self, held: Held) -> str:
        """The shape whose workers are to run it."""
        return held.task.shape if held.task.shape in self.waiting else self._smallest

    def enqueue(self, held: Held, key: QueueKey) -> None:
        """Everything the attempt needs is here: let it wait for a worker."""
        self.waiting[self.shape_of(held)].enqueue(held, key)

    def withdraw(self, wanted: Callable[[Held], bool]) -> list[Held]:
        """Take those attempts out of the queues that fit; they stay held."""
        return [held for waiting in self.waiting.values() for held in waiting.withdraw(wanted)]

    def settled(self, attempts: Iterable[AttemptKey]) -> None:
        """The service knows what became of these: they are no longer held."""
        for attempt in attempts:
            self._attempts.pop(attempt, None)
