"""Blocks: the batch allocations of endpoints, as their agents report them.

What becomes of the blocks of a session that is over (closed, expired, or fenced and then silent):

- One that never started is presumed ended, at no cost. Its agent cancels it, and if the agent is dead, the next one
  does, which finds it by its name.
- One that had started may be running still, with nobody to say so. It is held: its whole reservation stays counted
  until its walltime has passed, and then it is presumed to have run to its walltime.

Both are only presumed. When a later session of the endpoint reports on such a block, what it reports counts
instead: the time at which it was cancelled, or that it had started after all.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict
from typing import Any

import msgspec
import sqlalchemy as sa

from faas.models import Block

from .attempts import plain
from .block_runs import Run, revise
from .database import AnyRow, Transaction
from .prepared import among
from .schema import blocks

MESSAGE_CHARACTERS = 2_000
_NAME_CHARACTERS = 200
_SHOWN_S = 600.0
"""How long a block that ended is still shown, so that people see why."""

_KEY = ("endpoint_id", "block_id", "run")
_REVISE = (
    sa.update(blocks)
    .where(*(blocks.c[name] == sa.bindparam(f"of_{name}") for name in _KEY))
    .values({column: sa.bindparam(column.name) for column in blocks.c if column.name not in _KEY})
)


def take(transaction: Transaction, endpoint_id: str, session_id: str, told: Collection[Block]) -> None:
    """Take in what a heartbeat says of blocks; writes only what is new.

    A block that a heartbeat does not mention stays as it is: heartbeats may overtake each other.
    """
    if not told:
        return
    known = _last_runs(
        transaction,
        blocks.c.endpoint_id == endpoint_id,
        among(blocks.c.block_id, [plain(one.block_id) for one in told]),
    )
    stored = {run.key for run in known.values()}
    changed: dict[tuple[str, str, int], Run] = {}
    for one in told:
        clean = msgspec.structs.replace(
            one,
            block_id=plain(one.block_id),
            shape=plain(one.shape),
            job_id=plain(one.job_id),
            message=plain(one.message[:MESSAGE_CHARACTERS]),
        )
        place = (endpoint_id, clean.block_id)
        for run in revise(known.get(place), clean, endpoint_id, session_id, transaction.now):
            known[place] = changed[run.key] = run
    new = [asdict(run) for key, run in changed.items() if key not in stored]
    old = [{**asdict(run), **_named(run)} for key, run in changed.items() if key in stored]
    if new:
        transaction.execute(sa.insert(blocks), new)
    if old:
        transaction.execute(_REVISE, old)


def session_over(transaction: Transaction, session_id: str, endpoint_id: str, why: str) -> None:
    """Settle or hold the blocks of a session that is over.

    Args:
        transaction: the transaction.
        session_id: the session.
        endpoint_id: whose it was.
        why: what happened to it, for people who look at the block.
    """
    live = sa.and_(blocks.c.endpoint_id == endpoint_id, blocks.c.session_id == session_id, blocks.c.ended_at.is_(None))
    gone = {"workers": 0, "idle_workers": 0, "idle_since": None}
    transaction.execute(
        sa.update(blocks)
        .where(live, blocks.c.started_at.is_(None))
        .values(state="ended", ended_at=transaction.now, presumed=True, message=f"{why} It had not started.", **gone)
    )
    by_walltime = blocks.c.started_at + blocks.c.walltime_s
    transaction.execute(
        sa.update(blocks)
        .where(live)
        .values(
            held_until=sa.case((by_walltime > transaction.now, by_walltime), else_=transaction.now),
            message=f"{why} It counts as running until its walltime, or until its end is reported.",
            **gone,
        )
    )


def presume_ended(transaction: Transaction) -> None:
    """End the held blocks whose walltime has passed."""
    transaction.execute(
        sa.update(blocks)
        .where(blocks.c.ended_at.is_(None), blocks.c.held_until <= transaction.now)
        .values(state="ended", ended_at=blocks.c.held_until, presumed=True, held_until=None)
    )


def shown(transaction: Transaction, endpoint_ids: Collection[str]) -> dict[str, list[Block]]:
    """Live blocks of these endpoints and those that ended in the last minutes, oldest first."""
    recent = sa.or_(blocks.c.ended_at.is_(None), blocks.c.ended_at > transaction.now - _SHOWN_S)
    found: dict[str, list[Block]] = {}
    runs = _last_runs(transaction, among(blocks.c.endpoint_id, list(endpoint_ids)), recent)
    for run in sorted(runs.values(), key=lambda run: (run.requested_at, run.block_id)):
        found.setdefault(run.endpoint_id, []).append(_block(run))
    return found


def _last_runs(transaction: Transaction, *wanted: sa.ColumnElement[bool]) -> dict[tuple[str, str], Run]:
    rows = transaction.execute(sa.select(blocks).where(*wanted).order_by(blocks.c.run)).all()
    return {(row.endpoint_id, row.block_id): run_of(row) for row in rows}


def run_of(row: AnyRow) -> Run:
    """A row of the table as a value."""
    return Run(**row._mapping)


def _named(run: Run) -> dict[str, Any]:
    return {f"of_{name}": value for name, value in zip(_KEY, run.key, strict=True)}


def _storable(block: Block) -> Block:
    """The report with texts that any database holds."""
    return msgspec.structs.replace(
        block,
        block_id=plain(block.block_id),
        shape=plain(block.shape[:_NAME_CHARACTERS]),
        job_id=plain(block.job_id[:_NAME_CHARACTERS]),
        message=plain(block.message[:MESSAGE_CHARACTERS]),
    )


def _block(run: Run) -> Block:
    return Block(
        block_id=run.block_id,
        state=run.state,  # type: ignore[arg-type]
        shape=run.shape,
        job_id=run.job_id,
        nodes=run.nodes,
        workers=run.workers,
        idle_workers=run.idle_workers,
        walltime_s=run.walltime_s,
        requested_at=run.requested_at,
        started_at=run.started_at,
        ready_at=run.ready_at,
        ended_at=run.ended_at,
        message=run.message,
        idle_since=run.idle_since,
    )
