"""Endpoints and pools: who owns them, who may run there, what a target names."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import msgspec
import sqlalchemy as sa

from faas.errors import Conflict, InvalidRequest, NotFound
from faas.models import DEFAULT_ENVIRONMENT, Endpoint, Pool, RegisterEndpoint, RunPolicy

from . import blocks
from .database import Transaction
from .functions import is_uuid
from .identities import Principal
from .prepared import Prepared, from_json
from .requirements import EVERYBODY, UNTOLD, Offering, Requirements, offering_of
from .schema import attempts, classes, endpoints, identities, leases, pools, sessions, tasks
from .spending import spent

_SITES = sa.select(
    # not what runners said of the environments: that is long, and decides nothing
    *[column for column in endpoints.c if column.name != "environments"],
    identities.c.name.label("owner"),
).join(identities, identities.c.identity_id == endpoints.c.owner_id)
_SITE = Prepared(_SITES.where(endpoints.c.endpoint_id == sa.bindparam("wanted")))


@dataclass(frozen=True)
class Site:
    """An endpoint with what decides who may run there."""

    endpoint_id: str
    name: str
    owner_id: str
    owner: str
    policy: RunPolicy
    labels: dict[str, str] = field(default_factory=dict)
    offering: Offering | None = None
    """None before the first session: nothing is known of its workers."""
    broken: frozenset[str] = frozenset()
    """Environments in which nothing can be run now."""

    def shape_for(self, needed: Requirements) -> str | None:
        """The shape of worker that is to run a task here; None where it cannot run."""
        return (self.offering or UNTOLD).shape_for(needed)

    def works(self, environment: str) -> bool:
        """Whether tasks of this environment may be tried here now, as far as its agent has told."""
        return (environment or DEFAULT_ENVIRONMENT) not in self.broken

    def mounts(self, location: str, identity_id: str, identity: str, *, write: bool = False) -> bool:
        """Whether this identity may read (or write) what this endpoint has of a location: its owner always."""
        mount = self.offering.locations.get(location) if self.offering else None
        if mount is None:
            return False
        allowed = mount.writers if write else mount.readers
        return identity_id == self.owner_id or identity in allowed or EVERYBODY in allowed

    def lacks_locations(
        self, needed: Requirements, identity_id: str, identity: str, backed: Collection[tuple[str, str]] = ()
    ) -> tuple[str, str] | None:
        """What a task needs that is neither here nor backed by a bucket: ``reads`` or ``writes``, and the location."""
        for how, names in (("reads", needed.reads), ("writes", needed.writes)):
            for name in names:
                here = self.mounts(name, identity_id, identity, write=how == "writes")
                if not here and (how, name) not in backed:
                    return how, name
        return None

    def allows(self, identity_id: str, identity: str, function_id: str | None = None) -> bool:
        """Whether this identity may run (this function) here: the owner always, others as configured."""
        if identity_id == self.owner_id:
            return True
        allowed = self.policy.identities.get(identity)
        if allowed is None:
            return False
        return allowed.functions is None or function_id is None or function_id in allowed.functions


@dataclass(frozen=True)
class Target:
    """What a submission's ``target`` names: kind ``any``, ``endpoint`` or ``pool``, and its id or name."""

    kind: str
    reference: str


def register(transaction: Transaction, principal: Principal, request: RegisterEndpoint) -> str:
    """Create an endpoint, or update the caller's endpoint of this name; returns its id.

    Raises:
        InvalidRequest: the name is empty, too long, ``any``, or has characters that do not fit a folder name.
        Conflict: one of the caller's pools has this name.
    """
    check_name(request.name, "endpoint")
    taken = sa.select(pools.c.name).where(pools.c.owner_id == principal.identity_id, pools.c.name == request.name)
    if transaction.execute(taken).first():
        raise Conflict(f"A pool of yours is named {request.name!r}.", fix="Choose another name.", field="name")
    described = {"labels": request.labels, "description": request.description}
    mine = sa.and_(endpoints.c.owner_id == principal.identity_id, endpoints.c.name == request.name)
    known = transaction.execute(sa.select(endpoints.c.endpoint_id).where(mine)).scalar_one_or_none()
    if known is not None:
        transaction.execute(sa.update(endpoints).where(mine).values(**described))
        return str(known)
    endpoint_id = str(uuid.uuid4())
    transaction.execute(
        sa.insert(endpoints).values(
            endpoint_id=endpoint_id,
            owner_id=principal.identity_id,
            name=request.name,
            policy={},
            environments={},
            created_at=transaction.now,
            **described,
        )
    )
    return endpoint_id


