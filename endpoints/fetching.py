"""Fetches an object into a file: in parallel pieces, in constant memory, checked, with a new grant when one expires."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import IO, TypeAlias, TypeVar

from endpoints.locations import NotHere
from endpoints.service import Service
from faas.errors import ChecksumMismatch, RequestRefused
from faas.models import Grant, Input, Location

logger = logging.getLogger(__name__)

T = TypeVar("T")
Renew: TypeAlias = Callable[[], Awaitable[Grant | None]]
"""Gets a new grant for the same, None if there is none to be had."""

_PIECE_BYTES = 8 * 1024 * 1024
_AHEAD = 3
"""Pieces on their way at once."""
_EXPIRED = frozenset({400, 401, 403})
"""How stores answer to a grant that has expired."""
_RENEWALS = 3
"""Of one piece's grant, before it is believed that the store means no."""


async def fetch(service: Service, wanted: Input, path: Path, renew: Renew) -> None:
    """Fetch an object into a file; what comes with a wrong checksum is fetched once more.

    Args:
        service: to fetch by.
        wanted: its grant, and what is known of it.
        path: written anew.
        renew: called when the grant has expired.

    Raises:
        RequestRefused: the store does not give it, or the grant has expired and there is no other.
        NotHere: the store refuses fresh grants too.
        ChecksumMismatch: what came was wrong twice.
        OSError: it cannot be written.
    """
    source = _Source(service, wanted.grant, renew)
    for again in (True, False):
        came = await _write(source, wanted, path)
        if not wanted.sha256 or came == wanted.sha256:
            return
        if again:
            logger.warning("object %s came with a wrong checksum; fetching it again", wanted.grant.object_id)
    raise mismatch(wanted.grant.object_id, came, wanted.sha256)


def mismatch(object_id: str, came: str, stored: str) -> ChecksumMismatch:
    """The error for an object that came twice with another checksum than it was stored with."""
    return ChecksumMismatch(
        f"Object {object_id} came with the checksum {came}, twice, and was stored with {stored}."
        " What the store holds is damaged, or changed on its way by a proxy: put the data once more."
    )


def checksum_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal; read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()


async def _write(source: _Source, wanted: Input, path: Path) -> str:
    """Fetch all of it; returns its checksum."""
    if wanted.size_bytes < 0:
        await source.save(path)
        return await asyncio.to_thread(checksum_of, path)
    digest = hashlib.sha256()
    offsets = iter(range(0, wanted.size_bytes, _PIECE_BYTES))
    coming: deque[asyncio.Task[bytes]] = deque()

    def ask() -> None:
        if (offset := next(offsets, None)) is not None:
            length = min(_PIECE_BYTES, wanted.size_bytes - offset)
            location = Location(wanted.grant.object_id, offset, length)
            coming.append(asyncio.ensure_future(source.get(location)))

    with path.open("wb") as file:
        try:
            for _ in range(_AHEAD):
                ask()
            while coming:
                piece = await coming[0]
                coming.popleft()
                ask()
                await asyncio.to_thread(_add, file, digest, piece)
        finally:
            for each in coming:
                each.cancel()
            if coming:
                await asyncio.wait(coming)
    return digest.hexdigest()


def _add(file: IO[bytes], digest: hashlib._Hash, piece: bytes) -> None:
    file.write(piece)
    digest.update(piece)


class _Source:
    """An object, by a grant that may have to be replaced while pieces are on their way."""

    def __init__(self, service: Service, grant: Grant, renew: Renew) -> None:
        self._service = service
        self._grant = grant
        self._renew = renew
        self._renewing = asyncio.Lock()

    async def get(self, location: Location) -> bytes:
        """A piece of it."""
        return await self._by_grant(lambda grant: self._service.get_object(grant, location))

    async def save(self, path: Path) -> None:
        """All of it, where its size is not known."""
        await self._by_grant(lambda grant: self._service.save_object(grant, path))

    async def _by_grant(self, call: Callable[[Grant], Awaitable[T]]) -> T:
        renewals = 0
        while True:
            grant = self._grant
            try:
                return await call(grant)
            except RequestRefused as error:
                if error.status not in _EXPIRED:
                    raise
                if renewals == _RENEWALS:
                    raise NotHere(
                        f"The store does not give {grant.object_id} to this site, with fresh grants either: {error}",
                        "serialization",
                    ) from error
                async with self._renewing:
                    if self._grant is grant and not await self._renewed():
                        raise
            renewals += 1

    async def _renewed(self) -> bool:
        grant = await self._renew()
        if grant is not None:
            self._grant = grant
        return grant is not None
