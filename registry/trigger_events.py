"""The ledger of triggers: each version of an object becomes a task once, however often it is told of.

An entry and its task are written in one transaction. What comes beyond a cap, or to a paused trigger, waits in the
ledger and goes in later.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID, uuid5

import msgspec
import sqlalchemy as sa

from faas.errors import FaasError
from faas.models import Dataset, EventState, Submission, Taken, TriggerEvent, UploadEvent

from . import tasks as task_registry
from .database import AnyRow, Transaction
from .prepared import Prepared, among
from .schema import tasks, trigger_events, trigger_outputs, triggers
from .triggers import Known, known, pause

FAILURES = 5
"""Tasks in a row that fail before a trigger pauses itself."""
SLICE = 500
"""Events that one transaction makes tasks of: few enough for others to wait."""
_HOUR_S = 3600.0
_MOST_DELIVERY_BYTES = 16 * 1024
_LISTED_DATASETS = 100

_INSERT = Prepared(
    sa.insert(trigger_events),
    [
        "trigger_id",
        "identity",
        "key",
        "sequencer",
        "state",
        "upload",
        "delivery",
        "manifest",
        "dataset",
        "task_id",
        "reason",
        "seen_at",
        "submitted_at",
    ],
)
_SUBMITTED = Prepared(
    sa.update(trigger_events)
    .where(trigger_events.c.trigger_id == sa.bindparam("t"), trigger_events.c.identity == sa.bindparam("i"))
    .values(state="task", task_id=sa.bindparam("task"), submitted_at=sa.bindparam("now"))
)


@dataclass(frozen=True)
class Arrival:
    """An upload that a trigger takes."""

    identity: str
    upload: UploadEvent
    dataset: str = ""
    """The dataset that it belongs to; empty where a file is one."""
    manifest: str | None = None
    """Its text, if it is a dataset's manifest."""


class Decisions(Protocol):
    """What a trigger's settings decide."""

    def submission(self, trigger: Known, task_id: str, uploads: Sequence[UploadEvent], dataset: str) -> Submission:
        """The task for an upload, or for those of a dataset; raises where there can be none."""

    def missing(self, trigger: Known, keys: Sequence[str], manifest: str | None) -> str:
        """What a dataset lacks, in words; empty when it is complete."""

    def names(self, trigger: Known, upload: UploadEvent) -> list[str]:
        """What tasks may have called the file that they wrote."""


def take(
    transaction: Transaction, trigger_id: str, arrivals: Iterable[Arrival], decisions: Decisions, *, old: bool = False
) -> Taken:
    """Write uploads into the ledger, and make tasks of them as far as the caps let.

    Args:
        transaction: the transaction.
        trigger_id: whose uploads they are.
        arrivals: any number, in any order, repeats among them.
        decisions: what the trigger's settings decide.
        old: they were there before the trigger, and are only to be known.

    Returns:
        How many were new; none once the trigger was deleted.
    """
    trigger = known(transaction, trigger_id, lock=True)
    if trigger is None:
        return Taken()
    told = {each.identity: each for each in arrivals}
    before = _known_among(transaction, trigger_id, list(told))
    new = [each for each in told.values() if each.identity not in before]
    datasets = dict.fromkeys(each.dataset for each in new if each.dataset)
    closed = _known_among(transaction, trigger_id, [_dataset_identity(name) for name in datasets])
    rows = []
    for each in sorted(new, key=lambda each: (each.upload.key, each.upload.sequencer)):
        state: EventState = "grouped" if each.dataset else "waiting"
        reason = ""
        if old:
            state, reason = "passed_over", "it was there before the trigger"
        elif each.dataset and _dataset_identity(each.dataset) in closed:
            state, reason = "passed_over", f"the dataset {each.dataset} was complete before it came"
        rows.append(_row(transaction, trigger_id, each, state, reason))
    _INSERT.run(transaction, rows)
    if datasets and not old:
        open_datasets = [name for name in datasets if _dataset_identity(name) not in closed]
        _close_datasets(transaction, trigger, open_datasets, decisions)
    admit(transaction, trigger, decisions)
    return Taken(new=len(new), repeats=len(told) - len(new))


