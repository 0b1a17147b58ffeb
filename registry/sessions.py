"""Sessions of agents: opened, heard from, fenced, expired, closed; the service's session decides what runs.

A session silent for longer than the lease time-out loses its tasks. Time in which no service ran
does not count: ``tick`` notices the gap in its own beats and moves ``resumed_at`` forward.
"""

from __future__ import annotations

import uuid
from datetime import datetime, timezone
from typing import Any

import msgspec
import sqlalchemy as sa

from faas.errors import Conflict
from faas.models import AttemptKey, Heartbeat, OpenSession

from . import blocks, holdings
from .attempts import Settled, attempts_of, plain, settle
from .database import Transaction
from .endpoints import Site, site
from .prepared import Prepared
from .requirements import offered
from .schema import attempts, endpoints, leases, service_clock, sessions

_GAP_S = 6.0
"""A pause between two beats of ``tick`` longer than this means that no service was running."""

_HEARD = Prepared(
    sa.update(sessions)
    .where(
        sessions.c.session_id == sa.bindparam("of_session"),
        sessions.c.endpoint_id == sa.bindparam("of_endpoint"),
        sessions.c.state == "active",
    )
    .values(last_seen_at=sa.bindparam("now"))
)
_ACTIVE = Prepared(
    sa.select(sessions.c.session_id).where(
        sessions.c.session_id == sa.bindparam("of_session"),
        sessions.c.endpoint_id == sa.bindparam("of_endpoint"),
        sessions.c.state == "active",
    )
)
_RECALLED = Prepared(
    sa.select(attempts.c.sequence, attempts.c.number).where(
        attempts.c.session_id == sa.bindparam("of_session"),
        attempts.c.endpoint_id == sa.bindparam("of_endpoint"),
        attempts.c.ended_at.is_(None),
        attempts.c.state == "recalled",
    )
)


def open_session(transaction: Transaction, endpoint_id: str, request: OpenSession) -> tuple[str, Site]:
    """Open a session for an endpoint's agent; the same nonce again gets the same session.

    Raises:
        Conflict: another live session holds the endpoint, and the request does not replace it.
        InvalidRequest: the name of a shape or an environment is none.
    """
    offering = offered(request)
    transaction.execute(
        sa.select(endpoints.c.endpoint_id).where(endpoints.c.endpoint_id == endpoint_id).with_for_update()
    )
    here = site(transaction, endpoint_id)
    repeat = transaction.execute(
        sa.select(sessions.c.session_id, sessions.c.state).where(
            sessions.c.endpoint_id == endpoint_id, sessions.c.nonce == request.nonce
        )
    ).first()
    if repeat is not None:
        if repeat.state != "active":
            raise _gone(repeat.session_id)
        return repeat.session_id, here
    live = transaction.execute(
        sa.select(sessions).where(sessions.c.endpoint_id == endpoint_id, sessions.c.state == "active")
    ).first()
    if live is not None:
        if not request.takeover and request.replaces != live.session_id:
            raise Conflict(
                f"The endpoint {here.name!r} already runs on host {live.host} (pid {live.pid}),"
                f" since {datetime.fromtimestamp(live.opened_at, timezone.utc):%Y-%m-%d %H:%M} UTC.",
                fix=f"Stop it there with `faas endpoint stop {here.name}`, or start with --takeover.",
            )
        transaction.execute(sa.update(sessions).where(sessions.c.session_id == live.session_id).values(state="fenced"))
        transaction.changes.sessions.add(live.session_id)
    session_id = str(uuid.uuid4())
    transaction.execute(
        sa.insert(sessions).values(
            session_id=session_id,
            endpoint_id=endpoint_id,
            nonce=request.nonce,
            host=request.host,
            pid=request.pid,
            version=request.version,
            state="active",
            opened_at=transaction.now,
            last_seen_at=transaction.now,
        )
    )
    transaction.execute(
        sa.update(endpoints)
        .where(endpoints.c.endpoint_id == endpoint_id)
        .values(
            session_id=session_id,
            policy=msgspec.to_builtins(request.policy),
            labels={**here.labels, **request.labels},
            offering=offering.text,
            broken=None,
            workers=0,
            idle_workers=0,
            problem=None,
            ports=None,
        )
    )
    holdings.replace(transaction, endpoint_id, request.cached)
    return session_id, site(transaction, endpoint_id)


def heard(transaction: Transaction, endpoint_id: str, session_id: str) -> None:
    """Note a sign of life.

    Raises:
        Conflict: the session was fenced, expired or closed; the agent must open a new one.
    """
    if not _HEARD.change(transaction, of_session=session_id, of_endpoint=endpoint_id, now=transaction.now):
        raise _gone(session_id)


def is_active(transaction: Transaction, endpoint_id: str, session_id: str) -> bool:
    """Whether this session of the endpoint has not been fenced, expired or closed."""
    return bool(_ACTIVE.rows(transaction, of_session=session_id, of_endpoint=endpoint_id))


