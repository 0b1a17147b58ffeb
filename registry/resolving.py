"""What the submissions of a batch have in common: functions, targets and classes, looked up once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import msgspec
import sqlalchemy as sa

from faas.errors import InvalidRequest, RequestRefused
from faas.models import Submission

from . import endpoints as endpoint_registry
from . import functions as function_registry
from .database import Transaction
from .identities import Principal
from .locations import Registered, backed, locations_of, registered
from .placement import check_placement
from .prepared import Prepared, Row
from .requirements import NO_REQUIREMENTS, Requirements, effective, stated
from .schema import QUEUED, attempts, classes, tasks

_MAX_TRIES = 1_000_000
_PRIORITY_BOUND = 1_000_000

BULKY_BYTES = 8 * 1024 * 1024
"""Tasks that refer to this much are held, for a moment, for a site that has a copy."""
_NO_DATA: tuple[tuple[str, ...], tuple[str, ...], bool] = ((), (), False)
CLASS_TOUCHED_S = 3600.0
"""A class says when it was used last, but no more often than this: see ``retention.drop_classes``."""

_CLASS = Prepared(sa.select(classes.c.class_id, classes.c.used_at).where(classes.c.digest == sa.bindparam("of_digest")))
_TOUCH = Prepared(
    sa.update(classes)
    .where(classes.c.class_id == sa.bindparam("of_class"))
    .values(used_at=sa.bindparam("now"))
    .returning(classes.c.class_id)
)


Bind = Callable[[str, Sequence[str], Mapping[str, int]], "str | None"]
"""Given a function, the endpoints that could run it and the unfinished tasks bound to each: the one that is to."""


class Resolver:
    """Looks up each function, target and class of a batch once.

    Args:
        transaction: the transaction.
        principal: whose tasks they are.
        bind: chooses an endpoint at once for each task whose target leaves a choice; None to leave it open.
    """

    def __init__(self, transaction: Transaction, principal: Principal, bind: Bind | None = None) -> None:
        self._transaction = transaction
        self._principal = principal
        self._bind = bind
        self._choices: dict[tuple[object, ...], _Choosing] = {}
        self._functions: dict[str, function_registry.Resolved | RequestRefused] = {}
        self._targets: dict[str, endpoint_registry.Target | RequestRefused] = {}
        self._classes: dict[tuple[str, endpoint_registry.Target, int, Requirements], int | RequestRefused] = {}
        self._rows: dict[tuple[object, ...], Row] = {}

    @property
    def named_functions(self) -> dict[str, str]:
        known = {n: found.function_id for n, found in self._functions.items() if not isinstance(found, RequestRefused)}
        return {name: function_id for name, function_id in known.items() if function_id != name}

    def common(self, submission: Submission, input_bytes: int = 0) -> Row:
        """What rows of such tasks have in common, checked and looked up once for all of a batch.

        Args:
            submission: the task.
            input_bytes: of the objects that it refers to.

        Raises:
            RequestRefused: no such task can be accepted.
        """
        needs = self._data_needs(submission) if submission.files or submission.outputs else _NO_DATA
        if input_bytes >= BULKY_BYTES:
            needs = (*needs[:2], True)
        key = (
            submission.function,
            submission.target,
            submission.environment,
            submission.priority,
            submission.timeout_s,
            submission.max_attempts,
            submission.max_losses,
            submission.idempotent,
            needs,
            *submission.resources.items(),
        )
        if key not in self._rows:
            _check_common(submission)
            function_id, default = self.function(submission.function)
            target = self.target(submission.target)
            needed = effective(default, submission.resources, submission.environment)
            if needs != _NO_DATA:
                needed = msgspec.structs.replace(needed, reads=needs[0], writes=needs[1], bulky=needs[2])
            self._rows[key] = {
                "owner_id": self._principal.identity_id,
                "class_id": self.task_class(function_id, target, submission.priority, needed),
                "function_id": function_id,
                "timeout_s": submission.timeout_s,
                "max_attempts": submission.max_attempts,
                "max_losses": submission.max_losses,
                "priority": submission.priority,
                "idempotent": submission.idempotent,
                "target": submission.target,
                "waiting_for": 0,
                "attempts": 0,
                "charged": 0,
                "losses": 0,
                "submitted_at": self._transaction.now,
            }
            if self._bind is not None and target.kind != "endpoint":
                could = self._candidates(function_id, target, needed)
                self._choices[key] = _Choosing(
                    int(self._rows[key]["class_id"]), function_id, submission.priority, needed, could
                )
        if self._bind is not None and (choosing := self._choices.get(key)) is not None and choosing.candidates:
            return {**self._rows[key], "class_id": self._bound_class(self._bind, choosing)}
        return self._rows[key]

    def _candidates(self, function_id: str, target: endpoint_registry.Target, needed: Requirements) -> list[str]:
        """The endpoints that could run a task, in a stable order; those that are heard from, where any is."""
        here = (self._principal.identity_id, self._principal.identity)
        leave = backed(needed, self.locations, self._principal.identity) if needed.reads or needed.writes else ()
        could = [
            site.endpoint_id
            for site in endpoint_registry.members(self._transaction, self._principal, target)
            if site.allows(*here, function_id)
            and site.shape_for(needed) is not None
            and site.lacks_locations(needed, *here, leave) is None
        ]
        online = endpoint_registry.all_sites(self._transaction, online=True)
        return [endpoint_id for endpoint_id in could if endpoint_id in online] or could

    def _bound_class(self, bind: Bind, choosing: _Choosing) -> int:
        """The class of a task that is bound to an endpoint now; the task's own row keeps the target that was given."""
        chosen = bind(choosing.function_id, choosing.candidates, self._backlog)
        if chosen is None:
            return choosing.class_id
        self._backlog[chosen] = self._backlog.get(chosen, 0) + 1
        target = endpoint_registry.Target("endpoint", chosen)
        return self.task_class(choosing.function_id, target, choosing.priority, choosing.needed)

    @cached_property
    def _backlog(self) -> dict[str, int]:
        return bound_backlog(self._transaction)

    def _data_needs(self, submission: Submission) -> tuple[tuple[str, ...], tuple[str, ...], bool]:
        return (
            locations_of(submission.files, self.locations, "files"),
            locations_of(submission.outputs, self.locations, "outputs"),
            False,
        )

    @cached_property
    def locations(self) -> dict[str, Registered]:
        """The registered locations."""
        return registered(self._transaction)

    def function(self, reference: str) -> function_registry.Resolved:
        if reference not in self._functions:
            try:
                self._functions[reference] = function_registry.resolve(self._transaction, self._principal, reference)
            except RequestRefused as refusal:
                self._functions[reference] = refusal
        found = self._functions[reference]
        if isinstance(found, RequestRefused):
            raise found
        return found

    def target(self, reference: str) -> endpoint_registry.Target:
        if reference not in self._targets:
            try:
                self._targets[reference] = endpoint_registry.resolve_target(
                    self._transaction, self._principal, reference
                )
            except RequestRefused as refusal:
                self._targets[reference] = refusal
        found = self._targets[reference]
        if isinstance(found, RequestRefused):
            raise found
        return found

    def task_class(
        self, function_id: str, target: endpoint_registry.Target, priority: int, needed: Requirements
    ) -> int:
        key = (function_id, target, priority, needed)
        if key not in self._classes:
            try:
                self._classes[key] = self._class(function_id, target, priority, needed)
            except RequestRefused as refusal:
                self._classes[key] = refusal
        found = self._classes[key]
        if isinstance(found, RequestRefused):
            raise found
        return found

    def _class(self, function_id: str, target: endpoint_registry.Target, priority: int, needed: Requirements) -> int:
        owner_id = self._principal.identity_id
        texts = [owner_id, function_id, target.kind, target.reference, str(priority)]
        if needed.text:
            texts.append(needed.text)
        digest = hashlib.sha256("\n".join(texts).encode()).hexdigest()
        found = self._used(digest)
        # What needs nothing special is looked at when first seen; afterwards it is spared the look at every endpoint.
        if found is None or target.kind == "endpoint" or needed != NO_REQUIREMENTS:
            leave = backed(needed, self.locations, self._principal.identity) if needed.reads or needed.writes else ()
            check_placement(self._transaction, self._principal, function_id, target, needed, leave)
        if found is None:
            found = self._transaction.execute(
                sa.insert(classes)
                .values(
                    digest=digest,
                    owner_id=owner_id,
                    function_id=function_id,
                    target_kind=target.kind,
                    target=target.reference,
                    priority=priority,
                    requirements=needed.text,
                    used_at=self._transaction.now,
                )
                .returning(classes.c.class_id)
            ).scalar_one()
        return int(found)

    def _used(self, digest: str) -> int | None:
        """The class, marked as used, so that it is not dropped before its tasks are there."""
        for row in _CLASS.rows(self._transaction, of_digest=digest):
            now = self._transaction.now
            if now - row.used_at < CLASS_TOUCHED_S or _TOUCH.rows(self._transaction, of_class=row.class_id, now=now):
                return int(row.class_id)
        return None


