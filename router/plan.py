"""When a backlog would be finished, by priority, if every worker that can help in time did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf, isfinite

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LaneKey = tuple[str, str]
"""An endpoint's id and a shape of its workers."""
_MAX_GROUPS = 16
_PRECISION_S = 0.05
_RELATIVE_PRECISION = 2e-3
_QUICKEST = 8
"""So many lanes are looked at for where a class runs best, of those that run its group best."""


@dataclass(frozen=True)
class PlannedClass:
    """A class of tasks as a plan sees it."""

    class_id: int
    function_id: str
    tasks: int
    priority: int = 0
    lanes: frozenset[LaneKey] = frozenset()
    """Where it may run. Classes that may run at the same places should share one set: they are planned together."""
    size_bytes: float | None = None
    """Mean size of a task's inputs, where known."""
    per_s: float = 0.0
    """Tasks that come in each second, where a stream was noticed."""


@dataclass(frozen=True)
class Workers:
    """Workers that are there or may come, as parallel arrays; a weight below one is a worker that may come."""

    lane: NDArray[np.intp]
    free_at: Floats
    """When each takes its next task."""
    ends_at: Floats
    """When it has to have finished its last."""
    weight: Floats

    @classmethod
    def none(cls) -> Workers:
        """No workers at all."""
        nothing = np.empty(0)
        return cls(np.empty(0, dtype=np.intp), nothing, nothing, nothing)

    @classmethod
    def joined(cls, parts: Sequence[Workers]) -> Workers:
        """Those of all parts, in order."""
        if not parts:
            return cls.none()
        return cls(
            *(
                np.concatenate([getattr(part, name) for part in parts])
                for name in ("lane", "free_at", "ends_at", "weight")
            )
        )


@dataclass
class Group:
    """Classes of one priority that may run at the same lanes, and when the last of their tasks ends."""

    rows: list[int]
    tasks: int
    finish_at: float = inf
    shares: Floats = field(default_factory=lambda: np.empty(0))
    """Tasks that each of the workers is to run, weighted."""
    service_s: Floats = field(default_factory=lambda: np.empty(0))
    """Mean service time of its tasks by lane."""


def solve(
    now: float, classes: Sequence[PlannedClass], lanes: Sequence[LaneKey], service_s: Floats, workers: Workers
) -> list[Group]:
    """Finish each group of classes as early as can be, those of higher priority first.

    For identical tasks on workers of different speed, each free from some time on, the earliest finish is the least
    ``T`` by which the workers together can complete enough whole tasks: ``sum(floor((T - free) / service)) >= tasks``
    (scheduling on uniform machines with ready times; Lenstra, Shmoys and Tardos 1990 use the same decision procedure).
    A worker too slow to complete one by ``T`` has no part in it, and is better left idle.

    Args:
        now: on the workers' clock.
        classes: what waits.
        lanes: the columns of ``service_s``.
        service_s: seconds a task of each class keeps a worker of each lane; NaN where not known.
        workers: who could do it.

    Returns:
        The groups, in the order in which they were served; ``finish_at`` is infinite for one that never ends.
    """
    free_at = np.maximum(workers.free_at, now)
    column = {lane: index for index, lane in enumerate(lanes)}
    groups = _groups(classes)
    for group in groups:
        _solve_one(group, now, classes, column, service_s, workers, free_at)
    return groups


def _groups(classes: Sequence[PlannedClass]) -> list[Group]:
    """By priority and places; the most choosy first, for the others can go elsewhere."""
    found: dict[tuple[int, frozenset[LaneKey]], Group] = {}
    for row, one in enumerate(classes):
        group = found.get((one.priority, one.lanes))
        if group is None:
            group = found[one.priority, one.lanes] = Group([], 0)
        group.rows.append(row)
        group.tasks += one.tasks
    ordered = sorted(found, key=lambda key: (-key[0], len(key[1])))
    groups = [found[key] for key in ordered]
    if len(groups) > _MAX_GROUPS:
        # What comes last is planned in one go: rough, and of the least consequence.
        rest = Group([row for group in groups[_MAX_GROUPS - 1 :] for row in group.rows], 0)
        rest.tasks = sum(classes[row].tasks for row in rest.rows)
        groups = [*groups[: _MAX_GROUPS - 1], rest]
    return groups