def heartbeat(transaction: Transaction, endpoint_id: str, session_id: str, beat: Heartbeat) -> list[AttemptKey]:
    """Take in an agent's inventory; returns the attempts it is to stop.

    What is leased (by an answer the agent has taken in) but not held is settled: a recalled
    attempt is over, one that had started is lost, any other goes back to the queue.

    Raises:
        Conflict: the session is over.
    """
    heard(transaction, endpoint_id, session_id)
    told: dict[str, Any] = {}
    if beat.environments:
        broken = sorted(name for name, facts in beat.environments.items() if "problem" in facts)
        told = {"environments": _environments(transaction, endpoint_id, beat), "broken": broken or None}
        transaction.changes.work = True  # there may be some for an environment that works again
    transaction.execute(
        sa.update(endpoints)
        .where(endpoints.c.endpoint_id == endpoint_id)
        .values(
            workers=beat.workers,
            idle_workers=beat.idle_workers,
            problem=plain(beat.problem[: blocks.MESSAGE_CHARACTERS]) or None,
            ports=beat.ports or None,
            **told,
        )
    )
    blocks.take(transaction, endpoint_id, session_id, beat.blocks)
    if beat.cached or beat.uncached:
        holdings.change(transaction, endpoint_id, beat.cached, beat.uncached)
    held = {(key.sequence, key.number) for key in beat.held}
    live = transaction.execute(
        sa.select(attempts.c.sequence, attempts.c.number, attempts.c.lease_number, attempts.c.state)
        .where(attempts.c.session_id == session_id, attempts.c.ended_at.is_(None))
        .order_by(attempts.c.sequence)
    ).all()
    settled = []
    recalled = []
    for row in live:
        key = AttemptKey(row.sequence, row.number)
        if (row.sequence, row.number) in held:
            if row.state == "recalled":
                recalled.append(key)
            elif row.state == "leased":
                started_at = beat.started.get(f"{row.sequence}.{row.number}")
                if started_at is not None:
                    settled.append(Settled(key, "started", started_at=started_at))
        elif row.lease_number <= beat.lease_number:
            settled.append(Settled(key, "lost" if row.state == "started" else "released"))
    settle(transaction, endpoint_id, settled)
    return recalled


def _environments(transaction: Transaction, endpoint_id: str, beat: Heartbeat) -> dict[str, dict[str, str]]:
    """What is known of the environments an agent names: of those none has run in yet, what earlier sessions said."""
    query = sa.select(endpoints.c.environments).where(endpoints.c.endpoint_id == endpoint_id)
    before = transaction.execute(query).scalar_one()
    known = {name: {key: value for key, value in facts.items() if key != "problem"} for name, facts in before.items()}
    return {
        name: facts if "python" in facts else {**known.get(name, {}), **facts}
        for name, facts in beat.environments.items()
    }


def recalled(transaction: Transaction, endpoint_id: str, session_id: str) -> list[AttemptKey]:
    """The attempts this session of the endpoint is to stop."""
    rows = _RECALLED.rows(transaction, of_session=session_id, of_endpoint=endpoint_id)
    return [AttemptKey(row.sequence, row.number) for row in rows]


def close(transaction: Transaction, endpoint_id: str, session_id: str) -> None:
    """End a session at its agent's word: what it still holds is lost (started) or requeued (not)."""
    known = transaction.execute(
        sa.select(sessions.c.session_id).where(
            sessions.c.session_id == session_id, sessions.c.endpoint_id == endpoint_id
        )
    ).first()
    if known is not None:
        _end(transaction, session_id, "closed")


def tick(transaction: Transaction, lease_timeout_s: float) -> list[str]:
    """One beat of the service: expire the sessions silent for too long; returns their ids."""
    now = transaction.now
    clock = transaction.execute(sa.select(service_clock).with_for_update()).first()
    if clock is None:
        resumed_at = now
        transaction.execute(sa.insert(service_clock).values(id=1, alive_at=now, resumed_at=now))
    else:
        resumed_at = now if now - clock.alive_at > _GAP_S else clock.resumed_at
        transaction.execute(sa.update(service_clock).values(alive_at=now, resumed_at=resumed_at))
    blocks.presume_ended(transaction)
    if now - resumed_at <= lease_timeout_s:
        return []
    silent = transaction.execute(
        sa.select(sessions.c.session_id).where(
            sessions.c.state.in_(["active", "fenced"]), sessions.c.last_seen_at < now - lease_timeout_s
        )
    ).scalars()
    expired = list(silent)
    for session_id in expired:
        _end(transaction, session_id, "expired")
    return expired


def _end(transaction: Transaction, session_id: str, state: str) -> None:
    transaction.execute(sa.update(sessions).where(sessions.c.session_id == session_id).values(state=state))
    transaction.execute(sa.delete(leases).where(leases.c.session_id == session_id))
    endpoint_id = transaction.execute(
        sa.select(sessions.c.endpoint_id).where(sessions.c.session_id == session_id)
    ).scalar_one()
    message = f"Its session with the endpoint was {state}."
    settle(
        transaction,
        endpoint_id,
        [
            Settled(key, "lost" if started else "released", message=message)
            for key, started in attempts_of(transaction, session_id)
        ],
    )
    blocks.session_over(transaction, session_id, endpoint_id, message)
    transaction.changes.sessions.add(session_id)


def _gone(session_id: str) -> Conflict:
    return Conflict(
        f"The session {session_id} is over: it was silent too long, closed, or replaced by another agent.",
        fix="Open a new session.",
    )
