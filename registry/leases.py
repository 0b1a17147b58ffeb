"""Leases: tasks of chosen classes, first in first out, granted to a session as attempts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import msgspec
import sqlalchemy as sa

from faas.errors import Conflict
from faas.models import DEFAULT_ENVIRONMENT, DEFAULT_SHAPE, AttemptKey, Pool

from .database import Transaction
from .endpoints import Site, all_sites, in_pool, pool_members, site
from .holdings import holders
from .identities import list_identities
from .locations import Registered, backed, registered
from .prepared import Prepared, among, from_json
from .requirements import requirements_of
from .schema import QUEUED, attempts, classes, identities, leases, objects, tasks
from .sessions import heard, is_active

MAX_LEASE_BYTES = 16 * 1024 * 1024
"""Payload bytes in one answer, roughly; at least one task is always granted."""
_CANDIDATES = 200
"""Tasks of a class with much data that are looked at for those whose data is here."""
COUNTED = 2_000
"""Queued tasks of a class are counted this far: as many as a lease holds."""


@dataclass(frozen=True)
class QueuedClass:
    """A class with tasks waiting: what a policy chooses among."""

    class_id: int
    owner_id: str
    function_id: str
    priority: int
    head: int
    """Sequence of its first task: the smaller, the longer it waits."""
    queued: int
    """How many of its tasks are queued, counted up to ``COUNTED``."""
    shape: str = DEFAULT_SHAPE
    """The shape of worker that is to run them at this endpoint."""
    environment: str = DEFAULT_ENVIRONMENT
    local: bool = True
    """Whether the endpoint has all the locations its tasks need on its own file systems."""
    local_elsewhere: bool = False
    """Whether it has not, and another endpoint with workers, which may run them, has."""
    waited_s: float = 0.0
    """How long its first task has waited, where it has not got them."""
    bulky: bool = False
    """Whether its tasks refer to so much data that it matters where a copy is."""


@dataclass(frozen=True)
class Candidate:
    """A waiting task of a class that refers to much data."""

    sequence: int
    waited_s: float
    here_bytes: int
    """Of its data, what the asking endpoint's cache holds."""
    elsewhere_bytes: int
    """The most that the cache of another endpoint with workers holds, which may run it."""


@dataclass(frozen=True)
class Share:
    """A policy's word: take up to this many tasks of this class."""

    class_id: int
    tasks: int


class Granted(msgspec.Struct, frozen=True, gc=False):
    """A task granted to a session, as its agent needs it."""

    key: AttemptKey
    task_id: str
    owner_id: str
    owner: str
    function_id: str
    payload: bytes
    argument_object: str | None
    objects: list[str]
    files: list[str]
    outputs: list[str]
    timeout_s: float | None
    idempotent: bool
    losses: int
    depends: bool
    """Whether its arguments refer to other tasks' results."""
    shape: str
    environment: str


Choose = Callable[[Site, list[QueuedClass]], list[Share]]
"""Given the endpoint and the classes it may run, what to take, in order."""
Pick = Callable[[list[Candidate], int], list[int]]
"""Given tasks that wait, in their order, and how many to take: the sequences of those to take."""


def first_come(candidates: list[Candidate], count: int) -> list[int]:
    """Tasks in their order, wherever their data is."""
    return [each.sequence for each in candidates[:count]]


Wanted = Callable[[Site, list[QueuedClass]], bool]
"""Given the endpoint and the classes it may run, whether it would take anything."""


def lease(
    transaction: Transaction,
    endpoint_id: str,
    session_id: str,
    number: int,
    max_tasks: int,
    choose: Choose,
    pick: Pick = first_come,
) -> list[Granted]:
    """Grant work to a session; the same number again gets the same answer.

    Raises:
        Conflict: the session is over, or the number is older than the last one answered.
    """
    heard(transaction, endpoint_id, session_id)
    before = next(iter(_LAST.rows(transaction, of_session=session_id)), None)
    if before is not None and before.number >= number:
        if before.number > number:
            raise Conflict(f"Lease {number} was answered long ago; the last one is {before.number}.", field="number")
        known = _rows(transaction, msgspec.msgpack.decode(before.attempts, type=list[AttemptKey]))
        again = list(known)
        return _granted(again, list(known.values()), _places(transaction, endpoint_id, again))
    here = site(transaction, endpoint_id)
    queue = _Queue.of(transaction)
    waiting = queue.seen_from(here)
    rows: list[Any] = []
    room_bytes = MAX_LEASE_BYTES
    bulky = {each.class_id for each in waiting if each.bulky}
    for share in choose(here, waiting):
        count = min(share.tasks, max_tasks - len(rows))
        if count > 0 and room_bytes > 0:
            if share.class_id in bulky:
                rivals = queue.rivals(here, share.class_id)
                taken = _take_near(transaction, here, rivals, share.class_id, count, room_bytes, pick)
            else:
                taken = _take(transaction, share.class_id, count, room_bytes)
            rows += taken
            room_bytes -= sum(len(row.payload) for row in taken)
    keys = [AttemptKey(row.sequence, row.attempts + 1) for row in rows]
    if keys:
        _record(transaction, endpoint_id, session_id, number, keys)
    return _granted(keys, rows, {each.class_id: (each.shape, each.environment) for each in waiting})