def _solve_one(
    group: Group,
    now: float,
    classes: Sequence[PlannedClass],
    column: dict[LaneKey, int],
    service_s: Floats,
    workers: Workers,
    free_at: Floats,
) -> None:
    """Plan one group, and take the time it needs from ``free_at``."""
    counts = np.array([float(classes[row].tasks) for row in group.rows])
    table = service_s if len(group.rows) == len(service_s) else service_s[group.rows]
    known = ~np.isnan(table[:, 0])  # a function that ran anywhere has a prediction everywhere
    group.shares = np.zeros(len(free_at))
    group.service_s = np.full(service_s.shape[1], np.nan)
    if not known.any() or not len(free_at):
        return
    table = table if known.all() else table[known]
    weights = np.maximum(counts[known], 1e-9)
    group.service_s = np.maximum(weights @ table / weights.sum(), 1e-6)
    allowed = np.zeros(len(column), dtype=bool)
    for row in group.rows:
        for key in classes[row].lanes:
            if (index := column.get(key)) is not None:
                allowed[index] = True
        if row == group.rows[0] and all(classes[each].lanes is classes[row].lanes for each in group.rows):
            break
    able = np.flatnonzero(allowed[workers.lane])
    if not len(able):
        return
    lane = workers.lane[able]
    free, ends, weight, each_s = free_at[able], workers.ends_at[able], workers.weight[able], group.service_s[lane]

    def completed(at: float) -> Floats:
        return np.maximum(np.floor((np.minimum(at, ends) - free) / each_s + 1e-9), 0.0) * weight

    tasks = max(1, group.tasks)
    low = now
    span = float(each_s.min())
    high = now + span
    while completed(high).sum() < tasks:
        low, span = high, span * 2
        high = now + span
        if span > 1e9:
            return
    while high - low > max(_PRECISION_S, _RELATIVE_PRECISION * (high - now)):
        middle = (low + high) / 2
        if completed(middle).sum() >= tasks:
            high = middle
        else:
            low = middle
    shares = completed(high)
    shares *= min(1.0, tasks / shares.sum())
    group.finish_at = high
    group.shares[able] = shares
    free_at[able] += np.where(weight > 0, shares / np.maximum(weight, 1e-12), 0.0) * each_s


@dataclass(frozen=True)
class Plan:
    """A solved plan, as policies ask it."""

    now: float
    classes: dict[int, int]
    """Class id to row."""
    lanes: dict[LaneKey, int]
    service_s: Floats
    """Rows by lanes."""
    finish_at: Floats
    """By row: when the last task of its group ends."""
    least_s: Floats
    """By row: its service time at the best of the lanes that take part."""
    by_lane: Floats
    """The same, lanes by rows: what one lane asks lies together."""

    @classmethod
    def of(
        cls,
        now: float,
        classes: Sequence[PlannedClass],
        lanes: Sequence[LaneKey],
        service_s: Floats,
        workers: Workers,
        by_lane: Floats | None = None,
    ) -> Plan:
        """Solve for what waits and who is there; ``by_lane`` is ``service_s`` the other way round, if there is one."""
        finish_at = np.full(len(classes), inf)
        least_s = np.full(len(classes), 0.0)
        for group in solve(now, classes, lanes, service_s, workers):
            if not isfinite(group.finish_at):
                continue
            taking_part = np.unique(workers.lane[group.shares > 0])
            quickest = taking_part[np.argsort(group.service_s[taking_part])[:_QUICKEST]]
            rows = np.array(group.rows)
            rows = rows[~np.isnan(service_s[rows, 0])]
            finish_at[rows] = group.finish_at
            least_s[rows] = service_s[np.ix_(rows, quickest)].min(axis=1)
        return cls(
            now,
            {one.class_id: row for row, one in enumerate(classes)},
            {lane: index for index, lane in enumerate(lanes)},
            service_s,
            finish_at,
            least_s,
            np.ascontiguousarray(service_s.T) if by_lane is None else by_lane,
        )

    def latest_starts(
        self, lane: int, rows: NDArray[np.intp], tolerance_s: float, tolerance: float
    ) -> NDArray[np.float64]:
        """Until when a task of each row, started at this lane, still ends with its group, or nearly.

        What never ran has no end foreseen: it may be started at any time.
        """
        latest: Floats = self.finish_at[rows] + tolerance_s - self.by_lane[lane, rows] * (1.0 - tolerance)
        latest[np.isnan(latest)] = inf
        return latest
