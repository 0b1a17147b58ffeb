"""Why a task runs where it does: every endpoint its owner may use, and what speaks against it."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from faas.models import Task

from . import endpoints
from .database import Transaction
from .endpoints import Site, Target
from .identities import Principal
from .locations import backed, registered
from .placement import lacks
from .requirements import Requirements, requirements_of
from .schema import classes, tasks
from .search import show


@dataclass(frozen=True)
class Place:
    """An endpoint that a task's owner may use."""

    site: Site
    online: bool
    """Whether its agent is heard from."""
    shape: str
    """Of the workers that would run the task; empty where none can."""
    reason: str
    """Why the task cannot run there now; empty where it can."""


@dataclass(frozen=True)
class Grounds:
    """A task and what decides where it may run."""

    task: Task
    bound_to: str
    """The endpoint it was bound to when it was submitted, or was submitted to; empty where that is open."""
    places: list[Place]


def grounds(transaction: Transaction, principal: Principal, task_id: str) -> Grounds:
    """Look at every endpoint for one of the caller's tasks, as things are now.

    Raises:
        NotFound: unknown, or another identity's.
    """
    task = show(transaction, principal, task_id)
    query = (
        sa.select(classes.c.target_kind, classes.c.target, classes.c.requirements)
        .join(tasks, tasks.c.class_id == classes.c.class_id)
        .where(tasks.c.task_id == task_id)
    )
    row = transaction.execute(query).one()
    target = Target(row.target_kind, row.target)
    needed = requirements_of(row.requirements)
    online = endpoints.all_sites(transaction, online=True)
    pool = endpoints.pool_members(transaction).get((principal.identity_id, row.target))
    leave = backed(needed, registered(transaction), principal.identity) if needed.reads or needed.writes else ()
    places = []
    for site in sorted(endpoints.usable(transaction, principal), key=lambda site: site.name):
        reason = ""
        if target.kind == "endpoint" and site.endpoint_id != target.reference:
            reason = "the task is bound to another endpoint"
        elif target.kind == "pool" and (pool is None or not endpoints.in_pool(site, pool)):
            reason = f"it is not in the pool {target.reference!r}"
        elif not site.allows(principal.identity_id, principal.identity, task.function_id):
            reason = f"its owner, {site.owner}, does not allow this function"
        else:
            reason = lacks(site, needed, principal.identity_id, principal.identity, leave)[1] or _now(
                site, needed, site.endpoint_id in online
            )
        places.append(Place(site, site.endpoint_id in online, site.shape_for(needed) or "", reason))
    return Grounds(task, target.reference if target.kind == "endpoint" else "", places)


def _now(site: Site, needed: Requirements, online: bool) -> str:
    if not online:
        return "its agent is not heard from"
    if not site.works(needed.environment):
        return f"its environment {needed.environment or 'default'!r} cannot be set up there now"
    return ""
