"""Attempts as rows: applies the decisions of ``outcomes`` to many attempts in one transaction."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from faas.models import AttemptKey, Location, Outcome

from .database import AnyRow, Transaction
from .endings import End, finish
from .outcomes import AttemptFacts, Decision, TaskFacts, decide
from .schema import attempts, tasks

_SLICE = 1_000


@dataclass(frozen=True)
class Settled:
    """What became of an attempt: reported by its agent, or inferred from the agent's silence."""

    key: AttemptKey
    outcome: str
    kind: str | None = None
    message: str = ""
    location: Location | None = None
    started_at: float | None = None
    report: Outcome | None = None


_CLOSE = (
    sa.update(attempts)
    .where(attempts.c.sequence == sa.bindparam("s"), attempts.c.number == sa.bindparam("n"))
    .values(
        {
            attempts.c.state: sa.bindparam("to_state"),
            attempts.c.started_at: sa.func.coalesce(sa.bindparam("began"), attempts.c.started_at),
            attempts.c.ended_at: sa.bindparam("at"),
            attempts.c.run_s: sa.bindparam("seconds"),
            attempts.c.kind: sa.bindparam("what"),
            attempts.c.message: sa.bindparam("text"),
            attempts.c.host: sa.bindparam("on_host"),
            attempts.c.worker: sa.bindparam("by_worker"),
            attempts.c.python_version: sa.bindparam("python"),
            attempts.c.stdout: sa.bindparam("out"),
            attempts.c.stderr: sa.bindparam("err"),
        }
    )
)
_START = (
    sa.update(attempts)
    .where(attempts.c.sequence == sa.bindparam("s"), attempts.c.number == sa.bindparam("n"))
    .values(state="started", started_at=sa.bindparam("began"))
)
_RUN = (
    sa.update(tasks)
    .where(tasks.c.sequence == sa.bindparam("s"))
    .values(state="running", started_at=sa.bindparam("began"), endpoint_id=sa.bindparam("endpoint"))
)
_REQUEUE = (
    sa.update(tasks)
    .where(tasks.c.sequence == sa.bindparam("s"))
    .values(state="queued", started_at=None, charged=sa.bindparam("charges"), losses=sa.bindparam("lost"))
)


def settle(transaction: Transaction, endpoint_id: str, settled: list[Settled]) -> int:
    """Apply outcomes of attempts granted to this endpoint; returns how many changed nothing.

    An outcome for an attempt that was never granted to the endpoint changes nothing.
    """
    if not settled:
        return 0
    facts = _facts(transaction, endpoint_id, [item.key.sequence for item in settled])
    closes, starts, runs, requeues, ends = [], [], [], [], []
    ended: set[int] = set()
    dropped = 0
    for item in sorted(settled, key=lambda item: item.outcome != "succeeded"):
        key = (item.key.sequence, item.key.number)
        row = facts.get(key)
        if row is None:
            dropped += 1
            continue
        decision = decide(_task(row, ended), _attempt(row), item.outcome, kind=item.kind)
        if decision.attempt is None:
            dropped += 1
            continue
        if decision.attempt == "started":
            began = item.started_at or transaction.now
            starts.append({"s": row.sequence, "n": row.number, "began": began})
        else:
            closes.append(_close(row, item, decision, transaction.now))
        if decision.task == "running":
            runs.append({"s": row.sequence, "began": item.started_at or transaction.now, "endpoint": endpoint_id})
        elif decision.task == "queued":
            requeues.append({"s": row.sequence, "charges": decision.charged, "lost": decision.losses})
        elif decision.task is not None:
            ends.append(_end(row, item, decision, endpoint_id))
            ended.add(row.sequence)
    for statement, rows in ((_START, starts), (_RUN, runs), (_CLOSE, closes), (_REQUEUE, requeues)):
        if rows:
            transaction.execute(statement, rows)
    transaction.changes.work |= bool(requeues)
    finish(transaction, ends)
    return dropped


def attempts_of(transaction: Transaction, session_id: str) -> list[tuple[AttemptKey, bool]]:
    """The live attempts of a session, and whether each is known to have started."""
    query = (
        sa.select(attempts.c.sequence, attempts.c.number, attempts.c.started_at)
        .where(attempts.c.session_id == session_id, attempts.c.ended_at.is_(None))
        .order_by(attempts.c.sequence)
    )
    return [(AttemptKey(row.sequence, row.number), row.started_at is not None) for row in transaction.execute(query)]


def _facts(transaction: Transaction, endpoint_id: str, numbers: list[int]) -> dict[tuple[int, int], AnyRow]:
    """Attempt and task rows, the tasks locked in order of sequence so that reports cannot deadlock."""
    found = {}
    wanted = sorted(set(numbers))
    for start in range(0, len(wanted), _SLICE):
        part = wanted[start : start + _SLICE]
        if not transaction.is_sqlite:
            lock = sa.select(tasks.c.sequence).where(tasks.c.sequence.in_(part)).order_by(tasks.c.sequence)
            transaction.execute(lock.with_for_update())
        query = (
            sa.select(
                attempts.c.sequence,
                attempts.c.number,
                attempts.c.state.label("attempt_state"),
                attempts.c.started_at.label("attempt_started_at"),
                attempts.c.ended_at.label("attempt_ended_at"),
                tasks.c.state,
                tasks.c.attempts,
                tasks.c.charged,
                tasks.c.losses,
                tasks.c.max_attempts,
                tasks.c.max_losses,
                tasks.c.idempotent,
            )
            .join(tasks, tasks.c.sequence == attempts.c.sequence)
            .where(attempts.c.sequence.in_(part), attempts.c.endpoint_id == endpoint_id)
        )
        found.update({(row.sequence, row.number): row for row in transaction.execute(query)})
    return found


def _task(row: AnyRow, ended: set[int]) -> TaskFacts:
    return TaskFacts(
        state="succeeded" if row.sequence in ended else row.state,
        attempts=row.attempts,
        charged=row.charged,
        losses=row.losses,
        max_attempts=row.max_attempts,
        max_losses=row.max_losses,
        idempotent=row.idempotent,
    )


def _attempt(row: AnyRow) -> AttemptFacts:
    return AttemptFacts(
        number=row.number,
        live=row.attempt_ended_at is None,
        started=row.attempt_started_at is not None,
        recalled=row.attempt_state == "recalled",
    )


def _close(row: AnyRow, item: Settled, decision: Decision, now: float) -> dict[str, object]:
    report = item.report
    return {
        "s": row.sequence,
        "n": row.number,
        "to_state": decision.attempt,
        "began": item.started_at,
        "at": now,
        "seconds": report.run_s if report else None,
        "what": item.kind,
        "text": item.message or None,
        "on_host": report.host if report else None,
        "by_worker": report.worker if report else None,
        "python": report.python_version if report else None,
        "out": report.stdout or None if report else None,
        "err": report.stderr or None if report else None,
    }


def _end(row: AnyRow, item: Settled, decision: Decision, endpoint_id: str) -> End:
    succeeded = decision.task == "succeeded"
    return End(
        sequence=row.sequence,
        state=str(decision.task),
        message="" if succeeded else decision.message or item.message,
        location=item.location,
        endpoint_id=endpoint_id,
        started_at=item.started_at,
        charged=None if succeeded else decision.charged,
        losses=None if succeeded else decision.losses,
    )
