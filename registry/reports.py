"""Reports of agents: every outcome is counted once or dropped, and its result's place is checked."""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa

from faas.models import TERMINAL_STATES, AttemptKey, Outcome

from . import object_uses, objects
from .attempts import Facts, Settled, load, settle
from .database import Transaction
from .endpoints import site
from .identities import list_identities
from .outcomes import MAX_HANDOUTS
from .prepared import among
from .schema import tasks

_OWN = ("exception", "crash")
"""Kinds of failures that may be of an endpoint's making, though the task's own code showed them."""


def named_segments(
    transaction: Transaction, endpoint_id: str, outcomes: list[Outcome], *, hold: bool = False
) -> dict[str, objects.StoredObject]:
    """The segments a report points into that this endpoint was granted; ``hold`` as in ``segments_granted``."""
    named = {o.location.object_id for o in outcomes if o.location is not None}
    return objects.segments_granted(transaction, endpoint_id, named, hold=hold)


Forgive = Callable[[str, str, int, int], bool]
"""Given an endpoint, a function, a task's class and how often the task was lost: whether its failure there is the
endpoint's fault, and it is to run elsewhere."""


def report(
    transaction: Transaction,
    endpoint_id: str,
    outcomes: list[Outcome],
    sizes: dict[str, int],
    forgive: Forgive | None = None,
) -> int:
    """Take in an agent's outcomes; returns how many changed nothing (late, repeated, or not its own).

    Args:
        transaction: the transaction.
        endpoint_id: the endpoint whose token reported.
        outcomes: what became of attempts of this endpoint, in any session.
        sizes: the stored size of each segment of this endpoint that was found in the store.
        forgive: judges failures of tasks' own code; those it forgives count as losses, not as failures.
    """
    granted = named_segments(transaction, endpoint_id, outcomes, hold=True)
    facts = load(transaction, endpoint_id, [outcome.attempt.sequence for outcome in outcomes])
    naming = [outcome for outcome in outcomes if outcome.objects]
    may_name = object_uses.granted_to(transaction, [each.attempt.sequence for each in naming]) if naming else {}
    forgiven = _forgiven(transaction, endpoint_id, outcomes, facts, forgive) if forgive is not None else set()
    settled = []
    for outcome in outcomes:
        problem = _misplaced(outcome, granted, sizes, facts)
        if problem:
            settled.append(Settled(outcome.attempt, "lost", message=problem, report=outcome))
            continue
        if outcome.objects and (problem := _overreaching(outcome, may_name)):
            settled.append(Settled(outcome.attempt, "failed", kind="serialization", message=problem, report=outcome))
            continue
        settled.append(
            Settled(
                outcome.attempt,
                "lost" if outcome.attempt in forgiven else outcome.state,
                kind=outcome.kind,
                message=outcome.message[:2000],
                location=outcome.location,
                started_at=outcome.started_at,
                report=outcome,
            )
        )
    applied = settle(transaction, endpoint_id, settled, facts)
    objects.keep(transaction, sizes, applied.objects)
    object_uses.name_in_results(
        transaction,
        {
            each.attempt.sequence: list(dict.fromkeys(each.objects))
            for each in naming
            if applied.ended.get(each.attempt.sequence) == each.attempt.number and not _overreaching(each, may_name)
        },
    )
    return applied.dropped


def _forgiven(
    transaction: Transaction, endpoint_id: str, outcomes: list[Outcome], facts: Facts, forgive: Forgive
) -> set[AttemptKey]:
    """The attempts whose failure is taken for a loss of their endpoint's making.

    So they count against ``max_losses``, and only while that leaves room: no task runs more often than it may be lost.
    Those that must not run again once they have started are charged as ever.
    """
    judged = {}
    for outcome in outcomes:
        task = facts.get((outcome.attempt.sequence, outcome.attempt.number))
        if outcome.state == "failed" and outcome.kind in _OWN and task is not None and task.attempt_ended_at is None:
            judged[outcome.attempt] = task
    if not judged:
        return set()
    query = sa.select(tasks.c.sequence, tasks.c.function_id, tasks.c.class_id).where(
        among(tasks.c.sequence, sorted({key.sequence for key in judged}))
    )
    known = {row.sequence: row for row in transaction.execute(query)}
    return {
        key
        for key, task in judged.items()
        if forgive(endpoint_id, known[key.sequence].function_id, known[key.sequence].class_id, task.losses)
        and task.idempotent
        and task.state not in TERMINAL_STATES
        and task.attempt_state != "recalled"
        and task.losses < task.max_losses
        and task.attempts < MAX_HANDOUTS
    }


def owners_served(transaction: Transaction, endpoint_id: str, owners: list[str]) -> list[str]:
    """Of these identities, those whose tasks the endpoint runs: it may store results for them."""
    here = site(transaction, endpoint_id)
    if owners == [here.owner_id]:
        return owners
    names = list_identities(transaction)
    return [owner_id for owner_id in owners if owner_id in names and here.allows(owner_id, names[owner_id])]


def _misplaced(outcome: Outcome, granted: dict[str, objects.StoredObject], sizes: dict[str, int], facts: Facts) -> str:
    place = outcome.location
    if place is None:
        return "The endpoint reported success without a result." if outcome.state == "succeeded" else ""
    segment = granted.get(place.object_id)
    task = facts.get((outcome.attempt.sequence, outcome.attempt.number))
    if (
        segment is None
        or (task is not None and segment.owner_id != task.owner_id)
        or (task is not None and not objects.is_for(segment, f"{task.task_id}.{outcome.attempt.number}"))
    ):
        return f"The endpoint reported a result in object {place.object_id}, which it was not granted for this task."
    if place.object_id not in sizes or not objects.within(place, sizes[place.object_id]):
        return f"The endpoint reported a result that is not in object {place.object_id}."
    return ""


def _overreaching(outcome: Outcome, granted: dict[int, set[str]]) -> str:
    """Why a result may not refer to what it refers to: an endpoint could gain access to anything of the owner's."""
    foreign = [each for each in outcome.objects if each not in granted[outcome.attempt.sequence]]
    if not foreign:
        return ""
    return (
        f"The result refers to object {foreign[0]}, which the task was not given."
        " A result may refer to objects in the task's arguments; return other data itself, whatever its size."
    )