def admit(transaction: Transaction, trigger: Known, decisions: Decisions) -> int:
    """Make tasks of what waits, the longest waiting first, as far as the caps let; returns of how many."""
    if not trigger.active:
        return 0
    mine = trigger_events.c.trigger_id == trigger.trigger_id
    query = sa.select(trigger_events).where(mine, trigger_events.c.state == "waiting")
    order = (trigger_events.c.seen_at, trigger_events.c.key, trigger_events.c.sequencer)
    room = min(_room(transaction, trigger), SLICE)
    waiting = transaction.execute(query.order_by(*order).limit(room)).all() if room > 0 else []
    submissions: dict[str, Submission] = {}
    depths: dict[str, int] = {}
    members_of = {
        row.identity: _members(transaction, trigger, row) if row.dataset else [_upload(row)] for row in waiting
    }
    known_depths = _depths(transaction, trigger, members_of.values(), decisions)
    for row in waiting:
        task_id = str(uuid5(UUID(trigger.trigger_id), row.identity))
        members = members_of[row.identity]
        try:
            depth = max(
                (known_depths.get(name, 0) for upload in members for name in decisions.names(trigger, upload)),
                default=0,
            )
            if depth >= trigger.settings.max_depth:
                _die(transaction, row, f"ancestry: {depth} triggers have led to it, and max_depth lets no more")
                continue
            submissions[row.identity] = decisions.submission(trigger, task_id, members, row.dataset or "")
            depths[task_id] = depth + 1
        except (FaasError, ValueError) as error:
            _die(transaction, row, str(error))
    if not submissions:
        return 0
    items = [task_registry.Item(index, each) for index, each in enumerate(submissions.values())]
    answer = task_registry.submit(transaction, trigger.owner, trigger.group_id, items, [])
    refused = {each.task_id: each for each in answer.refused}
    accepted = []
    for row in waiting:
        submission = submissions.get(row.identity)
        if submission is None:
            continue
        refusal = refused.get(submission.task_id)
        if refusal is not None:
            _die(transaction, row, f"{refusal.detail} {refusal.fix}".strip())
            continue
        accepted.append(
            {"t": trigger.trigger_id, "i": row.identity, "task": submission.task_id, "now": transaction.now}
        )
        _note_outputs(transaction, submission.outputs, depths[submission.task_id])
    _SUBMITTED.run(transaction, accepted)
    return len(accepted)


def proceed(transaction: Transaction, trigger_id: str, decisions: Decisions) -> int:
    """Note which tasks have ended, pause a trigger whose tasks keep failing, and make tasks of what waits.

    Returns:
        How many events became tasks.
    """
    trigger = known(transaction, trigger_id, lock=True)
    if trigger is None:
        return 0
    if _settle(transaction, trigger):
        return 0
    return admit(transaction, trigger, decisions)


def bury(transaction: Transaction, trigger_id: str, delivery: bytes, reason: str) -> None:
    """Keep a delivery that nobody can read among the dead letters, once."""
    identity = hashlib.sha256(b"delivery:" + delivery).hexdigest()
    if not _known_among(transaction, trigger_id, [identity]):
        _INSERT.run(
            transaction,
            [
                {
                    "trigger_id": trigger_id,
                    "identity": identity,
                    "key": "",
                    "sequencer": "",
                    "state": "dead",
                    "upload": None,
                    "delivery": delivery[:_MOST_DELIVERY_BYTES],
                    "manifest": None,
                    "dataset": None,
                    "task_id": None,
                    "reason": reason,
                    "seen_at": transaction.now,
                    "submitted_at": None,
                }
            ],
        )


