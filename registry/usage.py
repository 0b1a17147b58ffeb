"""What was spent at endpoints, and who used it; every column adds up to the same sum, by whatever it is listed."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any, cast, get_args

import sqlalchemy as sa

from faas.errors import InvalidRequest, NotFound
from faas.models import Usage, UsageBy, UsageRow

from .block_runs import Run
from .blocks import run_of
from .database import Transaction
from .endpoints import Site, all_sites, usable
from .functions import is_uuid
from .identities import Principal
from .node_hours import Amount, Use, node_seconds, share_out
from .prepared import among
from .schema import attempts, blocks, endpoints, functions, identities, tasks

_HOUR_S = 3600.0
NOBODY = "idle (nobody)"


@dataclass
class _Names:
    identities: dict[str, str] = field(default_factory=dict)
    endpoints: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Name and owner's id."""
    functions: dict[str, tuple[str, str]] = field(default_factory=dict)


def report(transaction: Transaction, principal: Principal, by: str, *, endpoint: str = "", since: float = 0.0) -> Usage:
    """What was used, as far as the caller may know: the own tasks' use, all use of own endpoints; admins, everything.

    Args:
        transaction: the transaction.
        principal: who asks.
        by: what to list.
        endpoint: only this one, by id or name.
        since: only what was used from then on.

    Raises:
        InvalidRequest: there is no such listing.
        NotFound: no such endpoint.
    """
    if by not in get_args(UsageBy):
        raise InvalidRequest(f"Usage is not listed by {by!r}.", fix=f"Use {', '.join(get_args(UsageBy))}.", field="by")
    now = transaction.now
    everything = principal.scope == "admin"
    sites = all_sites(transaction)
    wanted = _matching(transaction, principal, sites, endpoint) if endpoint else None
    own = {site.endpoint_id for site in sites.values() if site.owner_id == principal.identity_id}

    def visible(use: Use) -> bool:
        return everything or use.endpoint_id in own or use.owner_id == principal.identity_id

    in_view = (
        sa.true()
        if everything
        else sa.or_(among(attempts.c.endpoint_id, list(own)), tasks.c.owner_id == principal.identity_id)
    )
    amounts = _busy(transaction, in_view, wanted, since, now)
    concerned = {use.endpoint_id for use in amounts} | own
    runs = [run for run in _runs(transaction, wanted, since) if everything or run.endpoint_id in concerned]
    worker_s = _worker_seconds(transaction, {run.endpoint_id for run in runs}, since, now)
    for run in runs:
        cost = node_seconds(run, since, now)
        for use, part in share_out(cost, worker_s.get(run.key, {}), Use(run.endpoint_id)).items():
            amounts.setdefault(use, Amount()).add(part)
    seen = {use: amount for use, amount in amounts.items() if amount and visible(use)}
    names = _names(transaction, seen)
    listed = cast(UsageBy, by)
    return Usage(by=listed, since=since or None, until=now, rows=_rows(seen, listed, names))


def _matching(transaction: Transaction, principal: Principal, sites: dict[str, Site], reference: str) -> list[str]:
    candidates = sites.values() if principal.scope == "admin" else usable(transaction, principal)
    found = [site.endpoint_id for site in candidates if reference in (site.endpoint_id, site.name)]
    if found or is_uuid(reference):  # it may have been deleted since
        return found or [reference]
    raise NotFound(
        f"There is no endpoint {reference!r} that you may use.",
        fix="`faas endpoint list` shows them.",
        field="endpoint",
    )


def _runs(transaction: Transaction, wanted: list[str] | None, since: float) -> Iterable[Run]:
    query = sa.select(blocks).where(sa.or_(blocks.c.ended_at.is_(None), blocks.c.ended_at > since))
    if wanted is not None:
        query = query.where(among(blocks.c.endpoint_id, wanted))
    return [run_of(row) for row in transaction.execute(query).all()]


def _ended(now: float) -> sa.ColumnElement[float]:
    """When an attempt stopped using its worker: by its run time where it was measured, for a report takes a while."""
    return sa.func.coalesce(attempts.c.started_at + attempts.c.run_s, attempts.c.ended_at, sa.literal(now, sa.Double))


def _overlap(
    begins: Iterable[sa.ColumnElement[float]], ends: Iterable[sa.ColumnElement[float]]
) -> sa.ColumnElement[float]:
    begin, end = _most(begins), _least(ends)
    return sa.case((end > begin, end - begin), else_=0.0)


def _most(values: Iterable[sa.ColumnElement[float]]) -> sa.ColumnElement[float]:
    first, *rest = values
    for value in rest:
        first = sa.case((first > value, first), else_=value)
    return first


def _least(values: Iterable[sa.ColumnElement[float]]) -> sa.ColumnElement[float]:
    first, *rest = values
    for value in rest:
        first = sa.case((first < value, first), else_=value)
    return first


