"""What the caches of endpoints hold, as their agents tell: digests of contents, and how large they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import sqlalchemy as sa

from faas.errors import InvalidRequest

from .database import Transaction
from .prepared import among
from .schema import holdings

_MOST = 100_000
_LONGEST = 64


def replace(transaction: Transaction, endpoint_id: str, held: Mapping[str, int]) -> None:
    """All that an endpoint's cache holds now.

    Raises:
        InvalidRequest: it is more than can be, or a digest is none.
    """
    _check(held)
    transaction.execute(sa.delete(holdings).where(holdings.c.endpoint_id == endpoint_id))
    _add(transaction, endpoint_id, held)


def change(transaction: Transaction, endpoint_id: str, came: Mapping[str, int], went: Iterable[str]) -> None:
    """What came to an endpoint's cache, and what went.

    Raises:
        InvalidRequest: it is more than can be, or a digest is none.
    """
    gone = sorted({*went, *came})
    _check(came)
    for start in range(0, len(gone), 500):
        some = among(holdings.c.digest, gone[start : start + 500])
        transaction.execute(sa.delete(holdings).where(holdings.c.endpoint_id == endpoint_id, some))
    _add(transaction, endpoint_id, came)


def holders(transaction: Transaction, digests: Iterable[str]) -> dict[str, set[str]]:
    """Digests to the endpoints that hold them."""
    found: dict[str, set[str]] = {}
    wanted = sorted(set(digests))
    if wanted:
        query = sa.select(holdings.c.digest, holdings.c.endpoint_id).where(among(holdings.c.digest, wanted))
        for row in transaction.execute(query):
            found.setdefault(row.digest, set()).add(row.endpoint_id)
    return found


def _add(transaction: Transaction, endpoint_id: str, held: Mapping[str, int]) -> None:
    if held:
        transaction.execute(
            sa.insert(holdings),
            [{"endpoint_id": endpoint_id, "digest": digest, "size_bytes": size} for digest, size in held.items()],
        )


def _check(held: Mapping[str, int]) -> None:
    fine = all(digest.isalnum() and len(digest) <= _LONGEST and size >= 0 for digest, size in held.items())
    if len(held) > _MOST or not fine:
        raise InvalidRequest("That is not what a cache can hold.", field="cached")
