"""What may go: tasks kept long enough, and with them all that only they needed. In slices, each one transaction.

A task that has ended is kept for the retention time, and longer while a task that depends on it has not ended. With
it go its attempts, tags and links, and its claims on objects: a segment goes with the last result in it, any other
object ``UNREFERENCED_S`` after the last task that refers to it, unless it is kept. Groups, classes and sessions go
once nothing is left of them. What blocks cost stays: it is an account.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import sqlalchemy as sa

from faas.models import TERMINAL_STATES

from .database import Transaction
from .endings import End, finish
from .objects import DOOMED, UNREFERENCED_S, StoredObject, stored
from .prepared import among
from .resolving import CLASS_TOUCHED_S
from .schema import (
    QUEUED,
    attempts,
    classes,
    dependencies,
    endpoints,
    groups,
    identities,
    leases,
    log_requests,
    object_uses,
    objects,
    sessions,
    task_tags,
    tasks,
)

_RESULTS = ("segment", "result")
"""Kinds of objects that hold results: once none is left in them, nobody can come to refer to them."""
_KEY = re.compile(r"[a-z]+s/(?P<owner>[0-9a-f-]{36})/(?P<day>\d{4}-\d\d-\d\d)/[^/]+")


@dataclass(frozen=True)
class Walked:
    """A slice of tasks gone through in the order of their sequences."""

    position: int
    """Of the last one: the next slice begins after it."""
    over: bool
    """Whether there is none further on that is old enough."""
    expired: int = 0
    """How many went."""


def expire_tasks(transaction: Transaction, before: float, after: int, limit: int) -> Walked:
    """Let go of tasks that ended before a time, and of what only they needed.

    Tasks come in the order in which they were submitted, so a walk reads no further than to the first one that was
    submitted after that time.

    Args:
        transaction: the transaction.
        before: tasks that ended earlier may go.
        after: sequence of the last task looked at.
        limit: how many to look at.
    """
    rows = transaction.execute(
        sa.select(tasks.c.sequence, tasks.c.submitted_at, tasks.c.ended_at)
        .where(tasks.c.sequence > after)
        .order_by(tasks.c.sequence)
        .limit(limit)
    ).all()
    old = [row for row in rows if row.submitted_at < before]
    over = len(rows) < limit or len(old) < len(rows)
    position = old[-1].sequence if old else after
    ended = [row.sequence for row in old if row.ended_at is not None and row.ended_at < before]
    expired = _free(transaction, _lock(transaction, ended))
    if expired:
        _remove(transaction, expired)
    return Walked(position, over, len(expired))


def _lock(transaction: Transaction, ended: list[int]) -> list[int]:
    """Hold the tasks' rows, so that no new task comes to depend on one; those that others hold are left for later."""
    query = sa.select(tasks.c.sequence).where(among(tasks.c.sequence, ended)).order_by(tasks.c.sequence)
    return list(transaction.execute(query.with_for_update(skip_locked=True)).scalars())


def _free(transaction: Transaction, ended: list[int]) -> list[int]:
    """Of tasks that ended, those that no unfinished task depends on, and that no site still runs.

    A statement of its own: it sees what was committed before the rows were held.
    """
    if not ended:
        return []
    needed = (
        sa.select(dependencies.c.parent)
        .join(tasks, tasks.c.sequence == dependencies.c.child)
        .where(among(dependencies.c.parent, ended), tasks.c.state.not_in(TERMINAL_STATES))
    )
    running = sa.select(attempts.c.sequence).where(among(attempts.c.sequence, ended), attempts.c.ended_at.is_(None))
    held = {*transaction.execute(needed).scalars(), *transaction.execute(running).scalars()}
    return [sequence for sequence in ended if sequence not in held]


def _remove(transaction: Transaction, expired: list[int]) -> None:
    this = among(tasks.c.sequence, expired)
    places = transaction.execute(
        sa.select(tasks.c.location_object, sa.func.count())
        .where(this, tasks.c.location_object.is_not(None))
        .group_by(tasks.c.location_object)
        .order_by(tasks.c.location_object)
    ).all()
    for object_id, results in places:
        transaction.execute(
            sa.update(objects).where(objects.c.object_id == object_id).values(members=objects.c.members - results)
        )
    used = transaction.execute(sa.select(object_uses.c.object_id).where(among(object_uses.c.sequence, expired)))
    let_go = {*used.scalars(), *(object_id for object_id, _ in places)}
    for column in (
        object_uses.c.sequence,
        log_requests.c.sequence,
        attempts.c.sequence,
        task_tags.c.sequence,
        dependencies.c.parent,
        dependencies.c.child,
    ):
        transaction.execute(sa.delete(column.table).where(among(column, expired)))
    transaction.execute(sa.delete(tasks).where(this))
    release(transaction, let_go)


def release(transaction: Transaction, object_ids: set[str]) -> None:
    """Let objects expire that nothing refers to any longer."""
    free = sa.and_(
        among(objects.c.object_id, sorted(object_ids)),
        objects.c.expires_at.is_(None),
        objects.c.kept.is_(sa.false()),
        objects.c.members <= 0,
    )
    # Held first: who comes to refer to one has held it too, so the next statement sees all who did.
    query = sa.select(objects.c.object_id).where(free).order_by(objects.c.object_id).with_for_update()
    if not transaction.execute(query).all():
        return
    when = sa.case(
        (objects.c.kind.in_(_RESULTS), transaction.now),
        else_=transaction.now + UNREFERENCED_S,
    )
    transaction.execute(sa.update(objects).where(free, _UNUSED).values(expires_at=when))


_UNUSED = ~sa.exists().where(object_uses.c.object_id == objects.c.object_id)


