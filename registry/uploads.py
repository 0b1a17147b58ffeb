"""Objects on their way up, and what their owners do with them: complete, show, list, keep, delete."""

from __future__ import annotations

import hmac

import sqlalchemy as sa

from faas import tickets
from faas.errors import Conflict, InvalidRequest, NotAuthenticated, NotFound
from faas.models import TERMINAL_STATES, CreateObject, ObjectInfo, ObjectPage

from .database import AnyRow, Transaction
from .identities import Principal
from .objects import UNREFERENCED_S, StoredObject, create, stored
from .schema import attempts, identities, objects, sessions, tasks, tokens

_DOOMED = 0.0
_MAX_NAME = 255
_standing = objects.c.expires_at.is_distinct_from(_DOOMED)


def ticket_holder(transaction: Transaction, text: str) -> Principal:
    """Whose result may be stored with a ticket.

    Raises:
        NotAuthenticated: no ticket of this service, or its endpoint's token was revoked.
        NotFound: the attempt is not known.
        Conflict: its task has ended, so that no result is wanted any more.
    """
    ticket = tickets.read(text)
    hashes = (
        []
        if ticket is None
        else transaction.execute(
            sa.select(tokens.c.hash, sessions.c.endpoint_id)
            .join(tokens, tokens.c.endpoint_id == sessions.c.endpoint_id)
            .where(
                sessions.c.session_id == ticket.session_id,
                tokens.c.scope == "endpoint",
                tokens.c.revoked_at.is_(None),
                sa.or_(tokens.c.expires_at.is_(None), tokens.c.expires_at > transaction.now),
            )
        ).all()
    )
    endpoint_id = next((each.endpoint_id for each in hashes if tickets.holds(each.hash, ticket)), None)
    if ticket is None or endpoint_id is None:
        raise NotAuthenticated("The ticket is not one of this service.", fix="Its agent must open a new session.")
    row = transaction.execute(
        sa.select(tasks.c.task_id, tasks.c.owner_id, tasks.c.state, identities.c.name)
        .join(attempts, attempts.c.sequence == tasks.c.sequence)
        .join(identities, identities.c.identity_id == tasks.c.owner_id)
        .where(
            attempts.c.sequence == ticket.attempt.sequence,
            attempts.c.number == ticket.attempt.number,
            attempts.c.endpoint_id == endpoint_id,
        )
    ).first()
    if row is None:
        raise NotFound("The attempt that the ticket is for is not known (any more).", fix="Drop its result.")
    if row.state in TERMINAL_STATES:
        raise Conflict(f"Task {row.task_id} has ended: its result is not wanted any more.", fix="Drop it.")
    attempt = f"{row.task_id}.{ticket.attempt.number}"
    return Principal(row.owner_id, row.name, "ticket", "", endpoint_id, attempt=attempt)


def begin(transaction: Transaction, principal: Principal, wanted: CreateObject) -> StoredObject:
    """Mint the object that an upload is to fill.

    Raises:
        InvalidRequest: a checksum or a name that is none.
    """
    if wanted.sha256 and not (len(wanted.sha256) == 64 and set(wanted.sha256) <= set("0123456789abcdef")):
        raise InvalidRequest("sha256 is not 64 hexadecimal digits in lower case.", field="sha256")
    if len(wanted.name) > _MAX_NAME or "/" in wanted.name or not (wanted.name.isprintable() or not wanted.name):
        raise InvalidRequest("The name is not that of a file: printable, without '/'.", field="name")
    if principal.scope == "ticket":
        return create(
            transaction,
            principal.identity_id,
            "result",
            endpoint_id=principal.endpoint_id,
            size_bytes=wanted.size_bytes,
            sha256=wanted.sha256,
            attempt=principal.attempt,
        )
    return create(
        transaction,
        principal.identity_id,
        wanted.kind,
        size_bytes=wanted.size_bytes,
        sha256=wanted.sha256,
        content=wanted.content,
        name=wanted.name,
        kept=wanted.keep,
    )


def begun(transaction: Transaction, object_id: str, upload_id: str) -> None:
    """Note the store's id of an upload in parts."""
    transaction.execute(sa.update(objects).where(objects.c.object_id == object_id).values(upload_id=upload_id))


def under_way(transaction: Transaction, principal: Principal, object_id: str) -> StoredObject:
    """An object that the caller may fill.

    Raises:
        NotFound: unknown, or not the caller's to fill.
    """
    row = _row(transaction, principal, object_id)
    return stored(row)


