"""What happened: tasks with their attempts, and blocks, page by page for analysis; and how busy it is just now.

All times are by the database's clock, but for an attempt's ``started_at``, which the site told, and ``run_s``, which
the site measured. A page costs one query over the next so many tasks, whether or not they match: so a request
stays short however much there is, and reading everything reads every task once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

import sqlalchemy as sa

from faas.errors import InvalidRequest, NotFound, PermissionDenied
from faas.models import Activity, AttemptColumns, BlockColumns, BlockHistory, TaskColumns, TaskHistory

from .database import Transaction
from .endpoints import all_sites, usable
from .identities import Principal
from .prepared import among
from .schema import QUEUED, attempts, blocks, classes, endpoints, functions, groups, identities, tasks

MAX_PAGE = 5_000
_TASK_FIELDS = TaskColumns.__struct_fields__
_ENDED_AT = 1 + _TASK_FIELDS.index("ended_at")
_ATTEMPT = 1 + len(_TASK_FIELDS)
"""Where the columns of the attempt begin."""
_SEPARATOR = "/"
"""Between the parts of a cursor over blocks: ids of endpoints are UUIDs, so the first and the last one are telling."""


def task_history(
    transaction: Transaction,
    principal: Principal,
    *,
    after: int = 0,
    limit: int = MAX_PAGE,
    since: float = 0.0,
    group_id: str = "",
    everyone: bool = False,
) -> TaskHistory:
    """The next tasks in the order of submission, each with its attempts.

    Args:
        transaction: the transaction.
        principal: who asks.
        after: the ``next_after`` of the page before; 0 for the first.
        limit: how many tasks to look at.
        since: leaves out tasks that ended before.
        group_id: only those of one group.
        everyone: all identities' tasks; for administrators.

    Raises:
        PermissionDenied: everyone's are asked for without an administrator's token.
        NotFound: the group is unknown, or another identity's.
    """
    _check_everyone(principal, everyone)
    looked_at = sa.select(tasks.c.sequence).where(tasks.c.sequence > after)
    if not everyone:
        looked_at = looked_at.where(tasks.c.owner_id == principal.identity_id)
    if group_id:
        _check_group(transaction, principal, group_id, everyone)
        looked_at = looked_at.where(tasks.c.group_id == group_id)
    looked_at = looked_at.order_by(tasks.c.sequence).limit(limit)
    page = looked_at.subquery()
    query = (
        sa.select(
            tasks.c.sequence,
            *[tasks.c[name] for name in _TASK_FIELDS],
            *[attempts.c[name] for name in AttemptColumns.__struct_fields__[1:]],
        )
        .join(page, page.c.sequence == tasks.c.sequence)
        .outerjoin(attempts, attempts.c.sequence == tasks.c.sequence)
        .order_by(tasks.c.sequence, attempts.c.number)
    )
    found, tried = TaskColumns(), AttemptColumns()
    add_task = _adder(found)
    add_attempt = _adder(tried)
    last, seen, wanted = 0, 0, False
    for row in transaction.execute(query):  # by place: a row's names cost more than the rest
        if row[0] != last:
            last, seen = row[0], seen + 1
            ended_at = row[_ENDED_AT]
            wanted = ended_at is None or ended_at >= since
            if wanted:
                add_task(row[1:_ATTEMPT])
        if wanted and row[_ATTEMPT] is not None:
            add_attempt((len(found.task_id) - 1, *row[_ATTEMPT:]))
    return TaskHistory(
        now=transaction.now,
        tasks=found,
        attempts=tried,
        functions=_names(transaction, functions.c.function_id, functions.c.name, found.function_id),
        endpoints=_names(transaction, endpoints.c.endpoint_id, endpoints.c.name, tried.endpoint_id),
        identities=_names(transaction, identities.c.identity_id, identities.c.name, found.owner_id),
        next_after=last if seen == limit else None,
    )


def _adder(columns: TaskColumns | AttemptColumns) -> Callable[[Iterable[Any]], None]:
    """Appends the values of a row to the columns, which stand in the same order."""
    appends = [getattr(columns, name).append for name in columns.__struct_fields__]

    def add(values: Iterable[Any]) -> None:
        for append, value in zip(appends, values, strict=True):
            append(value)

    return add


def block_history(
    transaction: Transaction,
    principal: Principal,
    *,
    after: str = "",
    limit: int = MAX_PAGE,
    since: float = 0.0,
    everyone: bool = False,
) -> BlockHistory:
    """The next blocks of the endpoints the caller may use, by endpoint and block.

    Args:
        transaction: the transaction.
        principal: who asks.
        after: the ``next_after`` of the page before; empty for the first.
        limit: how many blocks.
        since: leaves out blocks that ended before.
        everyone: all endpoints' blocks, those of deleted ones included; for administrators.

    Raises:
        InvalidRequest: the cursor is none of this service's.
        PermissionDenied: everyone's are asked for without an administrator's token.
    """
    _check_everyone(principal, everyone)
    key = sa.tuple_(blocks.c.endpoint_id, blocks.c.block_id, blocks.c.run)
    query = (
        sa.select(blocks, endpoints.c.name.label("endpoint"))
        .outerjoin(endpoints, endpoints.c.endpoint_id == blocks.c.endpoint_id)
        .where(sa.or_(blocks.c.ended_at.is_(None), blocks.c.ended_at >= since))
        .order_by(blocks.c.endpoint_id, blocks.c.block_id, blocks.c.run)
        .limit(limit)
    )
    if not everyone:
        seen = [site.endpoint_id for site in usable(transaction, principal)]
        query = query.where(among(blocks.c.endpoint_id, seen))
    if after:
        query = query.where(key > sa.tuple_(*_position(after)))
    rows = transaction.execute(query).all()
    found = BlockColumns()
    for row in rows:
        found.endpoint_id.append(row.endpoint_id)
        found.block_id.append(row.block_id)
        found.run.append(row.run)
        found.state.append(row.state)
        found.nodes.append(row.nodes)
        found.workers.append(row.most_workers)
        found.requested_at.append(row.requested_at)
        found.started_at.append(row.started_at)
        found.ready_at.append(row.ready_at)
        found.ended_at.append(row.ended_at)
    end = rows[-1] if len(rows) == limit else None
    return BlockHistory(
        now=transaction.now,
        blocks=found,
        endpoints={row.endpoint_id: row.endpoint for row in rows if row.endpoint is not None},
        next_after=_SEPARATOR.join((end.endpoint_id, str(end.run), end.block_id)) if end is not None else "",
    )


def _position(cursor: str) -> tuple[str, str, int]:
    endpoint_id, _, rest = cursor.partition(_SEPARATOR)
    run, _, block_id = rest.partition(_SEPARATOR)
    if not (run.isascii() and run.isdigit() and len(run) < 10):
        raise InvalidRequest(
            f"{cursor!r} is no place in a list of blocks.", fix="Use a page's next_after as it is.", field="after"
        )
    return endpoint_id, block_id, int(run)


def activity(transaction: Transaction, principal: Principal, window_s: float, *, everyone: bool = False) -> Activity:
    """How many tasks wait, are in hand, and ended of late; costs as much as there are such tasks.

    Args:
        transaction: the transaction.
        principal: who asks.
        window_s: how far back to look, in seconds.
        everyone: all identities' tasks; for administrators.

    Raises:
        PermissionDenied: everyone's are asked for without an administrator's token.
    """
    _check_everyone(principal, everyone)
    mine = sa.true() if everyone else tasks.c.owner_id == principal.identity_id
    queued = (
        sa.select(sa.func.count())
        .select_from(classes)
        .join(tasks, tasks.c.class_id == classes.c.class_id)
        .where(tasks.c.state == QUEUED)
    )
    held = (
        sa.select(sa.func.count(attempts.c.sequence.distinct()))
        .select_from(attempts)
        .join(tasks, tasks.c.sequence == attempts.c.sequence)
        .where(attempts.c.ended_at.is_(None), tasks.c.ended_at.is_(None))
    )
    if not everyone:
        queued = queued.where(classes.c.owner_id == principal.identity_id)
        # Not by the index of owners, for they may have millions of tasks, few of which are live.
        held = held.where(sa.func.coalesce(tasks.c.owner_id, "") == principal.identity_id)
    own = [
        site.endpoint_id
        for site in all_sites(transaction).values()
        if everyone or site.owner_id == principal.identity_id
    ]
    ended = (
        sa.select(tasks.c.endpoint_id, tasks.c.state, mine.label("mine"), sa.func.count().label("tasks"))
        .where(tasks.c.ended_at > transaction.now - window_s)
        .where(sa.or_(mine, among(tasks.c.endpoint_id, own)))
        .group_by(tasks.c.endpoint_id, tasks.c.state, "mine")
    )
    told = Activity(
        now=transaction.now,
        window_s=window_s,
        queued=transaction.execute(queued).scalar_one(),
        held=transaction.execute(held).scalar_one(),
    )
    for row in transaction.execute(ended):
        if row.mine:
            told.ended[row.state] = told.ended.get(row.state, 0) + row.tasks
        if row.endpoint_id:
            told.ended_at[row.endpoint_id] = told.ended_at.get(row.endpoint_id, 0) + row.tasks
    return told


def _names(
    transaction: Transaction, key: sa.Column[str], name: sa.Column[str], wanted: Iterable[str]
) -> dict[str, str]:
    ids: Collection[str] = set(wanted)
    if not ids:
        return {}
    return {row[0]: row[1] for row in transaction.execute(sa.select(key, name).where(among(key, list(ids))))}


def _check_everyone(principal: Principal, everyone: bool) -> None:
    if everyone and principal.scope != "admin":
        raise PermissionDenied(
            "Only an administrator sees everyone's.", fix="Leave it out, or use a token of scope admin.", field="all"
        )


def _check_group(transaction: Transaction, principal: Principal, group_id: str, everyone: bool) -> None:
    known = sa.select(groups.c.group_id).where(groups.c.group_id == group_id)
    if not everyone:
        known = known.where(groups.c.owner_id == principal.identity_id)
    if transaction.execute(known).first() is None:
        raise NotFound(f"There is no task group {group_id!r} of yours.", field="group")