def delete(transaction: Transaction, principal: Principal, reference: str) -> None:
    """Forget an endpoint that is not running.

    Raises:
        NotFound: no such endpoint of the caller's.
        Conflict: its agent is running.
    """
    site = own(transaction, principal, reference)
    here = sessions.c.endpoint_id == site.endpoint_id
    live = sa.select(sessions.c.host).where(here, sessions.c.state.in_(["active", "fenced"]))
    running = transaction.execute(live).first()
    if running:
        raise Conflict(
            f"The endpoint {site.name!r} is running on {running.host}.", fix=f"First `faas endpoint stop {site.name}`."
        )
    mine = sa.select(sessions.c.session_id).where(here)
    transaction.execute(sa.delete(leases).where(leases.c.session_id.in_(mine)))
    transaction.execute(sa.delete(sessions).where(here))
    transaction.execute(sa.delete(endpoints).where(endpoints.c.endpoint_id == site.endpoint_id))


def all_sites(transaction: Transaction, *, online: bool = False) -> dict[str, Site]:
    """Every endpoint, or every one whose agent is heard from, by id."""
    query = _SITES
    if online:
        query = query.join(sessions, sessions.c.session_id == endpoints.c.session_id).where(
            sessions.c.state == "active"
        )
    return {row.endpoint_id: _site(row) for row in transaction.execute(query)}


def site(transaction: Transaction, endpoint_id: str) -> Site:
    """One endpoint by id.

    Raises:
        NotFound: it was deleted.
    """
    rows = _SITE.rows(transaction, wanted=endpoint_id)
    if not rows:
        raise NotFound(f"There is no endpoint {endpoint_id!r}.", fix="Run `faas endpoint configure` again.")
    return _site(rows[0])


def own(transaction: Transaction, principal: Principal, reference: str) -> Site:
    """One of the caller's endpoints, by id or name.

    Raises:
        NotFound: there is none.
    """
    for candidate in usable(transaction, principal):
        mine = candidate.owner_id == principal.identity_id
        if mine and reference in (candidate.endpoint_id, candidate.name):
            return candidate
    raise _unknown(reference)


def usable(transaction: Transaction, principal: Principal) -> list[Site]:
    """The endpoints this identity may run something at."""
    return [
        candidate
        for candidate in all_sites(transaction).values()
        if candidate.allows(principal.identity_id, principal.identity)
    ]


def members(transaction: Transaction, principal: Principal, target: Target) -> list[Site]:
    """The endpoints of ``any`` or of a pool that this identity may run something at, by name."""
    candidates = sorted(usable(transaction, principal), key=lambda candidate: candidate.name)
    if target.kind == "any":
        return candidates
    pool = show_pool(transaction, principal, target.reference)
    return [candidate for candidate in candidates if in_pool(candidate, pool)]


