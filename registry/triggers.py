"""Triggers: what they watch for and what they make of it, who owns them, and why they stand still."""

from __future__ import annotations

import secrets
import uuid
from dataclasses import dataclass

import msgspec
import sqlalchemy as sa

from faas.errors import Conflict, InvalidRequest, NotAuthenticated, NotFound
from faas.models import CreateTrigger, SourceKind, Trigger, TriggerSettings

from . import endpoints as endpoint_registry
from . import functions as function_registry
from .database import AnyRow, Transaction
from .functions import is_uuid
from .identities import Principal, token_hash
from .schema import attempts, identities, tasks, trigger_events, triggers

_MOST_CHARACTERS = 200
_RECENT_TASKS = 100


@dataclass(frozen=True)
class Known:
    """A trigger as the service works with it."""

    trigger_id: str
    name: str
    owner: Principal
    group_id: str
    kind: SourceKind
    source: str
    function: str
    target: str
    settings: TriggerSettings
    backfill: bool
    active: bool
    created_at: float
    listed_to: str
    listed_at: float | None


def create(transaction: Transaction, principal: Principal, kind: SourceKind, wanted: CreateTrigger) -> Trigger:
    """Create a trigger; the answer is the only place where its secret ever appears.

    Raises:
        InvalidRequest: the name cannot be used.
        NotFound: there is no such function or target that the owner may use.
        Conflict: the owner has a trigger of this name.
    """
    name = wanted.name
    if not name.strip() or len(name) > _MOST_CHARACTERS or not name.isprintable() or "/" in name or is_uuid(name):
        raise InvalidRequest(
            f"{name[:80]!r} is no name for a trigger.",
            fix=f"Use 1 to {_MOST_CHARACTERS} printable characters without '/', unlike an id.",
            field="name",
        )
    owner = _as_client(principal.identity_id, principal.identity)
    function_registry.resolve(transaction, owner, wanted.function)
    endpoint_registry.resolve_target(transaction, owner, wanted.target)
    mine = (triggers.c.owner_id == owner.identity_id) & (triggers.c.name == name)
    if transaction.execute(sa.select(triggers.c.trigger_id).where(mine)).first():
        raise Conflict(f"You have a trigger {name!r} already.", fix="Delete it, or name this one.", field="name")
    trigger_id, secret = str(uuid.uuid4()), secrets.token_urlsafe(32)
    transaction.execute(
        sa.insert(triggers).values(
            trigger_id=trigger_id,
            owner_id=owner.identity_id,
            name=name,
            group_id=str(uuid.uuid4()),
            kind=kind,
            source=wanted.source,
            function=wanted.function,
            target=wanted.target,
            settings=msgspec.to_builtins(wanted.settings),
            backfill=wanted.backfill,
            state="active",
            reason="",
            failures=0,
            secret_hash=token_hash(secret),
            created_at=transaction.now,
        )
    )
    made = show(transaction, owner, trigger_id)
    made.secret = f"/v1/triggers/{trigger_id}/deliveries/{secret}"
    return made


def active(transaction: Transaction) -> list[Known]:
    """Every trigger that is not paused."""
    return [_known(row) for row in transaction.execute(_ALL.where(triggers.c.state == "active")).all()]


def known(transaction: Transaction, trigger_id: str, *, lock: bool = False) -> Known | None:
    """A trigger by its id; None once it was deleted.

    Args:
        transaction: the transaction.
        trigger_id: which.
        lock: hold it, so that others wait who would count against the same caps.
    """
    query = _ALL.where(triggers.c.trigger_id == trigger_id)
    row = transaction.execute(query.with_for_update(of=triggers) if lock else query).first()
    return None if row is None else _known(row)


def find(transaction: Transaction, principal: Principal, reference: str) -> Known:
    """One of the caller's triggers, by id or name.

    Raises:
        NotFound: there is none.
    """
    return _known(_find(transaction, principal, reference))


def by_secret(transaction: Transaction, trigger_id: str, secret: str) -> Known:
    """The trigger that a store posts to.

    Raises:
        NotAuthenticated: the secret is not this trigger's.
    """
    right = (triggers.c.trigger_id == trigger_id) & (triggers.c.secret_hash == token_hash(secret))
    row = transaction.execute(_ALL.where(right)).first()
    if row is None:
        raise NotAuthenticated(
            "No trigger has this secret.", fix="Create the trigger anew; its secret is shown once, then."
        )
    return _known(row)


def show(transaction: Transaction, principal: Principal, reference: str) -> Trigger:
    """One of the caller's triggers, with its events counted.

    Raises:
        NotFound: there is none.
    """
    return _shown(transaction, _find(transaction, principal, reference))


