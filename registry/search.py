"""Looking at tasks and groups: searches, one task with its attempts, a group counted by state."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from faas.errors import InvalidRequest
from faas.models import TASK_STATES, Attempt, Group, Location, Task, TaskPage, TaskQuery

from .database import AnyRow, Transaction
from .identities import Principal
from .requirements import requirements_of
from .results import unknown_group, unknown_task
from .schema import attempts, classes, dependencies, endpoints, functions, groups, objects, task_tags, tasks

MAX_PAGE = 1_000
MAX_TAGS = 32


def search(transaction: Transaction, principal: Principal, query: TaskQuery) -> TaskPage:
    """The caller's tasks that match, newest first.

    Raises:
        InvalidRequest: the page size is out of range, a state unknown, or the tags too many.
    """
    if not 1 <= query.limit <= MAX_PAGE:
        raise InvalidRequest(f"limit must lie within 1 and {MAX_PAGE}.", field="limit")
    unknown = sorted(set(query.state) - TASK_STATES)
    if unknown:
        raise InvalidRequest(
            f"There is no state {unknown[0]!r}.", fix=f"Use {', '.join(sorted(TASK_STATES))}.", field="state"
        )
    if len(query.tags) > MAX_TAGS:
        raise InvalidRequest(f"A task has at most {MAX_TAGS} tags.", field="tags")
    statement = _tasks(principal).order_by(tasks.c.sequence.desc()).limit(query.limit + 1)
    if query.state:
        statement = statement.where(tasks.c.state.in_(set(query.state)))
    if query.function:
        statement = statement.where(sa.or_(tasks.c.function_id == query.function, functions.c.name == query.function))
    if query.endpoint:
        statement = statement.where(sa.or_(tasks.c.endpoint_id == query.endpoint, endpoints.c.name == query.endpoint))
    if query.group_id:
        statement = statement.where(tasks.c.group_id == query.group_id)
    if query.since is not None:
        statement = statement.where(tasks.c.submitted_at >= query.since)
    if query.until is not None:
        statement = statement.where(tasks.c.submitted_at < query.until)
    if query.before is not None:
        statement = statement.where(tasks.c.sequence < query.before)
    for key, value in query.tags.items():
        tagged = sa.select(task_tags.c.sequence).where(task_tags.c.key == key, task_tags.c.value == value)
        statement = statement.where(tasks.c.sequence.in_(tagged))
    rows = transaction.execute(statement).all()
    page = rows[: query.limit]
    return TaskPage(
        tasks=[_task(row, principal) for row in page],
        next_before=page[-1].sequence if len(rows) > query.limit else None,
    )


def show(transaction: Transaction, principal: Principal, task_id: str) -> Task:
    """One of the caller's tasks with its attempts and dependencies.

    Raises:
        NotFound: unknown, or another identity's.
    """
    row = transaction.execute(_tasks(principal).where(tasks.c.task_id == task_id)).first()
    if row is None:
        raise unknown_task(task_id)
    task = _task(row, principal)
    tries = transaction.execute(
        sa.select(attempts, endpoints.c.name.label("endpoint"))
        .outerjoin(endpoints, endpoints.c.endpoint_id == attempts.c.endpoint_id)
        .where(attempts.c.sequence == row.sequence)
        .order_by(attempts.c.number)
    )
    task.attempts = [_attempt(row) for row in tries]
    parent = tasks.alias("parent")
    task.dependencies = list(
        transaction.execute(
            sa.select(parent.c.task_id)
            .join(dependencies, dependencies.c.parent == parent.c.sequence)
            .where(dependencies.c.child == row.sequence)
            .order_by(parent.c.sequence)
        ).scalars()
    )
    return task


def group(transaction: Transaction, principal: Principal, group_id: str) -> Group:
    """A task group of the caller's, its tasks counted by state.

    Raises:
        NotFound: unknown, or another identity's.
    """
    row = transaction.execute(
        sa.select(groups).where(groups.c.group_id == group_id, groups.c.owner_id == principal.identity_id)
    ).first()
    if row is None:
        raise unknown_group(group_id)
    counted = transaction.execute(
        sa.select(tasks.c.state, sa.func.count()).where(tasks.c.group_id == group_id).group_by(tasks.c.state)
    )
    return Group(
        group_id=group_id,
        created_at=row.created_at,
        states={row[0]: row[1] for row in counted},
        cursor=row.cursor,
    )


def _tasks(principal: Principal) -> sa.Select[Any]:
    left_out = {"payload", "digest"}
    return (
        sa.select(
            *[column for column in tasks.c if column.name not in left_out],
            functions.c.name.label("function"),
            endpoints.c.name.label("endpoint"),
            objects.c.key.label("location_key"),
            classes.c.requirements,
        )
        .join(classes, classes.c.class_id == tasks.c.class_id)
        .join(functions, functions.c.function_id == tasks.c.function_id)
        .outerjoin(endpoints, endpoints.c.endpoint_id == tasks.c.endpoint_id)
        .outerjoin(objects, objects.c.object_id == tasks.c.location_object)
        .where(tasks.c.owner_id == principal.identity_id)
    )


def _task(row: AnyRow, principal: Principal) -> Task:
    place = None
    if row.location_object is not None:
        place = Location(row.location_object, row.location_offset, row.location_bytes)
    needed = requirements_of(row.requirements)
    return Task(
        task_id=row.task_id,
        group_id=row.group_id,
        function_id=row.function_id,
        function=row.function,
        owner=principal.identity,
        state=row.state,
        target=row.target,
        submitted_at=row.submitted_at,
        endpoint_id=row.endpoint_id or "",
        endpoint=row.endpoint or "",
        started_at=row.started_at,
        ended_at=row.ended_at,
        message=row.message or "",
        priority=row.priority,
        timeout_s=row.timeout_s,
        max_attempts=row.max_attempts,
        max_losses=row.max_losses,
        losses=row.losses,
        idempotent=row.idempotent,
        resources=needed.resources,
        environment=needed.environment,
        tags=row.tags or {},
        retry_of=row.retry_of or "",
        location=place,
        location_key=row.location_key or "",
    )


def _attempt(row: AnyRow) -> Attempt:
    return Attempt(
        number=row.number,
        endpoint_id=row.endpoint_id,
        endpoint=row.endpoint or "",
        state=row.state,
        leased_at=row.leased_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        run_s=row.run_s,
        message=row.message or "",
        host=row.host or "",
        worker=row.worker or "",
        python_version=row.python_version or "",
        stdout=row.stdout or "",
        stderr=row.stderr or "",
        node=row.node or "",
        job_id=row.job_id or "",
        block_id=row.block_id or "",
        environment=row.environment or "",
        peak_memory_bytes=row.peak_memory_bytes,
    )