def doom(transaction: Transaction, limit: int) -> list[StoredObject]:
    """Mark objects that nothing came to refer to in time; from here on nothing can.

    The bytes go next, then ``forget`` drops the rows: a crash in between leaves marked rows to be found again.
    """
    unreferenced = sa.and_(
        objects.c.expires_at > DOOMED,
        objects.c.expires_at < transaction.now,
        objects.c.members <= 0,
    )
    late = sa.select(objects.c.object_id).where(unreferenced, _UNUSED).limit(limit)
    # the condition again: PostgreSQL rechecks only it, not the subquery, for a row that another transaction has kept
    transaction.execute(sa.update(objects).where(objects.c.object_id.in_(late), unreferenced).values(expires_at=DOOMED))
    query = sa.select(objects).where(objects.c.expires_at == DOOMED)
    return [stored(row) for row in transaction.execute(query)]


def forget(transaction: Transaction, object_ids: list[str]) -> None:
    """Drop the rows of doomed objects whose bytes are gone."""
    transaction.execute(sa.delete(objects).where(objects.c.object_id.in_(object_ids), objects.c.expires_at == DOOMED))


def unknown_keys(transaction: Transaction, keys: list[str], before_day: str) -> list[str]:
    """Of keys found in the store, those that an object of this registry had, and no row knows any longer.

    A row is there before its bytes are, and goes after them; only a crash, or an upload that came late, leaves bytes
    alone. Keys that are not formed like this registry's, or name no identity of it, are somebody else's.

    Args:
        transaction: the transaction.
        keys: as listed.
        before_day: only keys made before this day, ``YYYY-MM-DD``.
    """
    formed = [(key, match) for key in keys if (match := _KEY.fullmatch(key)) and match["day"] < before_day]
    if not formed:
        return []
    wanted = sorted({match["owner"] for _, match in formed})
    owners = set(
        transaction.execute(
            sa.select(identities.c.identity_id).where(among(identities.c.identity_id, wanted))
        ).scalars()
    )
    ours = [key for key, match in formed if match["owner"] in owners]
    known = set(transaction.execute(sa.select(objects.c.key).where(among(objects.c.key, ours))).scalars())
    return [key for key in ours if key not in known]


def drop_groups(transaction: Transaction, before: float, after: str, limit: int) -> tuple[str, bool]:
    """Drop groups made before a time that have no tasks.

    Args:
        transaction: the transaction.
        before: later ones stay.
        after: id of the last group looked at.
        limit: how many to look at.

    Returns:
        The id of the last group looked at, and whether it was the last one of all.
    """
    rows = transaction.execute(
        sa.select(groups.c.group_id, groups.c.created_at)
        .where(groups.c.group_id > after)
        .order_by(groups.c.group_id)
        .limit(limit)
    ).all()
    old = [row.group_id for row in rows if row.created_at < before]
    held = sa.select(groups.c.group_id).where(among(groups.c.group_id, old)).order_by(groups.c.group_id)
    free = list(transaction.execute(held.with_for_update(skip_locked=True)).scalars())
    empty = ~sa.exists().where(tasks.c.group_id == groups.c.group_id)
    transaction.execute(sa.delete(groups).where(among(groups.c.group_id, free), empty))
    return (rows[-1].group_id if rows else after), len(rows) < limit


def drop_classes(transaction: Transaction, before: float, position: int) -> None:
    """Drop classes that no task uses; each of them is looked at whenever an agent asks for work.

    Whoever submits marks a class as used, or finds it marked lately, in the transaction that adds the tasks. So a
    class marked long before the retention time began gets no new task unless it is marked first, which the condition
    on the mark then sees; and its tasks are among those that the walk over old tasks left.

    Args:
        transaction: the transaction.
        before: when the retention time began.
        position: where a walk by ``expire_tasks`` up to this time ended.
    """
    used = sa.exists().where(tasks.c.sequence <= position, tasks.c.class_id == classes.c.class_id)
    transaction.execute(sa.delete(classes).where(classes.c.used_at < before - 2 * CLASS_TOUCHED_S, ~used))


def drop_sessions(transaction: Transaction, before: float, limit: int) -> int:
    """Drop sessions that were over before a time; returns how many."""
    gone = list(
        transaction.execute(
            sa.select(sessions.c.session_id)
            .where(
                sessions.c.state.in_(["closed", "expired"]),
                sessions.c.last_seen_at < before,
                ~sa.exists().where(endpoints.c.session_id == sessions.c.session_id),
                ~sa.exists().where(attempts.c.session_id == sessions.c.session_id, attempts.c.ended_at.is_(None)),
            )
            .limit(limit)
        ).scalars()
    )
    for table in (leases, sessions):
        transaction.execute(sa.delete(table).where(among(table.c.session_id, gone)))
    return len(gone)


def end_stranded(transaction: Transaction, limit: int) -> int:
    """End queued tasks that only an endpoint could run which has been deleted; returns how many."""
    deleted = ~sa.exists().where(endpoints.c.endpoint_id == classes.c.target)
    stranded = transaction.execute(
        sa.select(tasks.c.sequence, tasks.c.group_id, tasks.c.target)
        .join(classes, classes.c.class_id == tasks.c.class_id)
        .where(classes.c.target_kind == "endpoint", deleted, tasks.c.state == QUEUED)
        .order_by(tasks.c.sequence)
        .limit(limit)
        .with_for_update(of=tasks, skip_locked=True)
    ).all()
    finish(
        transaction,
        [
            End(
                row.sequence, row.group_id, "lost", message=f"The endpoint {row.target!r} it was to run at was deleted."
            )
            for row in stranded
        ],
    )
    return len(stranded)
