"""Results by cursor and by task: where the bytes lie, never the bytes themselves."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from faas.errors import NotFound
from faas.models import TERMINAL_STATES, GroupResult, Location, TaskResult

from .database import AnyRow, Transaction
from .identities import Principal
from .prepared import Prepared, among
from .schema import dependencies, groups, tasks

_PLACE = [tasks.c.location_object, tasks.c.location_offset, tasks.c.location_bytes]

_OWNER = Prepared(sa.select(groups.c.owner_id).where(groups.c.group_id == sa.bindparam("of_group")))
_ENDED = Prepared(
    sa.select(
        tasks.c.task_id,
        tasks.c.state,
        tasks.c.end_cursor,
        tasks.c.function_id,
        tasks.c.endpoint_id,
        tasks.c.message,
        *_PLACE,
    )
    .where(tasks.c.group_id == sa.bindparam("of_group"), tasks.c.end_cursor > sa.bindparam("after"))
    .order_by(tasks.c.end_cursor)
    .limit(sa.bindparam("at_most"))
)


@dataclass(frozen=True)
class Parent:
    """A task another one depends on, and where its result lies."""

    task_id: str
    location: Location


def group_results(
    transaction: Transaction, principal: Principal, group_id: str, after: int, limit: int
) -> list[GroupResult]:
    """Tasks of a group that ended after a cursor, in cursor order; an unknown group has none.

    Raises:
        NotFound: the group is another identity's.
    """
    owner = next((row.owner_id for row in _OWNER.rows(transaction, of_group=group_id)), None)
    if owner is None:
        return []
    if owner != principal.identity_id:
        raise unknown_group(group_id)
    return [
        GroupResult(
            task_id=row.task_id,
            state=row.state,
            cursor=row.end_cursor,
            function_id=row.function_id,
            endpoint_id=row.endpoint_id or "",
            message=row.message or "",
            location=_location(row),
        )
        for row in _ENDED.rows(transaction, of_group=group_id, after=after, at_most=limit)
    ]


def task_result(transaction: Transaction, principal: Principal, task_id: str) -> tuple[TaskResult, str]:
    """One task's result (without grant or hint) and its group, which is woken when the task ends.

    Raises:
        NotFound: unknown, or another identity's.
    """
    row = transaction.execute(
        sa.select(tasks.c.state, tasks.c.message, tasks.c.endpoint_id, tasks.c.group_id, *_PLACE).where(
            tasks.c.task_id == task_id, tasks.c.owner_id == principal.identity_id
        )
    ).first()
    if row is None:
        raise unknown_task(task_id)
    result = TaskResult(
        task_id=task_id,
        state=row.state,
        message=row.message or "",
        location=_location(row) if row.state in TERMINAL_STATES else None,
        endpoint_id=row.endpoint_id or "",
    )
    return result, row.group_id


def parents_of(transaction: Transaction, children: list[int]) -> dict[int, list[Parent]]:
    """Tasks (by sequence) to the succeeded tasks they depend on."""
    if not children:
        return {}
    parent = tasks.alias("parent")
    query = (
        sa.select(
            dependencies.c.child,
            parent.c.task_id,
            parent.c.location_object,
            parent.c.location_offset,
            parent.c.location_bytes,
        )
        .join(parent, parent.c.sequence == dependencies.c.parent)
        .where(among(dependencies.c.child, children))
    )
    found: dict[int, list[Parent]] = {}
    for row in transaction.execute(query).all():
        place = _location(row)
        if place is not None:
            found.setdefault(row.child, []).append(Parent(row.task_id, place))
    return found


def unknown_task(task_id: str) -> NotFound:
    """The refusal for a task id that is unknown or another identity's, which look the same from outside."""
    return NotFound(f"There is no task {task_id!r} of yours.", fix="`faas task list` shows yours.", field="task_id")


def unknown_group(group_id: str) -> NotFound:
    """The refusal for a group id that is unknown or another identity's."""
    return NotFound(
        f"There is no task group {group_id[:80]!r} of yours.",
        fix="`faas task show ID` names the group of a task.",
        field="group_id",
    )


def _location(row: AnyRow) -> Location | None:
    if row.location_object is None:
        return None
    return Location(row.location_object, row.location_offset, row.location_bytes)
