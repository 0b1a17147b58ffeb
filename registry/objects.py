"""Objects in the store: ids are minted here, grants are for exactly one of them."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from faas.errors import Conflict, NotFound
from faas.models import ContentKind, Location

from .database import AnyRow, Transaction
from .identities import Principal
from .prepared import Prepared, among
from .schema import objects

DOOMED = 0.0
"""When an object expires that is being deleted: nothing can come to refer to it any more."""
KINDS = ("argument", "log", "object", "result", "segment")
"""What objects are for; the first part of their keys."""
UNREFERENCED_S = 24 * 3600.0
"""An object that nothing refers to after this long is deleted."""


_CREATE = Prepared(
    sa.insert(objects),
    [
        "object_id",
        "owner_id",
        "endpoint_id",
        "kind",
        "key",
        "size_bytes",
        "created_at",
        "expires_at",
        "sha256",
        "content",
        "name",
        "kept",
    ],
)
_KEEP = Prepared(
    sa.update(objects)
    .where(objects.c.object_id == sa.bindparam("o"))
    .values(
        size_bytes=sa.bindparam("size"),
        expires_at=sa.null(),
        members=objects.c.members + sa.bindparam("more", type_=sa.Integer),
    )
)


@dataclass(frozen=True)
class StoredObject:
    """An object's id and its place in the store."""

    object_id: str
    key: str
    owner_id: str
    size_bytes: int | None = None
    sha256: str = ""
    content: ContentKind = "value"
    name: str = ""
    upload_id: str = ""
    """Of the upload in parts that is to become it; empty once that is complete, and where there is none."""

    def finished(self) -> StoredObject:
        """The object itself, if it is no upload still under way.

        Raises:
            Conflict: it is.
        """
        if self.upload_id:
            raise Conflict(
                f"The upload of object {self.object_id} is not complete.",
                fix="Finish it: the same client.put or `faas object put` again, or wait for whoever is at it.",
                field="object_id",
            )
        return self


_standing = objects.c.expires_at.is_distinct_from(DOOMED)
_segments = sa.select(objects).where(
    _standing,
    among(objects.c.object_id, "ids"),
    objects.c.endpoint_id == sa.bindparam("of_endpoint"),
    sa.or_(objects.c.kind == "segment", objects.c.kind == "result"),
)
_SEGMENTS = Prepared(_segments)
_SEGMENTS_HELD = Prepared(_segments.order_by(objects.c.object_id).with_for_update())


def create(
    transaction: Transaction,
    owner_id: str,
    kind: str,
    *,
    endpoint_id: str | None = None,
    size_bytes: int | None = None,
    sha256: str = "",
    content: ContentKind = "value",
    name: str = "",
    kept: bool = False,
    attempt: str = "",
) -> StoredObject:
    """Mint an object. It expires unless something comes to refer to it.

    Args:
        transaction: the transaction.
        owner_id: whose data it will hold; an object never mixes owners.
        kind: ``segment`` or ``result`` (results), ``argument``, ``object`` (of people's own) or ``log``.
        endpoint_id: the only endpoint whose reports may point into it.
        size_bytes: its size, where it is known beforehand.
        sha256: of its bytes, where it is known beforehand.
        content: what it holds.
        name: of the file it is a copy of.
        kept: whether it is to stay once it is complete.
        attempt: of a ``result``, the attempt whose it is; part of its key.
    """
    object_id = str(uuid.uuid4())
    day = datetime.datetime.fromtimestamp(transaction.now, datetime.timezone.utc).strftime("%Y-%m-%d")
    key = f"{kind}s/{owner_id}/{day}/{f'{attempt}.' if attempt else ''}{object_id}"
    _CREATE.run(
        transaction,
        [
            {
                "object_id": object_id,
                "owner_id": owner_id,
                "endpoint_id": endpoint_id,
                "kind": kind,
                "key": key,
                "size_bytes": size_bytes,
                "created_at": transaction.now,
                "expires_at": transaction.now + UNREFERENCED_S,
                "sha256": sha256 or None,
                "content": content,
                "name": name or None,
                "kept": kept,
            }
        ],
    )
    return StoredObject(object_id, key, owner_id, size_bytes, sha256, content, name)


def find(transaction: Transaction, object_ids: set[str]) -> dict[str, StoredObject]:
    """Objects by id; unknown ones are left out."""
    query = sa.select(objects).where(_standing, among(objects.c.object_id, sorted(object_ids)))
    return {row.object_id: stored(row) for row in transaction.execute(query).all()}


def stored(row: AnyRow) -> StoredObject:
    """An object from its row."""
    return StoredObject(
        row.object_id,
        row.key,
        row.owner_id,
        row.size_bytes,
        row.sha256 or "",
        row.content,
        row.name or "",
        row.upload_id or "",
    )


def own(transaction: Transaction, principal: Principal, object_id: str) -> StoredObject:
    """One of the caller's objects, complete.

    Raises:
        NotFound: unknown, or another identity's.
        Conflict: it is still on its way up.
    """
    found = find(transaction, {object_id}).get(object_id)
    if found is None or found.owner_id != principal.identity_id:
        raise NotFound(
            f"There is no object {object_id[:80]!r} of yours.", fix="`faas object list` shows yours.", field="object_id"
        )
    return found.finished()


def segments_granted(
    transaction: Transaction, endpoint_id: str, object_ids: set[str], *, hold: bool = False
) -> dict[str, StoredObject]:
    """Of these ids, the segments and single results that this endpoint was granted.

    Their size is known once a result in them counts, and None before. ``hold`` keeps ``doom`` off them until the
    commit.
    """
    statement = _SEGMENTS_HELD if hold else _SEGMENTS
    return {
        row.object_id: StoredObject(
            row.object_id, row.key, row.owner_id, row.size_bytes if row.expires_at is None else None
        )
        for row in statement.rows(transaction, ids=sorted(object_ids), of_endpoint=endpoint_id)
    }


def is_for(result: StoredObject, attempt: str) -> bool:
    """Whether an object may hold the result of an attempt, ``task_id.number``: one of a single result says whose."""
    return not result.key.startswith("results/") or result.key.rpartition("/")[2].startswith(f"{attempt}.")


def keep(transaction: Transaction, sizes: Mapping[str, int], results: Mapping[str, int]) -> None:
    """Note that results of tasks that ended now lie in these objects.

    Args:
        transaction: the transaction.
        sizes: their stored sizes; others may be among them.
        results: object id to how many results more it holds.
    """
    _KEEP.run(
        transaction,
        [{"o": object_id, "size": sizes[object_id], "more": more} for object_id, more in sorted(results.items())],
    )


def within(location: Location, size_bytes: int) -> bool:
    """Whether a reported range lies inside the object."""
    return location.offset >= 0 and location.length_bytes >= 0 and location.offset + location.length_bytes <= size_bytes
