"""Storage grants, minted at use: one object, one verb, some minutes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from faas.models import Grant
from faas.parts import Part
from registry.objects import StoredObject
from router.store import Store, Verb

GRANT_S = 15 * 60.0


async def grant(store: Store, stored: StoredObject, verb: Verb, *, size_bytes: int | None = None) -> Grant:
    """Leave to GET or PUT one object."""
    signed = await store.grant(stored.key, verb, expires_s=GRANT_S, size_bytes=size_bytes)
    return Grant(
        object_id=stored.object_id,
        verb=verb,
        url=signed.url,
        headers=dict(signed.headers),
        expires_at=signed.expires_at,
        sha256=stored.sha256 if verb == "GET" else "",
        inline=verb == "PUT" and store.carried,
    )


async def grant_part(store: Store, stored: StoredObject, upload_id: str, part: Part) -> Grant:
    """Leave to PUT one part of an object."""
    signed = await store.grant_part(
        stored.key, upload_id, part.number, offset=part.offset, size_bytes=part.length, expires_s=GRANT_S
    )
    return Grant(
        object_id=stored.object_id,
        verb="PUT",
        url=signed.url,
        headers=dict(signed.headers),
        expires_at=signed.expires_at,
    )


async def grant_each(store: Store, objects: Iterable[StoredObject], verb: Verb) -> dict[str, Grant]:
    """Grants for several objects, by object id."""
    minted = await asyncio.gather(*(grant(store, stored, verb) for stored in objects))
    return {each.object_id: each for each in minted}