def replay(transaction: Transaction, trigger_id: str, decisions: Decisions) -> list[bytes]:
    """Try dead letters again: uploads at once.

    Returns:
        The deliveries that could not be read; they are no dead letters any more, until somebody reads them again.
    """
    trigger = known(transaction, trigger_id, lock=True)
    if trigger is None:
        return []
    dead = (trigger_events.c.trigger_id == trigger_id) & (trigger_events.c.state == "dead")
    unread = dead & trigger_events.c.delivery.is_not(None)
    deliveries = [bytes(row.delivery) for row in transaction.execute(sa.select(trigger_events).where(unread)).all()]
    transaction.execute(sa.delete(trigger_events).where(unread))
    transaction.execute(sa.update(trigger_events).where(dead).values(state="waiting", reason=""))
    admit(transaction, trigger, decisions)
    return deliveries


def listed(transaction: Transaction, trigger_id: str, state: str = "", limit: int = 100) -> list[TriggerEvent]:
    """What became of uploads, the newest first."""
    query = sa.select(trigger_events).where(trigger_events.c.trigger_id == trigger_id)
    if state:
        query = query.where(trigger_events.c.state == state)
    rows = transaction.execute(query.order_by(trigger_events.c.seen_at.desc()).limit(limit)).all()
    return [
        TriggerEvent(
            key=row.key,
            state=row.state,
            task_id=row.task_id or "",
            dataset=row.dataset or "",
            reason=row.reason,
            seen_at=row.seen_at,
        )
        for row in rows
    ]


def incomplete(transaction: Transaction, trigger: Known, decisions: Decisions) -> list[Dataset]:
    """Datasets that are not complete, with what they lack."""
    mine = (trigger_events.c.trigger_id == trigger.trigger_id) & (trigger_events.c.state == "grouped")
    query = sa.select(trigger_events.c.dataset).where(mine).distinct().order_by(trigger_events.c.dataset)
    found = []
    for name in transaction.execute(query.limit(_LISTED_DATASETS)).scalars():
        keys, manifest = _gathered(transaction, trigger, name)
        found.append(Dataset(name=name, files=len(keys), missing=decisions.missing(trigger, keys, manifest)))
    return found


def _close_datasets(transaction: Transaction, trigger: Known, names: list[str], decisions: Decisions) -> None:
    """Let the datasets that are complete now wait for their tasks, as one event each."""
    for name in names:
        keys, manifest = _gathered(transaction, trigger, name)
        if decisions.missing(trigger, keys, manifest):
            continue
        mine = trigger_events.c.trigger_id == trigger.trigger_id
        transaction.execute(
            sa.update(trigger_events).where(mine, trigger_events.c.dataset == name).values(state="complete")
        )
        whole = Arrival(_dataset_identity(name), UploadEvent(bucket="", key=name), name)
        _INSERT.run(transaction, [_row(transaction, trigger.trigger_id, whole, "waiting", "")])


def _gathered(transaction: Transaction, trigger: Known, dataset: str) -> tuple[list[str], str | None]:
    query = sa.select(trigger_events.c.key, trigger_events.c.manifest).where(
        trigger_events.c.trigger_id == trigger.trigger_id,
        trigger_events.c.dataset == dataset,
        trigger_events.c.state == "grouped",
    )
    rows = transaction.execute(query).all()
    return [row.key for row in rows], next((row.manifest for row in rows if row.manifest is not None), None)


def _members(transaction: Transaction, trigger: Known, whole: AnyRow) -> list[UploadEvent]:
    query = sa.select(trigger_events).where(
        trigger_events.c.trigger_id == trigger.trigger_id,
        trigger_events.c.dataset == whole.dataset,
        trigger_events.c.state == "complete",
    )
    newest = {row.key: _upload(row) for row in transaction.execute(query.order_by(trigger_events.c.seen_at)).all()}
    return [newest[key] for key in sorted(newest)]


def _room(transaction: Transaction, trigger: Known) -> int:
    mine = trigger_events.c.trigger_id == trigger.trigger_id
    running = sa.select(sa.func.count()).where(mine, trigger_events.c.state == "task")
    recent = sa.select(sa.func.count()).where(mine, trigger_events.c.submitted_at > transaction.now - _HOUR_S)
    settings = trigger.settings
    return min(
        settings.concurrency_cap - int(transaction.execute(running).scalar_one()),
        settings.hourly_cap - int(transaction.execute(recent).scalar_one()),
    )


