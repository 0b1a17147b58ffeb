"""The pilot controller's judgement: from what waits and what there is, which blocks to ask for and which to give back.

Pure: no clock, no scheduler. `endpoints.steering` gathers what it needs and carries out what it says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil, floor, inf
from typing import Literal

from faas.models import BlockState

CALM_S = 3.0
"""Queued blocks are cancelled when fewer were wanted for this long: a backlog may only be changing hands."""
_RETRY_S = 1.0
_WORTH_REPLACING = 0.5
"""An idle block that gets none of what waits is replaced if a new one has at least twice its time left."""

Action = Literal["request", "cancel", "drain", "give_up"]


@dataclass(frozen=True)
class Backlog:
    """What waits for workers of one shape, here and at the service, and is not running yet."""

    tasks: int = 0
    seconds: float | None = 0.0
    """Estimated worker-seconds; None while a run time is unknown."""
    busy_workers: int = 0
    longest_s: float = 0.0
    """Estimated run time of what is held and is to run next."""
    at_least_s: float = 0.0
    """Tasks of unknown run time have been seen to run for at least this long."""

    @property
    def known_s(self) -> float | None:
        """Worker-seconds as far as they can be reckoned with."""
        if self.seconds is None and self.at_least_s > 0:
            return self.tasks * self.at_least_s
        return self.seconds


@dataclass(frozen=True)
class PilotBlock:
    """A block that lives."""

    block_id: str
    state: BlockState
    ready: bool = False
    """Whether its workers have registered."""
    busy: int = 0
    """Chunks it runs."""
    idle_s: float = 0.0
    """For how long it has had nothing to do, since it was ready."""
    running_s: float = 0.0
    """For how long the scheduler has called it running."""
    fits_s: float = inf
    """The longest run time that still fits before its end."""

    @property
    def accepting(self) -> bool:
        """Whether it takes new work now, or will when it runs."""
        return self.state in ("requested", "queued", "running")


@dataclass(frozen=True)
class Limits:
    """What the owner allows, for the blocks of one shape."""

    min_blocks: int = 0
    max_blocks: int = 1
    workers_per_block: int = 1
    node_hours_per_block: float = 0.0
    fresh_s: float = inf
    """The longest run time that fits a new block."""
    max_idletime_s: float = 30.0
    horizon_s: float = 30.0
    startup_s: float = 300.0
    max_failed_blocks: int = 3
    probe_s: float = 5.0
    probe_max_s: float = 300.0


@dataclass(frozen=True)
class Failures:
    """Blocks that never got to work, since the last one that did."""

    in_a_row: int = 0
    since_s: float = inf
    """Since the last of them."""
    words: str = ""
    """What the scheduler said of it."""


@dataclass(frozen=True)
class Budget:
    """Node-hours left after what was spent and what live blocks have reserved."""

    left: float = inf
    words: str = ""
    """Which limit it is, and how much of it is used."""


@dataclass(frozen=True)
class Decision:
    """One thing to do, and why."""

    action: Action
    why: str
    count: int = 0
    """Blocks to request."""
    block_ids: tuple[str, ...] = ()
    """Blocks to do it to."""


@dataclass(frozen=True)
class Verdict:
    """What to do now; why nothing more is done, if more is wanted; and whether anything can run at all."""

    decisions: tuple[Decision, ...] = ()
    waiting: str = ""
    problem: str = ""
    wanted: int = 0


@dataclass
class _Plan:
    decisions: list[Decision] = field(default_factory=list)
    waiting: str = ""
    problem: str = ""


def blocks_wanted(backlog: Backlog, limits: Limits, present: int = 0) -> int:
    """How many blocks the backlog is worth.

    As many as finish it within about the horizon, where run times are known; never more than have a task for
    each worker. While none is known, one block measures.

    Args:
        backlog: what waits.
        limits: the owner's.
        present: blocks there are; while run times are unknown they stay.

    Returns:
        Between ``min_blocks`` and ``max_blocks``.

    Example:
        >>> limits = Limits(max_blocks=4, workers_per_block=2, horizon_s=30)
        >>> [blocks_wanted(Backlog(tasks, seconds), limits) for tasks, seconds in ((0, 0), (9, None), (100, 200.0))]
        [0, 1, 4]
    """
    needed = 0
    if backlog.tasks > 0:
        seconds = backlog.known_s
        if seconds is None:
            needed = max(1, present)
        else:
            workers = min(backlog.tasks, max(1, ceil(seconds / limits.horizon_s)))
            # Workers busy with tasks as long as these will not be free for them within the horizon.
            share = min(1.0, seconds / backlog.tasks / limits.horizon_s)
            needed = ceil((workers + backlog.busy_workers * share) / limits.workers_per_block)
    return max(limits.min_blocks, min(limits.max_blocks, needed))


def retry_pause_s(failures: Failures, limits: Limits) -> float:
    """How long to leave the scheduler alone after so many failures in a row.

    Example:
        >>> limits = Limits(max_failed_blocks=3, probe_s=5, probe_max_s=60)
        >>> [retry_pause_s(Failures(n), limits) for n in range(9)]
        [0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 60.0, 60.0]
    """
    if not failures.in_a_row:
        return 0.0
    over = failures.in_a_row - limits.max_failed_blocks
    if over < 0:
        return _RETRY_S * 2.0 ** min(failures.in_a_row - 1, 10)
    return float(min(limits.probe_s * 2.0 ** min(over, 30), limits.probe_max_s))


def decide(
    backlog: Backlog,
    blocks: Sequence[PilotBlock],
    limits: Limits,
    *,
    failures: Failures = Failures(),
    budget: Budget = Budget(),
    surplus_s: float = 0.0,
) -> Verdict:
    """What to do about the blocks of one shape.

    Args:
        backlog: what waits for them.
        blocks: those that live, draining ones included.
        limits: the owner's.
        failures: how the last requests went.
        budget: what may still be spent.
        surplus_s: for how long there have been more blocks than wanted.
    """
    plan = _Plan()
    accepting = [block for block in blocks if block.accepting]
    wanted = blocks_wanted(backlog, limits, len(accepting))
    given_up = _give_up(plan, accepting, limits)
    accepting = [block for block in accepting if block.block_id not in given_up]
    if len(accepting) < wanted:
        _request(plan, wanted - len(accepting), backlog, blocks, limits, failures, budget)
    elif len(accepting) > wanted:
        accepting = _cancel_queued(plan, accepting, wanted, surplus_s)
    _drain_idle(plan, accepting, wanted, backlog, limits)
    if failures.in_a_row >= limits.max_failed_blocks and not any(block.ready for block in accepting):
        plan.problem = (
            f"{failures.in_a_row} blocks in a row did not come up. The last one: {failures.words or 'no word of why'}"
        )
    return Verdict(tuple(plan.decisions), plan.waiting, plan.problem, wanted)


def _give_up(plan: _Plan, accepting: Sequence[PilotBlock], limits: Limits) -> set[str]:
    """Blocks that run without workers."""
    mute = tuple(
        block.block_id
        for block in accepting
        if block.state == "running" and not block.ready and block.running_s > limits.startup_s
    )
    if mute:
        why = f"no worker has registered {limits.startup_s:.0f} s after the job started"
        plan.decisions.append(Decision("give_up", why, block_ids=mute))
    return set(mute)


def _request(
    plan: _Plan,
    missing: int,
    backlog: Backlog,
    blocks: Sequence[PilotBlock],
    limits: Limits,
    failures: Failures,
    budget: Budget,
) -> None:
    room = limits.max_blocks - len(blocks)
    if room <= 0:
        plan.waiting = f"{missing} more block(s) wanted, and there are {len(blocks)}, as many as max_blocks allows"
        return
    count = min(missing, room)
    if failures.in_a_row:
        pause_s = retry_pause_s(failures, limits)
        if failures.since_s < pause_s:
            plan.waiting = (
                f"{failures.in_a_row} block(s) in a row did not come up; trying again {pause_s:.0f} s after the last"
            )
            return
        if any(block.accepting and not block.ready for block in blocks):
            plan.waiting = "waiting whether the block under way comes up before asking for more"
            return
        count = 1
    if limits.node_hours_per_block > 0:
        affordable = floor(min(budget.left, 1e9) / limits.node_hours_per_block + 1e-9)
        if affordable < 1:
            plan.waiting = f"no new block: {budget.words}"
            if not any(block.accepting for block in blocks):
                plan.problem = f"No new block may be started: {budget.words}"
            return
        count = min(count, affordable)
    plan.decisions.append(Decision("request", _why_more(backlog, limits), count=count))


def _why_more(backlog: Backlog, limits: Limits) -> str:
    if backlog.tasks <= 0:
        return f"min_blocks is {limits.min_blocks}"
    if backlog.known_s is None:
        return f"{backlog.tasks} task(s) wait, of unknown run time: one block measures first"
    return f"{backlog.tasks} task(s) wait, about {backlog.known_s:.1f} worker-seconds of work"


def _cancel_queued(plan: _Plan, accepting: list[PilotBlock], wanted: int, surplus_s: float) -> list[PilotBlock]:
    """Take back the newest of those that have not started; returns the blocks that stay."""
    surplus = len(accepting) - wanted
    queued = [block for block in accepting if block.state == "queued"]
    if surplus_s < CALM_S or not queued:
        return accepting
    doomed = {block.block_id for block in queued[-surplus:]}
    why = f"what waits is worth {wanted} block(s), and there are {len(accepting)}"
    plan.decisions.append(Decision("cancel", why, block_ids=tuple(sorted(doomed))))
    return [block for block in accepting if block.block_id not in doomed]


def _drain_idle(plan: _Plan, accepting: Sequence[PilotBlock], wanted: int, backlog: Backlog, limits: Limits) -> None:
    free = [block for block in accepting if block.state == "running" and block.ready and not block.busy]
    idle = [block for block in free if block.idle_s >= limits.max_idletime_s]
    idle.sort(key=lambda block: -block.idle_s)
    surplus = max(0, len(accepting) - wanted)
    if given_back := tuple(block.block_id for block in idle[:surplus]):
        why = f"without work for {limits.max_idletime_s:.0f} s"
        plan.decisions.append(Decision("drain", why, block_ids=given_back))
    if backlog.tasks <= 0:
        return
    left = [block for block in free if block.block_id not in given_back]
    short = [block for block in left if block.fits_s < backlog.longest_s <= limits.fresh_s]
    if short:
        why = f"too near its end for what waits, about {backlog.longest_s:.0f} s"
        plan.decisions.append(Decision("drain", why, block_ids=tuple(block.block_id for block in short)))
    # The service leases only what fits; what it keeps back may be too long for blocks that stay idle meanwhile.
    useless = tuple(
        block.block_id
        for block in left
        if block not in short and block in idle and block.fits_s < _WORTH_REPLACING * limits.fresh_s
    )
    if useless:
        why = f"without work for {limits.max_idletime_s:.0f} s although tasks wait: too near its end for them"
        plan.decisions.append(Decision("drain", why, block_ids=useless))
