"""Attempts as rows: applies the decisions of ``outcomes`` to many attempts in one transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import sqlalchemy as sa

from faas.models import AttemptKey, Location, Outcome

from .database import Transaction
from .endings import End, finish
from .outcomes import AttemptFacts, Decision, TaskFacts, decide
from .prepared import Prepared, Row, among
from .schema import attempts, tasks

_OUTPUT_CHARACTERS = 16 * 1024
"""An agent sends the last few kilobytes of a task's output; more is not kept."""

Facts = dict[tuple[int, int], Any]
"""By sequence and number: an attempt's row with what matters of its task."""


class Settled(msgspec.Struct, frozen=True, gc=False):
    """What became of an attempt: reported by its agent, or inferred from the agent's silence."""

    key: AttemptKey
    outcome: str
    kind: str | None = None
    message: str = ""
    location: Location | None = None
    started_at: float | None = None
    report: Outcome | None = None


@dataclass(frozen=True)
class Applied:
    """What came of outcomes."""

    dropped: int = 0
    """How many changed nothing."""
    objects: Mapping[str, int] = field(default_factory=dict)
    """Objects that tasks now name as the place of their results, to how many of them do."""
    ended: Mapping[int, int] = field(default_factory=dict)
    """Tasks that ended by themselves, by sequence, to the number of the attempt that ended them."""


_this_attempt = sa.and_(attempts.c.sequence == sa.bindparam("s"), attempts.c.number == sa.bindparam("n"))

_FACTS = Prepared(
    sa.select(
        attempts.c.sequence,
        attempts.c.number,
        attempts.c.state.label("attempt_state"),
        attempts.c.started_at.label("attempt_started_at"),
        attempts.c.ended_at.label("attempt_ended_at"),
        tasks.c.task_id,
        tasks.c.owner_id,
        tasks.c.group_id,
        tasks.c.state,
        tasks.c.attempts,
        tasks.c.charged,
        tasks.c.losses,
        tasks.c.max_attempts,
        tasks.c.max_losses,
        tasks.c.idempotent,
    )
    .join(tasks, tasks.c.sequence == attempts.c.sequence)
    .where(among(attempts.c.sequence, "sequences"), attempts.c.endpoint_id == sa.bindparam("of_endpoint"))
)
_CLOSE = Prepared(
    sa.update(attempts)
    .where(_this_attempt)
    .values(
        {
            attempts.c.state: sa.bindparam("to_state"),
            attempts.c.started_at: sa.func.coalesce(sa.bindparam("began", type_=sa.Double), attempts.c.started_at),
            attempts.c.ended_at: sa.bindparam("at"),
            attempts.c.run_s: sa.bindparam("seconds"),
            attempts.c.kind: sa.bindparam("what"),
            attempts.c.message: sa.bindparam("text"),
            attempts.c.host: sa.bindparam("on_host"),
            attempts.c.worker: sa.bindparam("by_worker"),
            attempts.c.python_version: sa.bindparam("python"),
            attempts.c.stdout: sa.bindparam("out"),
            attempts.c.stderr: sa.bindparam("err"),
            attempts.c.node: sa.bindparam("on_node"),
            attempts.c.job_id: sa.bindparam("in_job"),
            attempts.c.block_id: sa.bindparam("in_block"),
            attempts.c.environment: sa.bindparam("within"),
            attempts.c.peak_memory_bytes: sa.bindparam("peak"),
        }
    )
)
_START = Prepared(sa.update(attempts).where(_this_attempt).values(state="started", started_at=sa.bindparam("began")))
_RUN = Prepared(
    sa.update(tasks)
    .where(tasks.c.sequence == sa.bindparam("s"))
    .values(state="running", started_at=sa.bindparam("began"), endpoint_id=sa.bindparam("endpoint"))
)
_REQUEUE = Prepared(
    sa.update(tasks)
    .where(tasks.c.sequence == sa.bindparam("s"))
    .values(state="queued", started_at=sa.null(), charged=sa.bindparam("charges"), losses=sa.bindparam("lost"))
)