def _settle(transaction: Transaction, trigger: Known) -> bool:
    """Note which tasks have ended, in the order of their ends; returns whether the trigger pauses for it."""
    query = (
        sa.select(trigger_events.c.identity, tasks.c.task_id, tasks.c.state, tasks.c.message)
        .join(tasks, tasks.c.task_id == trigger_events.c.task_id, isouter=True)
        .where(trigger_events.c.trigger_id == trigger.trigger_id, trigger_events.c.state == "task")
        # A task that is not there any more ended, and was let go with its retention time.
        .where(sa.or_(tasks.c.ended_at.is_not(None), tasks.c.task_id.is_(None)))
        .order_by(tasks.c.end_cursor)
    )
    ended = transaction.execute(query).all()
    if not ended:
        return False
    mine = trigger_events.c.trigger_id == trigger.trigger_id
    identities = [row.identity for row in ended]
    transaction.execute(
        sa.update(trigger_events).where(mine, among(trigger_events.c.identity, identities)).values(state="ended")
    )
    this = triggers.c.trigger_id == trigger.trigger_id
    before = int(transaction.execute(sa.select(triggers.c.failures).where(this)).scalar_one())
    failures, message, worst = before, "", 0
    for row in ended:
        if row.state == "succeeded":
            failures = 0
        elif row.state not in (None, "cancelled"):
            failures, message = failures + 1, row.message or row.state
            worst = max(worst, failures)
    if failures != before:
        transaction.execute(sa.update(triggers).where(this).values(failures=failures))
    if worst < FAILURES or not trigger.active:
        return False
    pause(transaction, trigger.trigger_id, f"{worst} tasks in a row have failed; the last one: {message}"[:1000])
    return True


def _depths(
    transaction: Transaction, trigger: Known, members: Iterable[list[UploadEvent]], decisions: Decisions
) -> dict[str, int]:
    """How many triggers led to files that tasks of triggers wrote, by their names."""
    names = [name for uploads in members for upload in uploads for name in decisions.names(trigger, upload)]
    if not names:
        return {}
    query = sa.select(trigger_outputs).where(among(trigger_outputs.c.name, names))
    return {row.name: row.depth for row in transaction.execute(query).all()}


def _note_outputs(transaction: Transaction, names: list[str], depth: int) -> None:
    for name in names:
        deeper = sa.update(trigger_outputs).where(trigger_outputs.c.name == name).values(depth=depth)
        if not transaction.execute(deeper).rowcount:
            transaction.execute(sa.insert(trigger_outputs).values(name=name, depth=depth))


def _die(transaction: Transaction, row: AnyRow, reason: str) -> None:
    this = (trigger_events.c.trigger_id == row.trigger_id) & (trigger_events.c.identity == row.identity)
    transaction.execute(sa.update(trigger_events).where(this).values(state="dead", reason=reason[:1000]))


def _known_among(transaction: Transaction, trigger_id: str, identities: list[str]) -> set[str]:
    if not identities:
        return set()
    query = sa.select(trigger_events.c.identity).where(trigger_events.c.trigger_id == trigger_id)
    return set(transaction.execute(query.where(among(trigger_events.c.identity, identities))).scalars())


def _dataset_identity(name: str) -> str:
    return hashlib.sha256(b"dataset:" + name.encode("utf-8", "surrogatepass")).hexdigest()


def _row(transaction: Transaction, trigger_id: str, arrival: Arrival, state: EventState, reason: str) -> dict[str, Any]:
    return {
        "trigger_id": trigger_id,
        "identity": arrival.identity,
        "key": arrival.upload.key,
        "sequencer": arrival.upload.sequencer,
        "state": state,
        "upload": msgspec.msgpack.encode(arrival.upload),
        "delivery": None,
        "manifest": arrival.manifest,
        "dataset": arrival.dataset or None,
        "task_id": None,
        "reason": reason,
        "seen_at": transaction.now,
        "submitted_at": None,
    }


def _upload(row: AnyRow) -> UploadEvent:
    return msgspec.msgpack.decode(row.upload, type=UploadEvent)
