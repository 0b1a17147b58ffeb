"""Requests for the output of an attempt, from who owns the task to the agent at whose site the file lies.

A request is no promise: one that is lost, with the agent or on the way, is made again by asking again.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

import sqlalchemy as sa

from faas.errors import InvalidRequest, NotFound
from faas.models import AttemptKey, LogFound

from . import objects
from .database import AnyRow, Transaction
from .identities import Principal
from .objects import StoredObject
from .prepared import Prepared
from .results import unknown_task
from .schema import attempts, endpoints, log_requests, sessions, tasks

STREAMS = ("stdout", "stderr")
AGAIN_S = 20.0
"""A request not answered after this long is made anew."""
_FORGOTTEN_S = 3600.0

_WANTED = Prepared(
    sa.select(log_requests.c.request_id, log_requests.c.created_at).where(
        log_requests.c.session_id == sa.bindparam("of_session"), log_requests.c.state == "wanted"
    )
)


@dataclass(frozen=True)
class Asked:
    """A request, as far as it has come."""

    request_id: str
    number: int
    session_id: str
    """Empty: the endpoint is not online, and was not asked."""
    state: str
    """``wanted``, ``stored``, ``absent`` (there is no such file) or ``offline``."""
    stored: StoredObject | None = None


@dataclass(frozen=True)
class Wanted:
    """A request as its agent gets it."""

    request_id: str
    attempt: AttemptKey
    task_id: str
    stream: str
    stored: StoredObject


def ask(transaction: Transaction, principal: Principal, task_id: str, number: int | None, stream: str) -> Asked:
    """Ask for the file with one stream of an attempt; a request that is under way is joined.

    Args:
        transaction: the transaction.
        principal: who asks.
        task_id: one of their tasks.
        number: of the attempt; None for the last one.
        stream: ``stdout`` or ``stderr``.

    Raises:
        InvalidRequest: there is no such stream.
        NotFound: no such task of theirs, or it has no such attempt.
    """
    if stream not in STREAMS:
        raise InvalidRequest(f"There is no stream {stream!r}.", fix="Ask for stdout or stderr.", field="stream")
    attempt = _attempt(transaction, principal, task_id, number)
    if attempt.session_id is None:
        return Asked("", attempt.number, "", "offline")
    sought = sa.and_(
        log_requests.c.sequence == attempt.sequence,
        log_requests.c.number == attempt.number,
        log_requests.c.stream == stream,
        log_requests.c.session_id == attempt.session_id,
        log_requests.c.state == "wanted",
        log_requests.c.created_at > transaction.now - AGAIN_S,
    )
    under_way = transaction.execute(sa.select(log_requests.c.request_id).where(sought)).scalar()
    if under_way is not None:
        return Asked(under_way, attempt.number, attempt.session_id, "wanted")
    transaction.execute(sa.delete(log_requests).where(log_requests.c.created_at < transaction.now - _FORGOTTEN_S))
    stored = objects.create(transaction, attempt.owner_id, "log")
    request_id = str(uuid.uuid4())
    transaction.execute(
        sa.insert(log_requests).values(
            request_id=request_id,
            sequence=attempt.sequence,
            number=attempt.number,
            stream=stream,
            session_id=attempt.session_id,
            object_id=stored.object_id,
            state="wanted",
            created_at=transaction.now,
        )
    )
    transaction.changes.sessions.add(attempt.session_id)
    return Asked(request_id, attempt.number, attempt.session_id, "wanted")


def look(transaction: Transaction, asked: Asked) -> Asked:
    """How far a request has come."""
    query = sa.select(log_requests).where(log_requests.c.request_id == asked.request_id)
    row = transaction.execute(query).first()
    if row is None:
        return asked
    stored = None
    if row.state == "stored":
        found = objects.find(transaction, {row.object_id}).get(row.object_id)
        if found is not None:
            stored = StoredObject(found.object_id, found.key, found.owner_id, row.size_bytes)
    return Asked(asked.request_id, asked.number, asked.session_id, row.state, stored)


def unheard(transaction: Transaction, session_id: str, known: list[str]) -> list[str]:
    """The requests to a session that its agent does not know of yet."""
    rows = [row for row in _WANTED.rows(transaction, of_session=session_id) if row.request_id not in known]
    return [row.request_id for row in rows if row.created_at > transaction.now - AGAIN_S]


def wanted(transaction: Transaction, endpoint_id: str, session_id: str, request_ids: list[str]) -> list[Wanted]:
    """Requests as the agent gets them; those to another endpoint's session are left out."""
    rows = transaction.execute(
        sa.select(log_requests, tasks.c.task_id)
        .join(tasks, tasks.c.sequence == log_requests.c.sequence)
        .join(sessions, sessions.c.session_id == log_requests.c.session_id)
        .where(
            log_requests.c.request_id.in_(request_ids),
            log_requests.c.session_id == session_id,
            sessions.c.endpoint_id == endpoint_id,
        )
    ).all()
    places = objects.find(transaction, {row.object_id for row in rows})
    return [
        Wanted(row.request_id, AttemptKey(row.sequence, row.number), row.task_id, row.stream, places[row.object_id])
        for row in rows
        if row.object_id in places
    ]


def settle(transaction: Transaction, endpoint_id: str, session_id: str, found: LogFound) -> None:
    """An agent has stored a file, or has none; one that was not asked changes nothing."""
    changed = transaction.execute(
        sa.update(log_requests)
        .where(
            log_requests.c.request_id == found.request_id,
            log_requests.c.session_id == session_id,
            log_requests.c.state == "wanted",
            sa.exists().where(sessions.c.session_id == session_id, sessions.c.endpoint_id == endpoint_id),
        )
        .values(state="absent" if found.size_bytes is None else "stored", size_bytes=found.size_bytes)
    )
    if changed.rowcount:
        transaction.changes.sessions.add(session_id)


def _attempt(transaction: Transaction, principal: Principal, task_id: str, number: int | None) -> AnyRow:
    """The attempt, with its endpoint's session if that is online: the newest one knows the files of earlier ones."""
    task = sa.select(tasks.c.sequence, tasks.c.attempts).where(
        tasks.c.task_id == task_id, tasks.c.owner_id == principal.identity_id
    )
    found = transaction.execute(task).first()
    if found is None:
        raise unknown_task(task_id)
    wanted = found.attempts if number is None else number
    query = (
        sa.select(attempts.c.sequence, attempts.c.number, tasks.c.owner_id, sessions.c.session_id)
        .join(tasks, tasks.c.sequence == attempts.c.sequence)
        .outerjoin(endpoints, endpoints.c.endpoint_id == attempts.c.endpoint_id)
        .outerjoin(sessions, sa.and_(sessions.c.session_id == endpoints.c.session_id, sessions.c.state == "active"))
        .where(attempts.c.sequence == found.sequence, attempts.c.number == wanted)
    )
    attempt = transaction.execute(query).first()
    if attempt is None:
        raise NotFound(
            f"Task {task_id} has no attempt {wanted}.", fix="`faas task show` lists its attempts.", field="attempt"
        )
    return attempt
