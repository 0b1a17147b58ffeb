"""Quantities over time: backlog, busy and registered workers as step functions, throughput and utilization in bins."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from faas.analytics.records import History

Span = tuple[float, float, float]
"""From when to when, and how much."""


@dataclass(frozen=True)
class Steps:
    """A quantity that is 0 at first and takes ``values[i]`` from ``times[i]`` on.

    Example:
        >>> steps = Steps.of([(0.0, 4.0, 1.0), (1.0, 2.0, 1.0)])
        >>> steps.times, steps.values
        ([0.0, 1.0, 2.0, 4.0], [1.0, 2.0, 1.0, 0.0])
        >>> steps.integral()
        5.0
    """

    times: list[float]
    values: list[float]

    @classmethod
    def of(cls, spans: Iterable[Span]) -> Steps:
        """The sum of spans; each adds its amount from its beginning to its end."""
        changes: dict[float, float] = {}
        for begin, end, amount in spans:
            changes[begin] = changes.get(begin, 0.0) + amount
            changes[end] = changes.get(end, 0.0) - amount
        times = sorted(time for time, change in changes.items() if change)
        values: list[float] = []
        level = 0.0
        for time in times:
            level += changes[time]
            values.append(level)
        return cls(times, values)

    def at(self, time: float) -> float:
        """The value at a time."""
        index = bisect_right(self.times, time) - 1
        return self.values[index] if index >= 0 else 0.0

    def integral(self, begin: float = -math.inf, end: float = math.inf) -> float:
        """The area below it between two times: of a backlog, task-seconds of waiting."""
        first = max(0, bisect_right(self.times, begin) - 1)
        last = min(bisect_left(self.times, end), len(self.times) - 1)
        return math.fsum(
            self.values[index] * (min(end, self.times[index + 1]) - max(begin, self.times[index]))
            for index in range(first, last)
            if self.times[index + 1] > begin
        )

    def peak(self) -> float:
        """The greatest value."""
        return max(self.values, default=0.0)


def backlog(history: History) -> Steps:
    """How many tasks were in no endpoint's hands, over time.

    Its integral is the sum of all waiting times; retries that wait again count again.
    """
    return Steps.of((begin, end, 1.0) for task in history.tasks for begin, end in task.waits(history.until))


def busy_workers(history: History, endpoint: str | None = None) -> Steps:
    """How many workers ran one of these tasks, over time; of one endpoint, or of all."""
    return Steps.of(_busy(history, endpoint))


def registered_workers(history: History, endpoint: str | None = None) -> Steps:
    """How many workers there were in blocks, over time; of one endpoint, or of all.

    A block counts with the most workers it had, from when its first one registered until its end.
    """
    return Steps.of(_registered(history, endpoint))


def throughput(history: History, bin_s: float | None = None) -> list[dict[str, Any]]:
    """How many tasks ended in each bin of time.

    Args:
        history: the tasks.
        bin_s: the length of a bin in seconds; by default a fiftieth of the whole, rounded up to a second.

    Returns:
        A row for each bin, from the first submission on: ``begin``, ``end``, ``tasks``, ``succeeded``, ``per_s``.
    """
    begin, end = history.begin, history.end
    width = _width(begin, end, bin_s)
    ended: Counter[int] = Counter()
    succeeded: Counter[int] = Counter()
    for task in history.tasks:
        if task.ended_at is not None:
            index = max(0, int((task.ended_at - begin) / width))
            ended[index] += 1
            succeeded[index] += task.state == "succeeded"
    return [
        {
            "begin": begin + index * width,
            "end": begin + (index + 1) * width,
            "tasks": ended[index],
            "succeeded": succeeded[index],
            "per_s": ended[index] / width,
        }
        for index in range(max(ended, default=-1) + 1)
    ]


def utilization(history: History, begin: float | None = None, end: float | None = None) -> list[dict[str, Any]]:
    """How much of their workers' time endpoints used for these tasks.

    An endpoint that runs other people's tasks, too, was busier than its row says, unless an administrator asks for
    everyone's.

    Args:
        history: tasks and blocks.
        begin: only from then on, in seconds since the epoch; by default since the first submission.
        end: only until then; by default until the last task ended.

    Returns:
        A row for each endpoint: ``endpoint``, ``busy_worker_s``, ``worker_s``, ``utilization`` (None without
        workers), ``blocks``.
    """
    first = history.begin if begin is None else begin
    last = history.end if end is None else end
    rows = []
    for endpoint in sorted({*history.endpoints, *(block.endpoint for block in history.blocks)}):
        busy_s = busy_workers(history, endpoint).integral(first, last)
        worker_s = registered_workers(history, endpoint).integral(first, last)
        serving = [block.serving(history.until) for block in history.blocks if block.endpoint == endpoint]
        rows.append(
            {
                "endpoint": endpoint,
                "busy_worker_s": busy_s,
                "worker_s": worker_s,
                "utilization": busy_s / worker_s if worker_s > 0 else None,
                "blocks": sum(span is not None and span[0] < last and span[1] > first for span in serving),
            }
        )
    return rows


def utilization_over_time(history: History, endpoint: str, bin_s: float | None = None) -> list[dict[str, Any]]:
    """One endpoint's utilization in bins of time.

    Args:
        history: tasks and blocks.
        endpoint: its name.
        bin_s: the length of a bin in seconds; by default a fiftieth of the whole, rounded up to a second.

    Returns:
        A row for each bin: ``begin``, ``end``, ``busy_workers``, ``workers`` (means), ``utilization`` (None without
        workers).
    """
    begin, end = history.begin, history.end
    width = _width(begin, end, bin_s)
    busy, registered = busy_workers(history, endpoint), registered_workers(history, endpoint)
    rows = []
    for index in range(math.ceil((end - begin) / width)):
        start, stop = begin + index * width, min(end, begin + (index + 1) * width)
        if stop <= start:
            break
        busy_s, worker_s = busy.integral(start, stop), registered.integral(start, stop)
        rows.append(
            {
                "begin": start,
                "end": stop,
                "busy_workers": busy_s / (stop - start),
                "workers": worker_s / (stop - start),
                "utilization": busy_s / worker_s if worker_s > 0 else None,
            }
        )
    return rows


def _busy(history: History, endpoint: str | None) -> Iterable[Span]:
    for task in history.tasks:
        for attempt in task.attempts:
            if endpoint in (None, attempt.endpoint) and (span := attempt.busy(history.until)):
                yield (*span, 1.0)


def _registered(history: History, endpoint: str | None) -> Iterable[Span]:
    for block in history.blocks:
        if endpoint in (None, block.endpoint) and block.workers and (span := block.serving(history.until)):
            yield (*span, float(block.workers))


def _width(begin: float, end: float, bin_s: float | None) -> float:
    if bin_s is None:
        return max(1.0, math.ceil((end - begin) / 50))
    if not 0 < bin_s < math.inf:
        raise ValueError(f"bin_s is {bin_s}: it must be above 0 seconds.")
    return bin_s
