"""What was spent at endpoints, and who used it; every column adds up to the same sum, by whatever it is listed."""

from __future__ import annotations

from collections import Counter
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
from .node_hours import Amount, Use, Worked, attribute, node_seconds, share_out
from .prepared import among
from .schema import attempts, blocks, endpoints, functions, identities, tasks

_HOUR_S = 3600.0
_FINEST_SLICE_S = 60.0
_SLICES = 1_000
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

    concerned = None if everything else own | _ran_at(transaction, principal)
    if wanted is not None:
        concerned = set(wanted) if concerned is None else concerned & set(wanted)
    runs = _runs(transaction, concerned, since)
    worked = _worked(transaction, concerned, since, now, _slice_s(runs, since, now), _run_again(runs))
    amounts: dict[Use, Amount] = {}
    for work in worked:
        amounts.setdefault(work.use, Amount()).add(Amount(busy_s=work.seconds, attempts=work.attempts))
    worker_s = attribute(worked, runs, now)
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


def _ran_at(transaction: Transaction, principal: Principal) -> set[str]:
    """The endpoints at which the caller's tasks ran."""
    mine = (
        sa.select(attempts.c.endpoint_id)
        .join(tasks, tasks.c.sequence == attempts.c.sequence)
        .where(tasks.c.owner_id == principal.identity_id)
        .distinct()
    )
    return set(transaction.execute(mine).scalars())


def _runs(transaction: Transaction, concerned: Collection[str] | None, since: float) -> list[Run]:
    query = sa.select(blocks).where(sa.or_(blocks.c.ended_at.is_(None), blocks.c.ended_at > since))
    if concerned is not None:
        query = query.where(among(blocks.c.endpoint_id, list(concerned)))
    return [run_of(row) for row in transaction.execute(query).all()]


def _slice_s(runs: Iterable[Run], since: float, now: float) -> float:
    """How near to each other attempts begin that are looked at as one: people have millions of them."""
    first = min((run.started_at for run in runs if run.started_at is not None), default=now)
    return max(_FINEST_SLICE_S, (now - max(since, first)) / _SLICES)


def _run_again(runs: Iterable[Run]) -> list[str]:
    """The blocks that ran more than once."""
    counted = Counter((run.endpoint_id, run.block_id) for run in runs)
    return sorted({block_id for (_, block_id), times in counted.items() if times > 1})


def _worked(
    transaction: Transaction,
    concerned: Collection[str] | None,
    since: float,
    now: float,
    slice_s: float,
    run_again: list[str],
) -> list[Worked]:
    """What ran since then, summed up by use and block; by time as well where that must tell in which run it was."""
    started_at, earliest = attempts.c.started_at, sa.literal(since, sa.Double)
    # By its run time where it was measured, for a report takes a while.
    ended = sa.func.coalesce(started_at + attempts.c.run_s, attempts.c.ended_at, sa.literal(now, sa.Double))
    begun = sa.case((started_at > earliest, started_at), else_=earliest)
    in_slice = sa.cast(started_at / sa.literal(slice_s, sa.Double), sa.BigInteger)
    in_block = sa.func.coalesce(attempts.c.block_id, "")
    one_run = sa.and_(in_block != "", sa.not_(among(attempts.c.block_id, run_again)) if run_again else sa.true())
    query = (
        sa.select(
            attempts.c.endpoint_id,
            in_block.label("in_block"),
            tasks.c.owner_id,
            tasks.c.function_id,
            sa.case((one_run, -1), else_=in_slice).label("slice"),
            sa.func.min(begun).label("begin"),
            sa.func.max(ended).label("end"),
            sa.func.sum(ended - begun).label("seconds"),
            sa.func.count().label("attempts"),
        )
        .join(tasks, tasks.c.sequence == attempts.c.sequence)
        .where(started_at.is_not(None), ended > earliest, ended >= started_at)
        .group_by(attempts.c.endpoint_id, "in_block", tasks.c.owner_id, tasks.c.function_id, "slice")
    )
    if concerned is not None:
        query = query.where(among(attempts.c.endpoint_id, list(concerned)))
    return [
        Worked(
            use=Use(row.endpoint_id, row.owner_id, row.function_id),
            block_id=row.in_block,
            begin=row.begin,
            end=row.end,
            seconds=row.seconds,
            attempts=row.attempts,
        )
        for row in transaction.execute(query)
    ]


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