def held(transaction: Transaction, endpoint_id: str, session_id: str, attempt: AttemptKey) -> Granted:
    """A task that a session holds, as it was granted.

    Raises:
        Conflict: it does not hold it (any more).
    """
    live = transaction.execute(
        sa.select(attempts.c.sequence).where(
            attempts.c.sequence == attempt.sequence,
            attempts.c.number == attempt.number,
            attempts.c.endpoint_id == endpoint_id,
            attempts.c.session_id == session_id,
            attempts.c.ended_at.is_(None),
        )
    ).first()
    if live is None:
        raise Conflict(f"The attempt {attempt.sequence}.{attempt.number} is not held by this session.", field="attempt")
    return _granted(
        [attempt], list(_rows(transaction, [attempt]).values()), _places(transaction, endpoint_id, [attempt])
    )[0]


def has_work(transaction: Transaction, endpoint_id: str, session_id: str, number: int, wanted: Wanted) -> bool:
    """Whether ``lease`` would find something to say: tasks that may run there, a repeat to answer, or a refusal."""
    before = next(iter(_LAST.rows(transaction, of_session=session_id)), None)
    if before is not None and before.number >= number:
        return True
    if not is_active(transaction, endpoint_id, session_id):
        return True
    here = site(transaction, endpoint_id)
    return wanted(here, eligible(transaction, here))


def eligible(transaction: Transaction, here: Site) -> list[QueuedClass]:
    """The classes with queued tasks that this endpoint may run."""
    return _Queue.of(transaction).seen_from(here)


def eligible_everywhere(transaction: Transaction) -> dict[str, list[QueuedClass]]:
    """The classes with queued tasks that each endpoint may run whose agent is heard from, by endpoint."""
    queue = _Queue.of(transaction)
    return {endpoint_id: queue.at(here) for endpoint_id, here in all_sites(transaction, online=True).items()}


class _Queue:
    """The classes with queued tasks, and what decides where they may run; each read once, when it is asked for."""

    def __init__(self, transaction: Transaction, waiting: list[Any]) -> None:
        self._transaction = transaction
        self._waiting = waiting
        self._needs = {row.class_id: requirements_of(row.requirements) for row in waiting}

    @classmethod
    def of(cls, transaction: Transaction) -> _Queue:
        return cls(transaction, [row for row in _CLASSES.rows(transaction) if row.head is not None])

    @cached_property
    def _names(self) -> dict[str, str]:
        return list_identities(self._transaction)

    @cached_property
    def _pools(self) -> dict[tuple[str, str], Pool]:
        return pool_members(self._transaction)

    @cached_property
    def _locations(self) -> dict[str, Registered]:
        return registered(self._transaction)

    def at(self, here: Site) -> list[QueuedClass]:
        """Those that this endpoint may run, as far as that can be said without a look at the others."""
        found = []
        for row in self._waiting:
            if row.target_kind == "endpoint" and row.target != here.endpoint_id:
                continue
            if row.target_kind == "pool":
                pool = self._pools.get((row.owner_id, row.target))
                if pool is None or not in_pool(here, pool):
                    continue
            needed = self._needs[row.class_id]
            shape = here.shape_for(needed)
            if shape is None or not here.works(needed.environment):
                continue
            own = row.owner_id == here.owner_id
            local = True
            if needed.reads or needed.writes:
                owner = self._names.get(row.owner_id, "")
                leave = backed(needed, self._locations, owner)
                if here.lacks_locations(needed, row.owner_id, owner, leave) is not None:
                    continue
                local = here.lacks_locations(needed, row.owner_id, owner) is None
            if own or here.allows(row.owner_id, self._names.get(row.owner_id, ""), row.function_id):
                found.append(
                    QueuedClass(
                        row.class_id,
                        row.owner_id,
                        row.function_id,
                        row.priority,
                        row.head,
                        row.queued,
                        shape,
                        needed.environment or DEFAULT_ENVIRONMENT,
                        local,
                        bulky=needed.bulky,
                    )
                )
        return found

    def seen_from(self, here: Site) -> list[QueuedClass]:
        """The same, and of those whose files are not here, whether another endpoint has them."""
        found = self.at(here)
        heads = [each.head for each in found if not each.local]
        if not heads:
            return found
        query = sa.select(tasks.c.sequence, tasks.c.submitted_at).where(among(tasks.c.sequence, heads))
        since = {row.sequence: row.submitted_at for row in self._transaction.execute(query)}
        now = self._transaction.now
        return [
            each
            if each.local
            else replace(
                each,
                local_elsewhere=any(other.local for other in self.rivals(here, each.class_id).values()),
                waited_s=now - since.get(each.head, now),
            )
            for each in found
        ]

    def rivals(self, here: Site, class_id: int) -> dict[str, QueuedClass]:
        """The other endpoints with workers that may run a class, and how it looks from there."""
        return {
            endpoint_id: seen[class_id]
            for endpoint_id, seen in self._elsewhere.items()
            if endpoint_id != here.endpoint_id and class_id in seen
        }

    @cached_property
    def _elsewhere(self) -> dict[str, dict[int, QueuedClass]]:
        return {
            endpoint_id: {each.class_id: each for each in self.at(other)}
            for endpoint_id, other in all_sites(self._transaction, online=True).items()
            if other.workers
        }