def _busy(
    transaction: Transaction, in_view: sa.ColumnElement[bool], wanted: list[str] | None, since: float, now: float
) -> dict[Use, Amount]:
    """Worker-seconds and attempts by who used them, in blocks or out of them."""
    ended = _ended(now)
    query = (
        sa.select(
            attempts.c.endpoint_id,
            tasks.c.owner_id,
            tasks.c.function_id,
            sa.func.sum(_overlap([attempts.c.started_at, sa.literal(since, sa.Double)], [ended])).label("busy_s"),
            sa.func.count().label("attempts"),
        )
        .join(tasks, tasks.c.sequence == attempts.c.sequence)
        .where(attempts.c.started_at.is_not(None), ended > since, in_view)
        .group_by(attempts.c.endpoint_id, tasks.c.owner_id, tasks.c.function_id)
    )
    if wanted is not None:
        query = query.where(among(attempts.c.endpoint_id, wanted))
    return {
        Use(row.endpoint_id, row.owner_id, row.function_id): Amount(busy_s=float(row.busy_s), attempts=row.attempts)
        for row in transaction.execute(query)
    }


def _worker_seconds(
    transaction: Transaction, endpoint_ids: Collection[str], since: float, now: float
) -> dict[tuple[str, str, int], dict[Use, float]]:
    """Worker-seconds in each run of a block, by who used them.

    An attempt that does not say in which block it ran counts in every one that its endpoint had meanwhile.
    """
    ended, until = _ended(now), sa.func.coalesce(blocks.c.ended_at, sa.literal(now, sa.Double))
    seconds = _overlap([attempts.c.started_at, blocks.c.started_at, sa.literal(since, sa.Double)], [ended, until])
    query = (
        sa.select(
            blocks.c.endpoint_id,
            blocks.c.block_id,
            blocks.c.run,
            tasks.c.owner_id,
            tasks.c.function_id,
            sa.func.sum(seconds).label("seconds"),
        )
        .join(attempts, attempts.c.endpoint_id == blocks.c.endpoint_id)
        .join(tasks, tasks.c.sequence == attempts.c.sequence)
        .where(
            among(blocks.c.endpoint_id, list(endpoint_ids)),
            attempts.c.started_at < until,
            ended > blocks.c.started_at,
            ended > since,
            until > since,
        )
        .group_by(blocks.c.endpoint_id, blocks.c.block_id, blocks.c.run, tasks.c.owner_id, tasks.c.function_id)
    )
    found: dict[tuple[str, str, int], dict[Use, float]] = {}
    for row in transaction.execute(query):
        use = Use(row.endpoint_id, row.owner_id, row.function_id)
        found.setdefault((row.endpoint_id, row.block_id, row.run), {})[use] = float(row.seconds)
    return found


def _names(transaction: Transaction, uses: Iterable[Use]) -> _Names:
    names = _Names(identities={row.identity_id: row.name for row in transaction.execute(sa.select(identities))})
    for row in transaction.execute(sa.select(endpoints.c.endpoint_id, endpoints.c.name, endpoints.c.owner_id)):
        names.endpoints[row.endpoint_id] = (row.name, row.owner_id)
    wanted = {use.function_id for use in uses if use.function_id}
    known = sa.select(functions.c.function_id, functions.c.name, functions.c.owner_id)
    for row in transaction.execute(known.where(among(functions.c.function_id, list(wanted)))):
        names.functions[row.function_id] = (row.name, row.owner_id)
    return names


def _rows(uses: dict[Use, Amount], by: UsageBy, names: _Names) -> list[UsageRow]:
    summed: dict[str, Amount] = {}
    for use, amount in uses.items():
        key = {"endpoint": use.endpoint_id, "identity": use.owner_id, "function": use.function_id}[by]
        summed.setdefault(key, Amount()).add(amount)
    rows = [_row(key, amount, by, names) for key, amount in summed.items()]
    return sorted(rows, key=lambda row: (not row.id, -row.settled_node_hours - row.reserved_node_hours, row.name))


def _row(key: str, amount: Amount, by: UsageBy, names: _Names) -> UsageRow:
    listed: dict[str, Any] = {
        "endpoint": names.endpoints,
        "identity": {identity_id: (name, "") for identity_id, name in names.identities.items()},
        "function": names.functions,
    }[by]
    name, owner_id = listed.get(key, ("(deleted)", "")) if key else (NOBODY, "")
    return UsageRow(
        id=key,
        name=name,
        owner=names.identities.get(owner_id, ""),
        settled_node_hours=amount.settled_s / _HOUR_S,
        reserved_node_hours=amount.reserved_s / _HOUR_S,
        busy_worker_hours=amount.busy_s / _HOUR_S,
        worker_hours=amount.registered_s / _HOUR_S,
        attempts=amount.attempts,
        utilisation=amount.busy_s / amount.registered_s if amount.registered_s > 0 else None,
    )