def resolve_target(transaction: Transaction, principal: Principal, reference: str) -> Target:
    """What a target names for this caller: own names first, then endpoints that allow the caller.

    Raises:
        NotFound: neither an endpoint nor a pool the caller may use.
        Conflict: the name fits several other people's endpoints.
    """
    if reference == "any":
        return Target("any", "any")
    candidates = [c for c in usable(transaction, principal) if reference in (c.endpoint_id, c.name)]
    exact = [c for c in candidates if c.endpoint_id == reference]
    mine = [c for c in candidates if c.owner_id == principal.identity_id]
    if exact or mine:
        return Target("endpoint", (exact or mine)[0].endpoint_id)
    pool = sa.select(pools.c.name).where(pools.c.owner_id == principal.identity_id, pools.c.name == reference)
    if transaction.execute(pool).first():
        return Target("pool", reference)
    if len(candidates) > 1:
        named = ", ".join(f"{c.endpoint_id} of {c.owner}" for c in candidates)
        raise Conflict(f"The name {reference!r} fits several endpoints: {named}.", fix="Use the id.", field="target")
    if not candidates:
        raise _unknown(reference)
    return Target("endpoint", candidates[0].endpoint_id)


def shown(transaction: Transaction, principal: Principal) -> list[Endpoint]:
    """The endpoints the caller may use, with their state, by name; what they cost is told to their owner."""
    listed = usable(transaction, principal)
    if not listed:
        return []
    here = blocks.shown(transaction, [c.endpoint_id for c in listed])
    costs = spent(transaction, [c.endpoint_id for c in listed if c.owner_id == principal.identity_id])
    query = (
        sa.select(endpoints, sessions.c.host, sessions.c.pid, sessions.c.last_seen_at, sessions.c.state)
        .outerjoin(sessions, sessions.c.session_id == endpoints.c.session_id)
        .where(endpoints.c.endpoint_id.in_([c.endpoint_id for c in listed]))
    )
    rows = {row.endpoint_id: row for row in transaction.execute(query)}
    held = _counted(
        transaction,
        sa.select(attempts.c.endpoint_id, sa.func.count())
        .where(attempts.c.ended_at.is_(None))
        .group_by(attempts.c.endpoint_id),
    )
    pinned = _counted(
        transaction,
        sa.select(classes.c.target, sa.func.count())
        .join(tasks, tasks.c.class_id == classes.c.class_id)
        .where(tasks.c.state == "queued", classes.c.target_kind == "endpoint")
        .group_by(classes.c.target),
    )
    result = []
    for candidate in sorted(listed, key=lambda c: c.name):
        row = rows[candidate.endpoint_id]
        online = row.state == "active"
        result.append(
            Endpoint(
                endpoint_id=candidate.endpoint_id,
                name=candidate.name,
                owner=candidate.owner,
                status="online" if online else "offline",
                labels=candidate.labels,
                description=row.description,
                workers=row.workers if online else 0,
                idle_workers=row.idle_workers if online else 0,
                held_tasks=held.get(candidate.endpoint_id, 0),
                queued_tasks=pinned.get(candidate.endpoint_id, 0),
                last_seen_at=row.last_seen_at,
                host=row.host or "",
                pid=row.pid or 0,
                shapes=candidate.offering.shapes if candidate.offering else {},
                environments=_environments(candidate, row.environments),
                problem=row.problem or "" if online else "",
                blocks=here.get(candidate.endpoint_id, []),
                ports=row.ports or [] if online else [],
                spent=costs.get(candidate.endpoint_id),
            )
        )
    return result


def save_pool(transaction: Transaction, principal: Principal, pool: Pool) -> Pool:
    """Create a pool or replace the caller's pool of this name.

    Raises:
        InvalidRequest: a bad name, a pool that selects nothing, or one that lists another pool.
        Conflict: an endpoint of the caller's has this name.
        NotFound: a listed endpoint is unknown.
    """
    check_name(pool.name, "pool")
    if not pool.endpoints and not pool.labels:
        raise InvalidRequest("A pool needs endpoints or labels to select by.", field="endpoints")
    known = usable(transaction, principal)
    if any(c.name == pool.name and c.owner_id == principal.identity_id for c in known):
        raise Conflict(f"An endpoint of yours is named {pool.name!r}.", fix="Choose another name.", field="name")
    members = []
    for reference in pool.endpoints:
        member = resolve_target(transaction, principal, reference)
        if member.kind != "endpoint":
            raise InvalidRequest(f"{reference!r} is no endpoint.", fix="List endpoints, or labels.", field="endpoints")
        members.append(member.reference)
    delete_pool(transaction, principal, pool.name, missing_ok=True)
    transaction.execute(
        sa.insert(pools).values(owner_id=principal.identity_id, name=pool.name, endpoints=members, labels=pool.labels)
    )
    transaction.changes.work = True
    return Pool(name=pool.name, endpoints=members, labels=pool.labels, owner=principal.identity)