def settle(transaction: Transaction, endpoint_id: str, settled: list[Settled], facts: Facts | None = None) -> Applied:
    """Apply outcomes of attempts granted to this endpoint.

    An outcome for an attempt that was never granted to the endpoint changes nothing; of several
    outcomes for one attempt, a success goes first and whatever follows an end changes nothing.

    Args:
        transaction: the transaction.
        endpoint_id: whose attempts they are.
        settled: the outcomes.
        facts: what ``load`` returned for these attempts in this transaction, if it was called already.
    """
    if not settled:
        return Applied()
    if facts is None:
        facts = load(transaction, endpoint_id, [item.key.sequence for item in settled])
    closes: list[Row] = []
    starts: list[Row] = []
    runs: list[Row] = []
    requeues: list[Row] = []
    ends: list[End] = []
    ended: dict[int, int] = {}
    begun: set[tuple[int, int]] = set()
    closed: set[tuple[int, int]] = set()
    dropped = 0
    for item in sorted(settled, key=lambda item: item.outcome != "succeeded"):
        sequence, number = key = (item.key.sequence, item.key.number)
        row = facts.get(key)
        if row is None:
            dropped += 1
            continue
        attempt = _attempt(row, begun=key in begun, closed=key in closed)
        decision = decide(_task(row, ended), attempt, item.outcome, kind=item.kind)
        if decision.attempt is None:
            dropped += 1
            continue
        (begun if decision.attempt == "started" else closed).add(key)
        if decision.attempt == "started":
            starts.append({"s": sequence, "n": number, "began": item.started_at or transaction.now})
        else:
            closes.append(_close(item, decision, transaction.now))
        if decision.task == "running":
            runs.append({"s": sequence, "began": item.started_at or transaction.now, "endpoint": endpoint_id})
        elif decision.task == "queued":
            requeues.append({"s": sequence, "charges": decision.charged, "lost": decision.losses})
        elif decision.task is not None:
            ends.append(_end(row, item, decision, endpoint_id))
            ended[sequence] = number
    for statement, rows in ((_START, starts), (_RUN, runs), (_CLOSE, closes), (_REQUEUE, requeues)):
        statement.run(transaction, rows)
    transaction.changes.work |= bool(requeues)
    finish(transaction, ends)
    return Applied(dropped, Counter(end.location.object_id for end in ends if end.location), ended)


def load(transaction: Transaction, endpoint_id: str, sequences: list[int]) -> Facts:
    """Attempts of this endpoint with their tasks, which are locked in order so that reports cannot deadlock."""
    wanted = sorted(set(sequences))
    if not transaction.is_sqlite:
        lock = sa.select(tasks.c.sequence).where(among(tasks.c.sequence, wanted)).order_by(tasks.c.sequence)
        transaction.execute(lock.with_for_update())
    rows = _FACTS.rows(transaction, sequences=wanted, of_endpoint=endpoint_id)
    return {(row.sequence, row.number): row for row in rows}


def attempts_of(transaction: Transaction, session_id: str) -> list[tuple[AttemptKey, bool]]:
    """The live attempts of a session, and whether each is known to have started."""
    query = (
        sa.select(attempts.c.sequence, attempts.c.number, attempts.c.started_at)
        .where(attempts.c.session_id == session_id, attempts.c.ended_at.is_(None))
        .order_by(attempts.c.sequence)
    )
    return [
        (AttemptKey(row.sequence, row.number), row.started_at is not None) for row in transaction.execute(query).all()
    ]


def _task(row: Any, ended: Mapping[int, int]) -> TaskFacts:
    return TaskFacts(
        state="succeeded" if row.sequence in ended else row.state,
        attempts=row.attempts,
        charged=row.charged,
        losses=row.losses,
        max_attempts=row.max_attempts,
        max_losses=row.max_losses,
        idempotent=bool(row.idempotent),
    )


def _attempt(row: Any, *, begun: bool, closed: bool) -> AttemptFacts:
    """The row as the outcomes before this one in the same report leave it."""
    return AttemptFacts(
        number=row.number,
        live=row.attempt_ended_at is None and not closed,
        started=row.attempt_started_at is not None or begun,
        recalled=row.attempt_state == "recalled",
    )


def _close(item: Settled, decision: Decision, now: float) -> Row:
    report = item.report
    return {
        "s": item.key.sequence,
        "n": item.key.number,
        "to_state": decision.attempt,
        "began": item.started_at,
        "at": now,
        "seconds": report.run_s if report else None,
        "what": item.kind,
        "text": plain(item.message) or None,
        "on_host": plain(report.host) if report else None,
        "by_worker": plain(report.worker) if report else None,
        "python": plain(report.python_version) if report else None,
        "out": plain(report.stdout[-_OUTPUT_CHARACTERS:]) or None if report else None,
        "err": plain(report.stderr[-_OUTPUT_CHARACTERS:]) or None if report else None,
        "on_node": plain(report.node) if report else None,
        "in_job": plain(report.job_id) or None if report else None,
        "in_block": plain(report.block_id) or None if report else None,
        "within": plain(report.environment) or None if report else None,
        "peak": report.peak_memory_bytes if report else None,
    }


def plain(text: str) -> str:
    """Text that any database holds: what people's programs print may have NUL characters, which PostgreSQL refuses."""
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}")


def _end(row: Any, item: Settled, decision: Decision, endpoint_id: str) -> End:
    succeeded = decision.task == "succeeded"
    only_attempt = item.key.number == row.attempts and row.attempt_ended_at is None
    return End(
        sequence=item.key.sequence,
        group_id=row.group_id,
        state=str(decision.task),
        message="" if succeeded else decision.message or plain(item.message),
        location=item.location,
        endpoint_id=endpoint_id,
        started_at=item.started_at,
        charged=row.charged if succeeded else decision.charged,
        losses=row.losses if succeeded else decision.losses,
        recall=not only_attempt,
    )
