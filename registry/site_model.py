"""What the router has learned of its sites, kept over restarts: rows by what they are of, opaque to the registry."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from .database import Transaction
from .prepared import Prepared
from .schema import site_model

MAX_ROWS = 20_000
"""Of each kind; the first told are kept."""

_DROP = Prepared(
    sa.delete(site_model).where(site_model.c.kind == sa.bindparam("of_kind"), site_model.c.number == sa.bindparam("at"))
)
_ADD = Prepared(sa.insert(site_model), ["kind", "number", "learned"])

Key = tuple[str, int]


def encode(learned: Mapping[str, Iterable[Sequence[Any]]]) -> dict[Key, str]:
    """Rows of plain values as what is stored of them, by kind and number.

    Example:
        >>> encode({"queue_waits": [("theta", "default", 2.0, 120.0)]})
        {('queue_waits', 0): '["theta", "default", 2.0, 120.0]'}
    """
    return {
        (kind, number): json.dumps(list(row))
        for kind, rows in learned.items()
        for number, row in enumerate(rows)
        if number < MAX_ROWS
    }


def save(transaction: Transaction, wanted: Mapping[Key, str], before: Mapping[Key, str]) -> None:
    """Store what was learned; writes only what has changed.

    Args:
        transaction: the transaction.
        wanted: what ``encode`` made of it.
        before: what is stored, as the caller wrote it; nothing for everything to be written anew.
    """
    changed = [key for key, row in wanted.items() if before.get(key) != row]
    if not before:
        transaction.execute(sa.delete(site_model))
    elif replaced := [*(key for key in changed if key in before), *(key for key in before if key not in wanted)]:
        _DROP.run(transaction, [{"of_kind": kind, "at": number} for kind, number in replaced])
    _ADD.run(
        transaction, [{"kind": kind, "number": number, "learned": wanted[kind, number]} for kind, number in changed]
    )


def load(transaction: Transaction) -> dict[str, list[tuple[Any, ...]]]:
    """What was saved last: rows of plain values by what they are of."""
    query = sa.select(site_model).order_by(site_model.c.kind, site_model.c.number)
    found: dict[str, list[tuple[Any, ...]]] = {}
    for row in transaction.execute(query):
        found.setdefault(row.kind, []).append(tuple(json.loads(row.learned)))
    return found