def list_pools(transaction: Transaction, principal: Principal) -> list[Pool]:
    """The caller's pools, by name."""
    rows = transaction.execute(sa.select(pools).where(pools.c.owner_id == principal.identity_id).order_by(pools.c.name))
    return [Pool(name=row.name, endpoints=row.endpoints, labels=row.labels, owner=principal.identity) for row in rows]


def show_pool(transaction: Transaction, principal: Principal, name: str) -> Pool:
    """One of the caller's pools.

    Raises:
        NotFound: there is none of this name.
    """
    for pool in list_pools(transaction, principal):
        if pool.name == name:
            return pool
    raise NotFound(f"There is no pool {name!r} of yours.", fix="`faas pool list` shows them.")


def delete_pool(transaction: Transaction, principal: Principal, name: str, *, missing_ok: bool = False) -> None:
    """Forget a pool; its queued tasks wait until a pool of the name exists again.

    Raises:
        NotFound: there is none of this name.
    """
    gone = transaction.execute(sa.delete(pools).where(pools.c.owner_id == principal.identity_id, pools.c.name == name))
    if not gone.rowcount and not missing_ok:
        raise NotFound(f"There is no pool {name!r} of yours.", fix="`faas pool list` shows them.")


def pool_members(transaction: Transaction) -> dict[tuple[str, str], Pool]:
    """Every pool, by owner id and name."""
    return {
        (row.owner_id, row.name): Pool(name=row.name, endpoints=row.endpoints, labels=row.labels)
        for row in transaction.execute(sa.select(pools))
    }


def in_pool(candidate: Site, pool: Pool) -> bool:
    """Whether an endpoint belongs to a pool: listed by id, or carrying all of its labels."""
    if candidate.endpoint_id in pool.endpoints:
        return True
    return bool(pool.labels) and pool.labels.items() <= candidate.labels.items()


def check_name(name: str, what: str) -> None:
    """Refuse names that cannot be told from ids and keywords, or are no folder names."""
    plain = name.replace("-", "").replace("_", "").replace(".", "").isalnum()
    if not (0 < len(name) <= 64 and name.isascii() and plain and name[0].isalnum()) or name == "any" or is_uuid(name):
        raise InvalidRequest(
            f"{name!r} is no name for {'an' if what[0] in 'aeiou' else 'a'} {what}.",
            fix="Use 1 to 64 letters, digits, '-', '_' or '.', starting with a letter or digit; not 'any' or an id.",
            field="name",
        )


def _environments(candidate: Site, reported: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    """What the runners of each environment reported, for those that are offered now."""
    if candidate.offering is None:
        return reported
    return {name: reported.get(name, {}) for name in candidate.offering.environments}


def _counted(transaction: Transaction, query: sa.Select[Any]) -> dict[str, int]:
    return {row[0]: row[1] for row in transaction.execute(query)}


def _site(row: Any) -> Site:
    return Site(
        endpoint_id=row.endpoint_id,
        name=row.name,
        owner_id=row.owner_id,
        owner=row.owner,
        policy=msgspec.convert(from_json(row.policy), RunPolicy),
        labels=from_json(row.labels),
        offering=offering_of(row.offering),
        broken=frozenset(from_json(row.broken) or ()),
    )


def _unknown(reference: str) -> NotFound:
    return NotFound(
        f"There is no endpoint or pool {reference!r} that you may use.",
        fix="`faas endpoint list` shows those you may; 'any' takes the first that is free.",
        field="target",
    )
