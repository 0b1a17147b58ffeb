"""What a report on a block changes in what is known of it: pure decisions, no database.

A *run* is one stay of a block's job on its nodes. A job that the scheduler puts back into its
queue (preempted, or its node died) keeps its id and starts again: its first run ends, and
another one begins, so that what each has cost stays counted.

An end is *presumed* where nobody reported it: the block's session is over. Any later report, such
as that of the agent's next session, which finds and cancels the job, replaces a presumed end.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from faas.models import Block

OVER = frozenset({"ended", "failed"})
_WAITING = frozenset({"requested", "queued"})
_SAME_START_S = 10.0
"""A start told again may be told more exactly; one later than this is another start."""


@dataclass(frozen=True)
class Run:
    """One run of a block, as a row of the table."""

    endpoint_id: str
    block_id: str
    run: int
    session_id: str
    """The session that told of it last."""
    shape: str
    job_id: str
    state: str
    nodes: int
    walltime_s: float
    requested_at: float
    started_at: float | None = None
    ready_at: float | None = None
    ended_at: float | None = None
    workers: int = 0
    most_workers: int = 0
    idle_workers: int = 0
    idle_since: float | None = None
    message: str = ""
    presumed: bool = False
    """Its end was not reported."""
    held_until: float | None = None
    """Its session is over: unless its end is reported before, it is taken to have run until then."""

    @property
    def key(self) -> tuple[str, str, int]:
        """What names the row."""
        return self.endpoint_id, self.block_id, self.run


def revise(known: Run | None, told: Block, endpoint_id: str, session_id: str, now: float) -> list[Run]:
    """The rows to write after a report.

    Heartbeats may overtake each other: a reported end is final, and what an older heartbeat says of
    such a block is passed over. What was asked for (shape, nodes, walltime) is fixed by the first
    report, for the agent that cancels a dead one's job may know no more than the job's name.

    Args:
        known: the block's last run; None for a block not heard of before.
        told: the report.
        endpoint_id: whose block it is.
        session_id: the session that reports.
        now: the time, for what the report leaves out.

    Returns:
        Rows that are new or have changed; none if the report says nothing new.
    """
    if known is None:
        first = Run(
            endpoint_id=endpoint_id,
            block_id=told.block_id,
            run=1,
            session_id=session_id,
            shape=told.shape,
            job_id=told.job_id,
            state=told.state,
            nodes=told.nodes,
            walltime_s=told.walltime_s,
            requested_at=told.requested_at,
        )
        return [_brought_up_to_date(first, told, session_id, now)]
    over = told.state in OVER
    if known.ended_at is not None and not known.presumed and not over:
        return []
    if not over and known.started_at is not None and (stopped_at := _stopped_at(known, told, now)) is not None:
        earlier = replace(
            known,
            state="ended",
            ended_at=max(stopped_at, known.started_at),
            message="The scheduler put the job back into its queue.",
            workers=0,
            idle_workers=0,
            idle_since=None,
            presumed=False,
            held_until=None,
        )
        again = replace(
            earlier,
            run=known.run + 1,
            requested_at=earlier.ended_at or now,
            started_at=None,
            ready_at=None,
            ended_at=None,
            most_workers=0,
        )
        return [earlier, _brought_up_to_date(again, told, session_id, now)]
    revised = _brought_up_to_date(known, told, session_id, now)
    return [revised] if revised != known else []


def _stopped_at(known: Run, told: Block, now: float) -> float | None:
    """When the known run ended, if the block waits or runs again; None if it is still the same run."""
    if told.started_at is None:
        return now if told.state in _WAITING else None
    assert known.started_at is not None
    # Of a second run the row says when it was counted to begin, which may be later than the scheduler says.
    again = told.started_at - known.started_at > _SAME_START_S
    return min(now, told.started_at) if again else None


def _brought_up_to_date(run: Run, told: Block, session_id: str, now: float) -> Run:
    over = told.state in OVER
    started_at = run.started_at if told.started_at is None else told.started_at
    ready_at = run.ready_at if told.ready_at is None else told.ready_at
    if run.run > 1:  # no second of an earlier run is counted twice
        started_at = None if started_at is None else max(started_at, run.requested_at)
        ready_at = None if ready_at is None else max(ready_at, run.requested_at)
    ended_at = None
    if over:
        ended_at = told.ended_at if told.ended_at is not None else (run.ended_at or now)
        ended_at = max(ended_at, started_at) if started_at is not None else ended_at
    workers = 0 if over else told.workers
    idle = workers > 0 and told.idle_workers >= workers
    return replace(
        run,
        session_id=session_id,
        job_id=told.job_id or run.job_id,
        state=told.state,
        started_at=started_at,
        ready_at=ready_at,
        ended_at=ended_at,
        workers=workers,
        most_workers=max(run.most_workers, told.workers),
        idle_workers=0 if over else told.idle_workers,
        idle_since=(run.idle_since or now) if idle else None,
        message=told.message,
        presumed=False,
        held_until=None,
    )
