"""Cancelling: a waiting or queued task ends at once; so, for its caller, does a running one."""

from __future__ import annotations

import sqlalchemy as sa

from faas.errors import InvalidRequest
from faas.models import TERMINAL_STATES, CancelRequest, CancelResponse

from .database import AnyRow, Transaction
from .endings import End, finish
from .identities import Principal
from .prepared import among
from .schema import tasks


def cancel(transaction: Transaction, principal: Principal, request: CancelRequest) -> CancelResponse:
    """Cancel tasks of the caller's. Their agents are told to stop them; late results are dropped.

    Raises:
        InvalidRequest: neither tasks nor a group are named.
    """
    if not request.task_ids and not request.group_id:
        raise InvalidRequest("Nothing to cancel.", fix="Name task_ids or a group_id.", field="task_ids")
    cancelled, others, ends = [], {}, []
    for row in _named(transaction, principal, request):
        if row.state == "cancelled":
            cancelled.append(row.task_id)
        elif row.state in TERMINAL_STATES or (row.state == "running" and not request.running):
            others[row.task_id] = row.state
        else:
            ends.append(End(row.sequence, row.group_id, "cancelled", message="It was cancelled."))
            cancelled.append(row.task_id)
    finish(transaction, ends)
    seen = {*cancelled, *others}
    others.update({task_id: "unknown" for task_id in request.task_ids if task_id not in seen})
    return CancelResponse(cancelled=cancelled, not_cancelled=others)


def _named(transaction: Transaction, principal: Principal, request: CancelRequest) -> list[AnyRow]:
    query = (
        sa.select(tasks.c.sequence, tasks.c.task_id, tasks.c.group_id, tasks.c.state)
        .where(tasks.c.owner_id == principal.identity_id)
        .order_by(tasks.c.sequence)
        .with_for_update()
    )
    rows = list(transaction.execute(query.where(among(tasks.c.task_id, request.task_ids))).all())
    if request.group_id:
        unfinished = tasks.c.state.not_in(TERMINAL_STATES)
        rows += transaction.execute(query.where(tasks.c.group_id == request.group_id, unfinished)).all()
    return list({row.sequence: row for row in rows}.values())
