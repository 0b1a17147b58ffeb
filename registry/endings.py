"""How tasks end: cursors, recalls and dependents, all in the transaction that ends them.

Each end takes the next value of its group's counter, under the lock of the group's row, which is
held until the transaction commits. So whoever reads a group up to some cursor has seen every
smaller one: a later commit can only carry larger values.
"""

from __future__ import annotations

from collections import Counter

import msgspec
import sqlalchemy as sa

from faas.models import TERMINAL_STATES, Location

from .database import Transaction
from .prepared import Prepared, Row, among
from .schema import attempts, dependencies, groups, tasks


class End(msgspec.Struct, frozen=True, gc=False):
    """The end of a task that has not ended (the caller holds its row)."""

    sequence: int
    group_id: str
    state: str
    message: str = ""
    location: Location | None = None
    endpoint_id: str | None = None
    started_at: float | None = None
    charged: int | None = None
    losses: int | None = None
    recall: bool = True
    """Whether other attempts of the task may be live, which must then be stopped."""


_this_task = tasks.c.sequence == sa.bindparam("s")
_END = Prepared(
    sa.update(tasks)
    .where(_this_task)
    .values(
        {
            tasks.c.state: sa.bindparam("to_state"),
            tasks.c.end_cursor: sa.bindparam("cursor"),
            tasks.c.message: sa.bindparam("text"),
            tasks.c.ended_at: sa.bindparam("at"),
            tasks.c.location_object: sa.bindparam("object_id"),
            tasks.c.location_offset: sa.bindparam("offset"),
            tasks.c.location_bytes: sa.bindparam("size_bytes"),
            tasks.c.endpoint_id: sa.func.coalesce(sa.bindparam("endpoint", type_=sa.Text), tasks.c.endpoint_id),
            tasks.c.started_at: sa.func.coalesce(sa.bindparam("began", type_=sa.Double), tasks.c.started_at),
            tasks.c.charged: sa.func.coalesce(sa.bindparam("charges", type_=sa.Integer), tasks.c.charged),
            tasks.c.losses: sa.func.coalesce(sa.bindparam("lost", type_=sa.Integer), tasks.c.losses),
        }
    )
)
_CAUSE_CHARACTERS = 500
"""Of a task's message, in those of the tasks that depend on it."""

_COUNT = Prepared(
    sa.update(groups)
    .where(groups.c.group_id == sa.bindparam("of_group"))
    .values(cursor=groups.c.cursor + sa.bindparam("ended", type_=sa.BigInteger))
    .returning(groups.c.cursor)
)
_CHILDREN = Prepared(sa.select(dependencies.c.child).where(among(dependencies.c.parent, "parents")))
_FREE = Prepared(
    sa.update(tasks)
    .where(_this_task, tasks.c.state == "waiting")
    .values(waiting_for=tasks.c.waiting_for - sa.bindparam("done", type_=sa.Integer))
)


def finish(transaction: Transaction, ends: list[End]) -> None:
    """End tasks, and then those that can never run because of it; wake who waits for either."""
    while ends:
        _end(transaction, ends)
        ends = _settle_dependents(transaction, ends)


def _end(transaction: Transaction, ends: list[End]) -> None:
    counters = {}
    for group_id, count in sorted(Counter(end.group_id for end in ends).items()):
        [(last,)] = _COUNT.rows(transaction, of_group=group_id, ended=count)
        counters[group_id] = last - count
        transaction.changes.groups.add(group_id)
    rows: list[Row] = []
    for end in ends:
        counters[end.group_id] += 1
        place = end.location
        rows.append(
            {
                "s": end.sequence,
                "to_state": end.state,
                "cursor": counters[end.group_id],
                "text": end.message or None,
                "at": transaction.now,
                "object_id": place.object_id if place else None,
                "offset": place.offset if place else None,
                "size_bytes": place.length_bytes if place else None,
                "endpoint": end.endpoint_id,
                "began": end.started_at,
                "charges": end.charged,
                "lost": end.losses,
            }
        )
    _END.run(transaction, rows)
    _recall(transaction, [end.sequence for end in ends if end.recall])


def _recall(transaction: Transaction, ended: list[int]) -> None:
    """Attempts still running for a task that has ended: their agents are to stop them."""
    if not ended:
        return
    live = sa.and_(
        among(attempts.c.sequence, ended), attempts.c.ended_at.is_(None), attempts.c.state.in_(["leased", "started"])
    )
    sessions = transaction.execute(sa.select(attempts.c.session_id).where(live).distinct()).scalars().all()
    if sessions:
        transaction.execute(sa.update(attempts).where(live).values(state="recalled"))
        transaction.changes.sessions.update(sessions)


def _settle_dependents(transaction: Transaction, ends: list[End]) -> list[End]:
    """Free the children of what succeeded; return the ends of those whose parent did not."""
    succeeded = [end.sequence for end in ends if end.state == "succeeded"]
    failed = {end.sequence: end for end in ends if end.state != "succeeded"}
    if succeeded:
        _free(transaction, Counter(row.child for row in _CHILDREN.rows(transaction, parents=succeeded)))
    if not failed:
        return []
    child = (
        sa.select(dependencies.c.parent, dependencies.c.child, tasks.c.group_id)
        .join(tasks, tasks.c.sequence == dependencies.c.child)
        .where(among(dependencies.c.parent, list(failed)), tasks.c.state.not_in(TERMINAL_STATES))
        .order_by(dependencies.c.child)
        .with_for_update(of=tasks)
    )
    links = transaction.execute(child).all()
    names = _task_ids(transaction, sorted({link.parent for link in links}))
    doomed: dict[int, End] = {}
    for link in links:
        parent = failed[link.parent]
        message = why_not(names[link.parent], parent.state, parent.message)
        doomed.setdefault(link.child, End(link.child, link.group_id, "dependency_failed", message=message))
    return list(doomed.values())


def why_not(parent_id: str, state: str, message: str) -> str:
    """Why a task cannot run whose parent ended without a value; down a chain, the first cause.

    Example:
        >>> why_not("0f3c", "failed", "ValueError: no beam")
        'It depends on task 0f3c, which failed: ValueError: no beam'
    """
    if state == "dependency_failed" and message:
        return message
    ended = {"cancelled": "was cancelled", "lost": "was lost"}.get(state, "failed")
    told = message if len(message) <= _CAUSE_CHARACTERS else f"{message[:_CAUSE_CHARACTERS]} …"
    return f"It depends on task {parent_id}, which {ended}{f': {told}' if told else '.'}"


def _free(transaction: Transaction, freed: Counter[int]) -> None:
    if not freed:
        return
    _FREE.run(transaction, [{"s": sequence, "done": done} for sequence, done in sorted(freed.items())])
    transaction.execute(
        sa.update(tasks)
        .where(among(tasks.c.sequence, sorted(freed)), tasks.c.state == "waiting", tasks.c.waiting_for <= 0)
        .values(state="queued")
    )
    transaction.changes.work = True


def _task_ids(transaction: Transaction, sequences: list[int]) -> dict[int, str]:
    query = sa.select(tasks.c.sequence, tasks.c.task_id).where(among(tasks.c.sequence, sequences))
    return {row.sequence: row.task_id for row in transaction.execute(query).all()}