@dataclass(frozen=True)
class _Choosing:
    """What tasks have in common that are bound one by one."""

    class_id: int
    """Of those that are left open."""
    function_id: str
    priority: int
    needed: Requirements
    candidates: list[str]


def bound_backlog(transaction: Transaction) -> dict[str, int]:
    """Unfinished tasks by endpoint: those that it was granted, and those queued for it alone."""
    granted = (
        sa.select(attempts.c.endpoint_id, sa.func.count())
        .where(attempts.c.ended_at.is_(None))
        .group_by(attempts.c.endpoint_id)
    )
    queued = (
        sa.select(classes.c.target, sa.func.count())
        .join(tasks, tasks.c.class_id == classes.c.class_id)
        .where(classes.c.target_kind == "endpoint", tasks.c.state == QUEUED)
        .group_by(classes.c.target)
    )
    found: dict[str, int] = {}
    for query in (granted, queued):
        for endpoint_id, count in transaction.execute(query):
            found[endpoint_id] = found.get(endpoint_id, 0) + count
    return found


def _check_common(submission: Submission) -> None:
    """Refuse what is wrong with every task like this one."""
    for field in ("function", "target"):
        if "\x00" in getattr(submission, field):
            raise InvalidRequest(f"{field} cannot hold a NUL character.", field=field)
    for field, least in (("max_attempts", 1), ("max_losses", 0)):
        if not least <= getattr(submission, field) <= _MAX_TRIES:
            raise InvalidRequest(f"{field} must lie within {least} and {_MAX_TRIES:,}.", field=field)
    if submission.timeout_s is not None and not 0 < submission.timeout_s < 1e9:
        raise InvalidRequest(
            f"timeout_s is {submission.timeout_s}.", fix="Give seconds above 0, or leave it out.", field="timeout_s"
        )
    if abs(submission.priority) > _PRIORITY_BOUND:
        raise InvalidRequest(f"priority must lie within ±{_PRIORITY_BOUND}.", field="priority")
    stated(submission.resources, submission.environment)