def complete(
    transaction: Transaction, principal: Principal, object_id: str, size_bytes: int, sha256: str
) -> ObjectInfo:
    """An upload's bytes are all in the store.

    Args:
        transaction: the transaction.
        principal: who uploaded it.
        object_id: the object.
        size_bytes: its size in the store.
        sha256: what the uploader found; empty if it was told before.

    Raises:
        NotFound: unknown, or not the caller's to fill.
        Conflict: the checksum is another than was announced.
    """
    row = _row(transaction, principal, object_id)
    if row.sha256 and sha256 and not hmac.compare_digest(row.sha256, sha256):
        raise Conflict(
            f"Object {object_id} was announced with another SHA-256.", fix="Upload it as a new one.", field="sha256"
        )
    later = sa.case(
        (objects.c.expires_at.is_(None), sa.null()),
        (objects.c.kept, sa.null()),
        else_=transaction.now + UNREFERENCED_S,
    )
    transaction.execute(
        sa.update(objects)
        .where(objects.c.object_id == object_id, _standing)
        .values(upload_id=None, size_bytes=size_bytes, sha256=row.sha256 or sha256 or None, expires_at=later)
    )
    return _info(_row(transaction, principal, object_id))


def show(transaction: Transaction, principal: Principal, object_id: str) -> ObjectInfo:
    """One of the caller's objects.

    Raises:
        NotFound: unknown, or another identity's.
    """
    return _info(_row(transaction, principal, object_id, any_kind=True))


def find(transaction: Transaction, principal: Principal, before: str, limit: int) -> ObjectPage:
    """The caller's own objects, the newest first; those of arguments and results are not among them.

    Raises:
        InvalidRequest: ``before`` is not what a page gave.
    """
    query = sa.select(objects).where(_standing, objects.c.owner_id == principal.identity_id, objects.c.kind == "object")
    if before:
        at, _, object_id = before.partition(" ")
        try:
            moment = float(at)
        except ValueError:
            raise InvalidRequest("before is not what a page of this list gave.", field="before") from None
        query = query.where(
            sa.or_(
                objects.c.created_at < moment,
                sa.and_(objects.c.created_at == moment, objects.c.object_id < object_id),
            )
        )
    rows = transaction.execute(
        query.order_by(objects.c.created_at.desc(), objects.c.object_id.desc()).limit(limit + 1)
    ).all()
    more = len(rows) > limit
    last = rows[limit - 1] if more else None
    return ObjectPage(
        objects=[_info(row) for row in rows[:limit]],
        next_before="" if last is None else f"{last.created_at!r} {last.object_id}",
    )


def keep(transaction: Transaction, principal: Principal, object_id: str) -> ObjectInfo:
    """Have an object stay whether or not anything refers to it.

    Raises:
        NotFound: unknown, or another identity's.
        Conflict: its upload is not complete.
    """
    stored(_row(transaction, principal, object_id)).finished()
    transaction.execute(
        sa.update(objects)
        .where(objects.c.object_id == object_id, _standing)
        .values(kept=True, kind="object", expires_at=None)
    )
    return _info(_row(transaction, principal, object_id))


def delete(transaction: Transaction, principal: Principal, object_id: str) -> StoredObject:
    """Doom an object that nothing uses: its bytes go next.

    Raises:
        NotFound: unknown, or another identity's.
        Conflict: a task or its result refers to it.
    """
    row = _row(transaction, principal, object_id, hold=True)
    if row.expires_at is None and not row.kept:
        raise Conflict(
            f"Object {object_id} is used by a task or by its result.",
            fix="It is deleted by itself when that is; nothing need be done.",
            field="object_id",
        )
    transaction.execute(sa.update(objects).where(objects.c.object_id == object_id).values(expires_at=_DOOMED))
    return stored(row)


def _row(
    transaction: Transaction, principal: Principal, object_id: str, *, any_kind: bool = False, hold: bool = False
) -> AnyRow:
    query = sa.select(objects).where(
        _standing, objects.c.object_id == object_id, objects.c.owner_id == principal.identity_id
    )
    if principal.scope == "ticket":
        query = query.where(
            objects.c.kind == "result",
            objects.c.endpoint_id == principal.endpoint_id,
            objects.c.key.contains(f"/{principal.attempt}.", autoescape=True),
        )
    elif not any_kind:
        query = query.where(objects.c.kind.in_(("argument", "object")))
    row = transaction.execute(query.with_for_update() if hold else query).first()
    if row is None:
        raise NotFound(f"There is no object {object_id[:80]!r} of yours.", field="object_id")
    return row


def _info(row: AnyRow) -> ObjectInfo:
    return ObjectInfo(
        object_id=row.object_id,
        size_bytes=row.size_bytes or 0,
        sha256=row.sha256 or "",
        content=row.content,
        name=row.name or "",
        kept=bool(row.kept),
        unfinished=row.upload_id is not None,
        created_at=row.created_at,
        expires_at=row.expires_at,
        location_key=row.key,
    )
