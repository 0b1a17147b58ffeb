"""Submission: batches become durable tasks, item by item, each repeatable by its id."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

import msgspec
import sqlalchemy as sa

from faas.errors import Conflict, InvalidRequest, NotFound, RequestRefused
from faas.models import TERMINAL_STATES, Refusal, Submission, SubmitResponse

from . import objects as object_registry
from .database import Transaction
from .endings import End, finish, why_not
from .identities import Principal
from .object_uses import use
from .prepared import Prepared, Row, among
from .resolving import Bind, Resolver
from .schema import dependencies, groups, task_tags, tasks

_MAX_TAGS = 32
_MAX_REFERENCES = 10_000
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")

_INSERT = Prepared(
    sa.insert(tasks),
    [
        "task_id",
        "owner_id",
        "group_id",
        "class_id",
        "function_id",
        "state",
        "digest",
        "payload",
        "argument_object",
        "objects",
        "files",
        "outputs",
        "input_bytes",
        "timeout_s",
        "max_attempts",
        "max_losses",
        "priority",
        "idempotent",
        "target",
        "tags",
        "retry_of",
        "parents",
        "waiting_for",
        "attempts",
        "charged",
        "losses",
        "submitted_at",
    ],
)
_TAG = Prepared(sa.insert(task_tags), ["key", "value", "sequence"])
_LINK = Prepared(sa.insert(dependencies), ["parent", "child"])
_DIGESTS = Prepared(sa.select(tasks.c.task_id, tasks.c.owner_id, tasks.c.digest).where(among(tasks.c.task_id, "ids")))
_GROUP_OWNER = Prepared(
    sa.select(groups.c.owner_id)
    .where(groups.c.group_id == sa.bindparam("of_group"))
    # No group is dropped while tasks are being added to it; who counts its ends is not held up.
    .with_for_update(read=True, key_share=True)
)
_WAIT = Prepared(
    sa.update(tasks)
    .where(tasks.c.sequence == sa.bindparam("s"))
    .values(waiting_for=sa.bindparam("waiting"), state=sa.bindparam("to_state"))
)


@dataclass(frozen=True)
class Item:
    """A decoded submission and its place in the batch."""

    index: int
    submission: Submission


def submit(
    transaction: Transaction,
    principal: Principal,
    group_id: str,
    items: list[Item],
    refused: list[Refusal],
    bind: Bind | None = None,
) -> SubmitResponse:
    """Accept what can be accepted of a batch; what cannot is listed with its reason.

    The same id with the same content is a repeat and counts as accepted; with other content it is refused (409).

    Args:
        transaction: the transaction.
        principal: the owner of the new tasks.
        group_id: the task group; created on first use.
        items: well-formed items.
        refused: items already refused while they were decoded.
        bind: chooses an endpoint for each task at once, for policies that bind early.

    Raises:
        InvalidRequest: the group id is no UUID.
        Conflict: the group is another identity's.
    """
    _check_uuid(group_id, "group_id")
    _ensure_group(transaction, principal, group_id)
    refused = list(refused)
    items = _well_formed(items, refused)
    resolver = Resolver(transaction, principal, bind)
    known = _known_digests(transaction, [item.submission.task_id for item in items])
    parents_known = _known_digests(
        transaction, sorted({parent for item in items for parent in item.submission.dependencies})
    )
    new: list[Row] = []
    parents: dict[str, list[str]] = {}
    accepted = 0
    for item in items:
        submission = item.submission
        digest = _digest(submission)
        try:
            before = known.get(submission.task_id)
            if before is not None:
                if before != (principal.identity_id, digest):
                    raise Conflict(
                        f"The task id {submission.task_id} is in use for something else.",
                        fix="Make a new UUID for every task.",
                        field="task_id",
                    )
            else:
                _check_parents(principal, submission, known, parents_known)
                new.append(_row(transaction, principal, group_id, submission, digest, resolver))
                known[submission.task_id] = (principal.identity_id, digest)
                if submission.dependencies:
                    parents[submission.task_id] = submission.dependencies
            accepted += 1
        except RequestRefused as refusal:
            refused.append(_refusal(item, refusal))
    if new:
        _INSERT.run(transaction, new)
        _add_tags(transaction, new)
        _keep_argument_objects(transaction, new)
        _add_dependencies(transaction, group_id, parents)
        transaction.changes.work = True
    return SubmitResponse(
        group_id=group_id,
        accepted=accepted,
        refused=sorted(refused, key=lambda refusal: refusal.index),
        functions=resolver.named_functions,
    )


def _row(
    transaction: Transaction,
    principal: Principal,
    group_id: str,
    submission: Submission,
    digest: bytes,
    resolver: Resolver,
) -> Row:
    input_bytes = None
    if submission.objects or submission.argument_object:
        input_bytes = _referred_bytes(transaction, principal, submission)
    common = resolver.common(submission, input_bytes or 0)
    return {
        **common,
        "task_id": submission.task_id,
        "group_id": group_id,
        "state": "waiting" if submission.dependencies else "queued",
        "digest": digest,
        "payload": submission.payload,
        "argument_object": submission.argument_object or None,
        "objects": submission.objects or None,
        "files": submission.files or None,
        "outputs": submission.outputs or None,
        "input_bytes": input_bytes,
        "tags": submission.tags or None,
        "retry_of": submission.retry_of or None,
        "parents": len(submission.dependencies),
    }


def _well_formed(items: list[Item], refused: list[Refusal]) -> list[Item]:
    """The items whose texts and numbers may go into statements; the others join the refused."""
    good = []
    for item in items:
        try:
            _check(item.submission)
        except InvalidRequest as refusal:
            refused.append(_refusal(item, refusal))
        else:
            good.append(item)
    return good


def _check(submission: Submission) -> None:
    """Refuse what is wrong with this task alone."""
    _check_uuid(submission.task_id, "task_id")
    if submission.retry_of:
        _check_uuid(submission.retry_of, "retry_of")
    for parent in submission.dependencies:
        _check_uuid(parent, "dependencies")
    if "\x00" in submission.argument_object:
        raise InvalidRequest("argument_object cannot hold a NUL character.", field="argument_object")
    for field in ("objects", "files", "outputs"):
        named: list[str] = getattr(submission, field)
        if len(named) > _MAX_REFERENCES:
            raise InvalidRequest(
                f"A task refers to at most {_MAX_REFERENCES:,} {field}.",
                fix="Put what belongs together into one, or split the task.",
                field=field,
            )
        if any("\x00" in name for name in named):
            raise InvalidRequest(f"{field} cannot hold a NUL character.", field=field)
    if submission.tags:
        if len(submission.tags) > _MAX_TAGS or any(len(k) + len(v) > 500 for k, v in submission.tags.items()):
            raise InvalidRequest(f"A task has at most {_MAX_TAGS} tags of 500 characters.", field="tags")
        if any("\x00" in text for pair in submission.tags.items() for text in pair):
            raise InvalidRequest("A tag cannot hold a NUL character.", field="tags")
    if submission.payload and submission.argument_object:
        raise InvalidRequest("Give payload or argument_object, not both.", field="argument_object")


def _referred_bytes(transaction: Transaction, principal: Principal, submission: Submission) -> int:
    """Check that the objects a task refers to may be referred to; returns their size."""
    wanted = [*submission.objects, *([submission.argument_object] if submission.argument_object else [])]
    return sum(object_registry.own(transaction, principal, object_id).size_bytes or 0 for object_id in wanted)


def _check_parents(principal: Principal, submission: Submission, *known: dict[str, tuple[str, bytes]]) -> None:
    for parent in submission.dependencies:
        if not any(tasks_known.get(parent, ("",))[0] == principal.identity_id for tasks_known in known):
            raise NotFound(
                f"It depends on task {parent!r}, which you have not submitted.",
                fix="Submit a task before, or in the batch in front of, those that need its result.",
                field="dependencies",
            )


def _check_uuid(text: str, field: str) -> None:
    if not _UUID.fullmatch(text):
        raise InvalidRequest(
            f"{text[:80]!r} is no UUID in the form xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx, lower case.", field=field
        )


def _digest(submission: Submission) -> bytes:
    return hashlib.sha256(msgspec.msgpack.encode(submission)).digest()


def _known_digests(transaction: Transaction, task_ids: list[str]) -> dict[str, tuple[str, bytes]]:
    if not task_ids:
        return {}
    rows = _DIGESTS.rows(transaction, ids=task_ids)
    return {row.task_id: (row.owner_id, bytes(row.digest)) for row in rows}


def _ensure_group(transaction: Transaction, principal: Principal, group_id: str) -> None:
    owner = next((row.owner_id for row in _GROUP_OWNER.rows(transaction, of_group=group_id)), None)
    if owner is None:
        transaction.execute(
            sa.insert(groups).values(
                group_id=group_id,
                owner_id=principal.identity_id,
                cursor=_last_sequence(transaction),
                created_at=transaction.now,
            )
        )
    elif owner != principal.identity_id:
        raise Conflict(f"The task group {group_id} is another identity's.", fix="Make a new UUID.", field="group_id")


def _last_sequence(transaction: Transaction) -> int:
    """The last number any task got: where a group begins to count.

    A group that was dropped, empty, and is used again so counts on from above what its readers have seen: it has
    counted at most as many ends as there were tasks.
    """
    if transaction.is_sqlite:
        query = "SELECT max(seq) FROM sqlite_sequence WHERE name = 'tasks'"
    else:
        query = "SELECT pg_sequence_last_value('tasks_sequence_seq'::regclass)"
    return int(transaction.execute(sa.text(query)).scalar() or 0)


def _add_tags(transaction: Transaction, new: list[Row]) -> None:
    tagged = {str(row["task_id"]): row["tags"] for row in new if row["tags"]}
    if not tagged:
        return
    numbers = sequences(transaction, list(tagged))
    _TAG.run(
        transaction,
        [
            {"key": key, "value": value, "sequence": numbers[task_id]}
            for task_id, tags in tagged.items()
            for key, value in tags.items()
        ],
    )


def _keep_argument_objects(transaction: Transaction, new: list[Row]) -> None:
    named = {
        str(row["task_id"]): [*(row["objects"] or ()), *([row["argument_object"]] if row["argument_object"] else [])]
        for row in new
        if row["objects"] or row["argument_object"]
    }
    if named:
        numbers = sequences(transaction, list(named))
        use(transaction, ((each, numbers[task_id]) for task_id, wanted in named.items() for each in wanted))


def _add_dependencies(transaction: Transaction, group_id: str, parents: dict[str, list[str]]) -> None:
    """Link children to parents under the parents' locks, so that no end falls in between."""
    if not parents:
        return
    wanted = sorted({parent for named in parents.values() for parent in named})
    query = sa.select(tasks.c.sequence, tasks.c.task_id, tasks.c.state, tasks.c.message).order_by(tasks.c.sequence)
    query = query.where(among(tasks.c.task_id, wanted)).with_for_update()
    found = {row.task_id: row for row in transaction.execute(query).all()}
    children = sequences(transaction, list(parents))
    links: list[Row] = []
    waits: list[Row] = []
    ends: list[End] = []
    for child_id, named in parents.items():
        child = children[child_id]
        unfinished = 0
        broken = ""
        for parent_id in dict.fromkeys(named):
            parent = found.get(parent_id)
            if parent is None:  # it went just now, with its retention time
                broken = broken or f"It depends on task {parent_id}, whose result is not kept any longer."
                continue
            links.append({"parent": parent.sequence, "child": child})
            if parent.state not in TERMINAL_STATES:
                unfinished += 1
            elif parent.state != "succeeded":
                broken = broken or why_not(parent_id, parent.state, parent.message or "")
        if broken:
            ends.append(End(child, group_id, "dependency_failed", message=broken))
        waits.append({"s": child, "waiting": unfinished, "to_state": "waiting" if unfinished else "queued"})
    _LINK.run(transaction, links)
    _WAIT.run(transaction, waits)
    finish(transaction, ends)


def sequences(transaction: Transaction, task_ids: list[str]) -> dict[str, int]:
    """Task ids to the service's sequence numbers."""
    query = sa.select(tasks.c.task_id, tasks.c.sequence).where(among(tasks.c.task_id, task_ids))
    return {row.task_id: row.sequence for row in transaction.execute(query).all()}


def _refusal(item: Item, refusal: RequestRefused) -> Refusal:
    return Refusal(
        index=item.index,
        task_id=item.submission.task_id,
        status=refusal.status,
        detail=refusal.detail,
        fix=refusal.fix,
        field=f"tasks[{item.index}].{refusal.field}" if refusal.field else f"tasks[{item.index}]",
    )
