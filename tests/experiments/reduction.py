"""From what was recorded of each dataset to figures: stages by route, throughput, and how busy the workers were."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

import numpy
from numpy.typing import NDArray

from faas.models import Block
from tests.benchmarks.utilization import Busy, Worked, utilization

if TYPE_CHECKING:
    from tests.experiments.streams import Submitted

STAGES = ("submit to leased", "leased to started", "run", "ended to seen", "submit to seen")


@dataclass(frozen=True)
class Run:
    """One dataset's way; times in seconds since the epoch, of one clock.

    Args:
        source: the light source.
        function: what was done.
        site: where.
        job_id: in which batch job.
        sent_at: the client submitted it.
        leased_at: its site took it.
        started_at: a worker began.
        ended_at: the worker had done it.
        seen_at: the client had the result.
        needed_s: what the work itself took, without what sleep made up.
        cpu_s: of a processor.
        complaint: what is wrong with the answer; empty if it is the known one.
    """

    source: str
    function: str
    site: str
    job_id: str
    sent_at: float
    leased_at: float
    started_at: float
    ended_at: float
    seen_at: float
    needed_s: float = 0.0
    cpu_s: float = 0.0
    complaint: str = ""

    @classmethod
    def of(cls, submitted: Submitted, record: Mapping[str, Any]) -> Run:
        """Join what the client saw with what the service recorded of a task that has succeeded.

        Raises:
            TaskFailed: it has not.
        """
        value = submitted.future.result()
        attempt = record["attempts"][-1]
        return cls(
            source=submitted.source,
            function=submitted.dataset.function,
            site=record["endpoint"],
            job_id=attempt["job_id"],
            sent_at=submitted.sent_at,
            leased_at=attempt["leased_at"],
            started_at=attempt["started_at"],
            ended_at=attempt["started_at"] + attempt["run_s"],
            seen_at=submitted.seen_at,
            needed_s=value["needed_s"],
            cpu_s=value["cpu_s"],
            complaint=submitted.dataset.complaint(value),
        )

    @property
    def stages_s(self) -> tuple[float, ...]:
        """How long each of ``STAGES`` took."""
        return (
            self.leased_at - self.sent_at,
            self.started_at - self.leased_at,
            self.ended_at - self.started_at,
            self.seen_at - self.ended_at,
            self.seen_at - self.sent_at,
        )


def stages_by_route(runs: Iterable[Run], function: str = "") -> dict[str, dict[str, Any]]:
    """Stage latencies from source to site.

    Args:
        runs: of one phase.
        function: only those; all if not given.

    Returns:
        For each ``source to site``: ``count``, and for each stage ``median`` and ``p95`` in seconds.
    """
    routes: dict[str, list[Run]] = {}
    for run in runs:
        if not function or run.function == function:
            routes.setdefault(f"{run.source} to {run.site}", []).append(run)
    return {
        route: {
            "count": len(found),
            **{
                stage: {"median": median(times), "p95": _p95(times)}
                for stage, times in zip(STAGES, zip(*(run.stages_s for run in found), strict=True), strict=True)
            },
        }
        for route, found in sorted(routes.items())
    }


def _p95(values: Sequence[float]) -> float:
    return quantiles(values, n=20, method="inclusive")[-1] if len(values) > 1 else values[0]


def turnaround(runs: Sequence[Run]) -> dict[str, float]:
    """From submission to the client's having the result: ``median`` and ``p95``, in seconds."""
    times = [run.seen_at - run.sent_at for run in runs]
    return {"median": median(times), "p95": _p95(times)}


def running(runs: Sequence[Run], moments: NDArray[numpy.float64]) -> NDArray[numpy.float64]:
    """How many datasets run at each moment.

    Example:
        >>> one = Run("APS", "xpcs", "theta", "1", 0, 0, 1.0, 3.0, 3.0)
        >>> running([one], numpy.array([0.0, 1.0, 2.0, 3.0])).tolist()
        [0.0, 1.0, 1.0, 0.0]
    """
    starts = numpy.sort([run.started_at for run in runs])
    ends = numpy.sort([run.ended_at for run in runs])
    before = numpy.searchsorted(starts, moments, side="right") - numpy.searchsorted(ends, moments, side="right")
    return before.astype(float)


def throughput_per_s(runs: Iterable[Run], begin: float, end: float) -> float:
    """Datasets done in a while, by its length; those that ran in part of it count for that part.

    Args:
        runs: in any order.
        begin: of the while.
        end: of the while.

    Example:
        >>> one = Run("APS", "xpcs", "theta", "1", 0, 0, 1.0, 3.0, 3.0)
        >>> throughput_per_s([one, one], begin=2.0, end=4.0)
        0.5
    """
    done = sum(
        max(0.0, min(run.ended_at, end) - max(run.started_at, begin)) / max(run.ended_at - run.started_at, 1e-9)
        for run in runs
    )
    return done / (end - begin) if end > begin else 0.0


def busy_share(runs: Iterable[Run], blocks: Iterable[Block], workers: int, until: float) -> float:
    """Busy worker-seconds by those of the workers that were there, while there was work.

    Args:
        runs: at one site.
        blocks: of that site.
        workers: in each block.
        until: where the look ends.
    """
    tasks = [Busy(run.job_id, run.started_at, run.ended_at) for run in runs]
    worked = [
        Worked(block.job_id, block.ready_at, block.ended_at, workers) for block in blocks if block.ready_at is not None
    ]
    return utilization(tasks, worked, until)


def queue_waits_s(blocks: Iterable[Block]) -> tuple[list[float], list[float]]:
    """How long blocks waited in the scheduler's queue, and then for their workers; those that got that far."""
    ready = [(block.requested_at, block.started_at, block.ready_at) for block in blocks]
    pairs = [
        (started - requested, came - started)
        for requested, started, came in ready
        if started is not None and came is not None
    ]
    return [wait for wait, _ in pairs], [startup for _, startup in pairs]


def node_seconds(blocks: Iterable[Block], until: float) -> float:
    """What allocations cost: from the start of each to its end."""
    return sum(
        block.nodes * (min(block.ended_at or until, until) - block.started_at)
        for block in blocks
        if block.started_at is not None
    )