def count_queued(transaction: Transaction) -> dict[int, int]:
    """Class ids to how many of their tasks are queued."""
    query = sa.select(tasks.c.class_id, sa.func.count()).where(tasks.c.state == QUEUED).group_by(tasks.c.class_id)
    return {row[0]: row[1] for row in transaction.execute(query)}


_LAST = Prepared(
    sa.select(leases.c.number, leases.c.attempts)
    .where(leases.c.session_id == sa.bindparam("of_session"))
    .order_by(leases.c.number.desc())
    .limit(1)
    .with_for_update()
)
_head = (
    sa.select(sa.func.min(tasks.c.sequence))
    .where(tasks.c.class_id == classes.c.class_id, tasks.c.state == QUEUED)
    .scalar_subquery()
)
_some = (
    sa.select(tasks.c.sequence)
    .where(tasks.c.class_id == classes.c.class_id, tasks.c.state == QUEUED)
    .limit(sa.literal(COUNTED, literal_execute=True))
    .correlate(classes)
    .subquery()
)
_queued = sa.select(sa.func.count()).select_from(_some).scalar_subquery()
_CLASSES = Prepared(sa.select(classes, _head.label("head"), _queued.label("queued")))
_ENVELOPE = sa.select(
    tasks.c.sequence,
    tasks.c.class_id,
    tasks.c.attempts,
    tasks.c.task_id,
    tasks.c.owner_id,
    tasks.c.function_id,
    tasks.c.payload,
    tasks.c.argument_object,
    tasks.c.objects,
    tasks.c.files,
    tasks.c.outputs,
    tasks.c.timeout_s,
    tasks.c.idempotent,
    tasks.c.losses,
    tasks.c.submitted_at,
    tasks.c.parents,
    identities.c.name.label("owner"),
).join(identities, identities.c.identity_id == tasks.c.owner_id)
_FIRST = Prepared(
    _ENVELOPE.where(tasks.c.class_id == sa.bindparam("of_class"), tasks.c.state == QUEUED)
    .order_by(tasks.c.sequence)
    .limit(sa.bindparam("at_most"))
    .with_for_update(skip_locked=True, of=tasks)
)
_GRANT = Prepared(
    sa.insert(attempts),
    ["sequence", "number", "endpoint_id", "session_id", "lease_number", "state", "leased_at"],
)

_LEASE = Prepared(
    sa.update(tasks).where(among(tasks.c.sequence, "sequences")).values(state="leased", attempts=tasks.c.attempts + 1)
)
_FORGET = Prepared(sa.delete(leases).where(leases.c.session_id == sa.bindparam("of_session")))
_REMEMBER = Prepared(sa.insert(leases), ["session_id", "number", "attempts"])


def _take(transaction: Transaction, class_id: int, count: int, room_bytes: int) -> list[Any]:
    return _fitting(_FIRST.rows(transaction, of_class=class_id, at_most=count), room_bytes)


