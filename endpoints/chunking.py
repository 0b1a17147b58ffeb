"""How many waiting tasks go to a worker together."""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil
from typing import NamedTuple

OVERHEAD_S = 0.0001
"""What running a task costs besides the function itself."""
FORESEEN = 10
"""Run times above so many look-aheads are left alone: the way to the service is nothing beside them."""
CHUNK_BYTES = 4 * 1024 * 1024
"""Arguments in one chunk, at most (a single larger task still goes)."""


class Candidate(NamedTuple):
    """What matters of a task for putting it into a chunk."""

    run_s: float | None
    """Measured run time of its function; None while there is none."""
    alone: bool = False
    """It must not share a chunk: it was lost before, or must not run twice."""
    size_bytes: int = 0


def share(waiting: int, idle_workers: int, workers: int) -> int:
    """How many tasks a chunk may take so that every worker gets some.

    Args:
        waiting: tasks that wait.
        idle_workers: workers with nothing to do; they come first.
        workers: workers alive.

    Returns:
        At least 1.

    Example:
        >>> share(10, idle_workers=4, workers=8), share(10, idle_workers=0, workers=2)
        (3, 5)
    """
    return max(1, ceil(waiting / max(1, idle_workers or workers)))


def chunk_length(candidates: Iterable[Candidate], *, at_most: int, target_s: float) -> int:
    """How many tasks from the front of a queue make the next chunk.

    The queue holds tasks of one identity and one environment, first come first. Tasks are taken together
    while their measured run times add up to about ``target_s``. One that is long, of unknown length or
    must be alone goes by itself, and is not overtaken: the chunk ends before it.

    Args:
        candidates: the queue from its front; read only as far as needed.
        at_most: the most tasks to take.
        target_s: the run time to fill.

    Returns:
        The number of tasks; 0 for an empty queue only.

    Example:
        >>> chunk_length([Candidate(0.02)] * 9, at_most=64, target_s=0.05)
        2
    """
    taken, total_s, total_bytes = 0, 0.0, 0
    for run_s, alone, size_bytes in candidates:
        if run_s is None or alone or run_s >= target_s:
            return taken or 1
        total_s += run_s + OVERHEAD_S
        total_bytes += size_bytes
        if taken and (total_s > target_s or total_bytes > CHUNK_BYTES):
            return taken
        taken += 1
        if taken >= at_most:
            return taken
    return taken


def likely_free(run_s: float | None, running_s: float, *, within_s: float) -> float:
    """How likely a worker will have ended what it runs within a while.

    One run time is known for a function, whatever its arguments: until a call is nearly that old, its end is as
    likely at any moment. Of one that has run for twice as long, nothing can be told.

    Args:
        run_s: estimated run time of what it runs; None if nothing is known.
        running_s: for how long it has been running.
        within_s: the while.

    Returns:
        Between 0 and 1.

    Example:
        >>> [likely_free(2.0, running_s, within_s=0.5) for running_s in (0.0, 1.0, 1.5, 4.0)]
        [0.25, 0.25, 1.0, 0.0]
    """
    if run_s is None or run_s > FORESEEN * within_s or running_s >= 2 * max(run_s, within_s):
        return 0.0
    return 1.0 if run_s - running_s <= within_s else within_s / run_s


class RunTimes:
    """Measured run times by function, quick to rise and slow to fall: a chunk too long hurts more."""

    def __init__(self) -> None:
        self._run_s: dict[str, float] = {}
        self._own: set[str] = set()

    def get(self, function_id: str) -> float | None:
        """The run time expected, None if nothing is known."""
        return self._run_s.get(function_id)

    def measured(self, function_id: str, run_s: float) -> None:
        """Take in a measurement of this endpoint's own."""
        before = self._run_s.get(function_id)
        if before is None or function_id not in self._own or run_s > before:
            self._run_s[function_id] = run_s
            self._own.add(function_id)
        else:
            self._run_s[function_id] = 0.7 * before + 0.3 * run_s

    def told(self, run_s: dict[str, float]) -> None:
        """Take in what the service measured elsewhere; own measurements win."""
        for function_id, value in run_s.items():
            if function_id not in self._own:
                self._run_s[function_id] = value
