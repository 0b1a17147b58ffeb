"""How much of the time that workers were there they spent on tasks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Busy(NamedTuple):
    """One task on one worker."""

    job_id: str
    started_at: float
    ended_at: float


class Worked(NamedTuple):
    """A block, from the registration of its workers on."""

    job_id: str
    ready_at: float
    ended_at: float | None
    workers: int


def utilization(tasks: Sequence[Busy], blocks: Iterable[Worked], until: float) -> float:
    """Busy worker-seconds by registered worker-seconds.

    The agent looks for workers a few times a second: where a task was quicker, its start counts as the registration.

    Args:
        tasks: that ran.
        blocks: that ran them.
        until: where the look ends, the moment the backlog was empty.

    Returns:
        1 if every worker was busy all the time; 0 where there was none.

    Example:
        >>> utilization([Busy("1", 1, 3), Busy("1", 3, 9)], [Worked("1", 0, None, 1)], until=5)
        0.8
    """
    first: dict[str, float] = {}
    for task in tasks:
        first[task.job_id] = min(task.started_at, first.get(task.job_id, task.started_at))
    registered_s = sum(
        block.workers
        * max(0.0, min(block.ended_at or until, until) - min(block.ready_at, first.get(block.job_id, until)))
        for block in blocks
    )
    busy_s = sum(max(0.0, min(task.ended_at, until) - task.started_at) for task in tasks)
    return busy_s / registered_s if registered_s else 0.0