def _fitting(rows: Iterable[Any], room_bytes: int) -> list[Any]:
    """As many tasks from the front as fit into an answer; one in any case."""
    taken: list[Any] = []
    for row in rows:
        if taken and len(row.payload) > room_bytes:
            break
        taken.append(row)
        room_bytes -= len(row.payload)
    return taken


def _take_near(
    transaction: Transaction,
    here: Site,
    rivals: Collection[str],
    class_id: int,
    count: int,
    room_bytes: int,
    pick: Pick,
) -> list[Any]:
    """Of the first tasks of a class, those that are to run where their data is, and not at one of the rivals."""
    rows = _FIRST.rows(transaction, of_class=class_id, at_most=max(count, _CANDIDATES))
    named = {row.sequence: from_json(row.objects) or [] for row in rows}
    query = sa.select(objects.c.object_id, objects.c.sha256, objects.c.size_bytes).where(
        among(objects.c.object_id, sorted({object_id for listed in named.values() for object_id in listed})),
        objects.c.sha256.is_not(None),
    )
    known = {row.object_id: (row.sha256, row.size_bytes or 0) for row in transaction.execute(query)}
    held = holders(transaction, (digest for digest, _ in known.values()))
    candidates = []
    for row in rows:
        bytes_at: dict[str, int] = {}
        for object_id in named[row.sequence]:
            digest, size_bytes = known.get(object_id, ("", 0))
            for endpoint_id in held.get(digest, ()):
                bytes_at[endpoint_id] = bytes_at.get(endpoint_id, 0) + size_bytes
        candidates.append(
            Candidate(
                sequence=row.sequence,
                waited_s=transaction.now - row.submitted_at,
                here_bytes=bytes_at.get(here.endpoint_id, 0),
                elsewhere_bytes=max((bytes_at.get(rival, 0) for rival in rivals), default=0),
            )
        )
    by_sequence = {row.sequence: row for row in rows}
    return _fitting((by_sequence[sequence] for sequence in pick(candidates, count)), room_bytes)


def _rows(transaction: Transaction, keys: list[AttemptKey]) -> dict[AttemptKey, Any]:
    """Tasks granted before; those whose retention time is over by now are left out."""
    query = _ENVELOPE.where(among(tasks.c.sequence, [key.sequence for key in keys]))
    found = {row.sequence: row for row in transaction.execute(query).all()}
    return {key: found[key.sequence] for key in keys if key.sequence in found}


def _record(transaction: Transaction, endpoint_id: str, session_id: str, number: int, keys: list[AttemptKey]) -> None:
    _GRANT.run(
        transaction,
        [
            {
                "sequence": key.sequence,
                "number": key.number,
                "endpoint_id": endpoint_id,
                "session_id": session_id,
                "lease_number": number,
                "state": "leased",
                "leased_at": transaction.now,
            }
            for key in keys
        ],
    )
    _LEASE.change(transaction, sequences=[key.sequence for key in keys])
    _FORGET.change(transaction, of_session=session_id)
    _REMEMBER.run(transaction, [{"session_id": session_id, "number": number, "attempts": msgspec.msgpack.encode(keys)}])


def _places(transaction: Transaction, endpoint_id: str, keys: list[AttemptKey]) -> dict[int, tuple[str, str]]:
    """Where tasks granted before are to run: as decided then, for a session's shapes do not change."""
    here = site(transaction, endpoint_id)
    query = (
        sa.select(classes.c.class_id, classes.c.requirements)
        .join(tasks, tasks.c.class_id == classes.c.class_id)
        .where(among(tasks.c.sequence, [key.sequence for key in keys]))
        .distinct()
    )
    needed = {row.class_id: requirements_of(row.requirements) for row in transaction.execute(query).all()}
    return {
        class_id: (here.shape_for(each) or DEFAULT_SHAPE, each.environment or DEFAULT_ENVIRONMENT)
        for class_id, each in needed.items()
    }


def _granted(keys: list[AttemptKey], rows: list[Any], places: dict[int, tuple[str, str]]) -> list[Granted]:
    return [
        Granted(
            key=key,
            task_id=row.task_id,
            owner_id=row.owner_id,
            owner=row.owner,
            function_id=row.function_id,
            payload=row.payload,
            argument_object=row.argument_object,
            objects=from_json(row.objects) or [],
            files=from_json(row.files) or [],
            outputs=from_json(row.outputs) or [],
            timeout_s=row.timeout_s,
            idempotent=bool(row.idempotent),
            losses=row.losses,
            depends=row.parents > 0,
            shape=places[row.class_id][0],
            environment=places[row.class_id][1],
        )
        for key, row in zip(keys, rows, strict=True)
    ]