def shown(transaction: Transaction, principal: Principal) -> list[Trigger]:
    """The caller's triggers, by name."""
    rows = transaction.execute(_ALL.where(triggers.c.owner_id == principal.identity_id).order_by(triggers.c.name))
    return [_shown(transaction, row) for row in rows.all()]


def pause(transaction: Transaction, trigger_id: str, reason: str) -> None:
    """Let nothing become a task until the trigger is resumed; what comes waits."""
    _set(transaction, trigger_id, state="paused", reason=reason)


def resume(transaction: Transaction, trigger_id: str) -> None:
    """Go on, with what waits first."""
    _set(transaction, trigger_id, state="active", reason="", failures=0)


def note_listing(transaction: Transaction, trigger_id: str, to: str, *, over: bool) -> None:
    """Remember how far a listing has come, to go on from there after a restart.

    Args:
        transaction: the transaction.
        trigger_id: whose listing.
        to: the last key.
        over: whether that was all.
    """
    if over:
        _set(transaction, trigger_id, listed_to=None, listed_at=transaction.now)
    else:
        _set(transaction, trigger_id, listed_to=to)


def delete(transaction: Transaction, trigger_id: str) -> None:
    """Forget a trigger and its ledger; its tasks go on."""
    transaction.execute(sa.delete(trigger_events).where(trigger_events.c.trigger_id == trigger_id))
    transaction.execute(sa.delete(triggers).where(triggers.c.trigger_id == trigger_id))


def mean_run_s(transaction: Transaction, principal: Principal, function: str) -> float | None:
    """What the last tasks of a function took, in seconds; None where none has run.

    Raises:
        NotFound: there is no such function that the caller may use.
    """
    function_id = function_registry.resolve(transaction, principal, function)[0]
    recent = (
        sa.select(tasks.c.sequence)
        .where(tasks.c.owner_id == principal.identity_id, tasks.c.function_id == function_id)
        .where(tasks.c.state == "succeeded")
        .order_by(tasks.c.sequence.desc())
        .limit(_RECENT_TASKS)
        .subquery()
    )
    query = sa.select(sa.func.avg(attempts.c.run_s)).join(recent, recent.c.sequence == attempts.c.sequence)
    mean = transaction.execute(query).scalar()
    return None if mean is None else float(mean)


_ALL = sa.select(triggers, identities.c.name.label("owner")).join(
    identities, identities.c.identity_id == triggers.c.owner_id
)


def _find(transaction: Transaction, principal: Principal, reference: str) -> AnyRow:
    column = triggers.c.trigger_id if is_uuid(reference) else triggers.c.name
    mine = (triggers.c.owner_id == principal.identity_id) & (column == reference)
    row = transaction.execute(_ALL.where(mine)).first()
    if row is None:
        raise NotFound(f"You have no trigger {reference!r}.", fix="`faas trigger list` shows yours.", field="trigger")
    return row


def _known(row: AnyRow) -> Known:
    return Known(
        trigger_id=row.trigger_id,
        name=row.name,
        owner=_as_client(row.owner_id, row.owner),
        group_id=row.group_id,
        kind=row.kind,
        source=row.source,
        function=row.function,
        target=row.target,
        settings=msgspec.convert(row.settings, TriggerSettings),
        backfill=row.backfill,
        active=row.state == "active",
        created_at=row.created_at,
        listed_to=row.listed_to or "",
        listed_at=row.listed_at,
    )


def _as_client(identity_id: str, name: str) -> Principal:
    return Principal(identity_id, name, "client", "")


def _shown(transaction: Transaction, row: AnyRow) -> Trigger:
    counted = (
        sa.select(trigger_events.c.state, sa.func.count())
        .where(trigger_events.c.trigger_id == row.trigger_id)
        .group_by(trigger_events.c.state)
    )
    return Trigger(
        trigger_id=row.trigger_id,
        name=row.name,
        owner=row.owner,
        source=row.source,
        kind=row.kind,
        function=row.function,
        target=row.target,
        group_id=row.group_id,
        settings=msgspec.convert(row.settings, TriggerSettings),
        state=row.state,
        reason=row.reason,
        created_at=row.created_at,
        counts={row[0]: row[1] for row in transaction.execute(counted).all()},
        failures=row.failures,
        listed_at=row.listed_at,
    )


def _set(transaction: Transaction, trigger_id: str, **values: object) -> None:
    transaction.execute(sa.update(triggers).where(triggers.c.trigger_id == trigger_id).values(**values))
