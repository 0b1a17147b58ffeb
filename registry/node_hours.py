"""The arithmetic of cost: what a run of a block costs, and whose share it is. No database.

A block's node-hours are *reserved* when it is submitted (nodes x walltime) and *settled* at its end
(nodes x the time it ran, idle time included). They are shared out to identities and functions in
proportion to the worker-seconds their attempts ran in the block, so idle time falls to those who
used the block; what no attempt used is nobody's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from .block_runs import Run

Key = tuple[str, str, int]
"""Endpoint, block and number of a run."""


class Use(NamedTuple):
    """Whose use it was, and where. Owner and function are empty for what nobody used."""

    endpoint_id: str
    owner_id: str = ""
    function_id: str = ""


class Worked(NamedTuple):
    """Attempts of one use that began at about the same time."""

    use: Use
    block_id: str
    """Empty where the attempts do not say in which block they ran."""
    begin: float
    end: float
    seconds: float
    """Worker-seconds; taken as spread evenly from the first beginning to the last end."""
    attempts: int = 1


@dataclass
class Amount:
    """What was used: node-seconds and worker-seconds."""

    settled_s: float = 0.0
    reserved_s: float = 0.0
    busy_s: float = 0.0
    registered_s: float = 0.0
    attempts: int = 0

    def add(self, other: Amount) -> None:
        """Add what another use was."""
        self.settled_s += other.settled_s
        self.reserved_s += other.reserved_s
        self.busy_s += other.busy_s
        self.registered_s += other.registered_s
        self.attempts += other.attempts

    def scaled(self, part: float) -> Amount:
        """A part of a block's cost."""
        return Amount(self.settled_s * part, self.reserved_s * part, registered_s=self.registered_s * part)

    def __bool__(self) -> bool:
        return self != _NOTHING


_NOTHING = Amount()


def node_seconds(run: Run, since: float, now: float) -> Amount:
    """What a block's run costs from a time on.

    A live run's reservation counts as a whole from ``since`` on, less what it had used before: an
    upper bound of what it can still cost. It is at least what it has used already.

    Args:
        run: the run.
        since: earlier costs do not count.
        now: the time.
    """
    if run.ended_at is None:
        began = now if run.started_at is None else run.started_at
        reserved_s = max(run.walltime_s, now - began) - max(0.0, since - began)
        used_s = 0.0
    else:
        began = run.ended_at if run.started_at is None else run.started_at
        reserved_s = 0.0
        used_s = run.ended_at - max(began, since)
    ready_s = 0.0
    if run.ready_at is not None:
        ready_s = (now if run.ended_at is None else run.ended_at) - max(run.ready_at, since)
    return Amount(
        settled_s=run.nodes * max(0.0, used_s),
        reserved_s=run.nodes * max(0.0, reserved_s),
        registered_s=run.most_workers * max(0.0, ready_s),
    )


def attribute(worked: Iterable[Worked], runs: Iterable[Run], now: float) -> dict[Key, dict[Use, float]]:
    """Worker-seconds in each run of a block, by use.

    What does not say in which block it ran counts in every block that its endpoint had meanwhile:
    only proportions within a block matter.

    Args:
        worked: what ran, in any order.
        runs: of any endpoints' blocks.
        now: the time, when live runs end.
    """
    coming: dict[tuple[str, str], list[Run]] = {}
    for run in sorted(runs, key=lambda run: run.started_at or 0.0, reverse=True):
        if run.started_at is not None:
            for place in ((run.endpoint_id, run.block_id), (run.endpoint_id, "")):
                coming.setdefault(place, []).append(run)
    there: dict[tuple[str, str], list[Run]] = {}
    found: dict[Key, dict[Use, float]] = {}
    for work in sorted(worked, key=lambda work: work.begin):
        place = (work.use.endpoint_id, work.block_id)
        later, candidates = coming.get(place, []), there.get(place, [])
        while later and (later[-1].started_at or 0.0) < work.end:
            candidates.append(later.pop())
        # Whatever begins later needs no run that is over by now.
        there[place] = candidates = [run for run in candidates if _end(run, now) > work.begin]
        for run in candidates:
            shared_s = min(work.end, _end(run, now)) - max(work.begin, run.started_at or 0.0)
            if shared_s > 0:
                seconds = work.seconds * shared_s / (work.end - work.begin)
                uses = found.setdefault(run.key, {})
                uses[work.use] = uses.get(work.use, 0.0) + seconds
    return found


def _end(run: Run, now: float) -> float:
    return now if run.ended_at is None else run.ended_at


def share_out(cost: Amount, worker_s: dict[Use, float], nobody: Use) -> dict[Use, Amount]:
    """Divide what a block cost in proportion to worker-seconds; all to nobody if there are none."""
    whole_s = sum(worker_s.values())
    if whole_s <= 0:
        return {nobody: cost}
    return {use: cost.scaled(seconds / whole_s) for use, seconds in worker_s.items()}
