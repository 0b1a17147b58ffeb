"""Values that tasks refer to: fetched by grant once, shared by the tasks that need them, gone with the last."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from pathlib import Path

from endpoints.fetching import checksum_of, mismatch
from endpoints.service import Service
from faas.models import Grant, Location

IN_CHUNK_BYTES = 256 * 1024
"""Larger values go to workers as files."""
_PIECE_BYTES = 16 * 1024 * 1024


class Value:
    """One fetched object, or a range of it: bytes in memory, or a file."""

    __slots__ = ("coming", "data", "path", "users")

    def __init__(self) -> None:
        self.data = b""
        self.path: Path | None = None
        self.users = 0
        self.coming: asyncio.Task[None] | None = None


class Values:
    """Fetched values by what they are a copy of.

    Args:
        directory: ``values/`` of the run directory, for the large ones.
        service: to fetch by.
        at_once: fetches at the same time.
    """

    def __init__(self, directory: Path, service: Service, at_once: int = 8) -> None:
        self._directory = directory
        self._service = service
        self._values: dict[tuple[str, int, int], Value] = {}
        self._turns = asyncio.Semaphore(at_once)
        self._names = itertools.count()

    async def borrow(self, grant: Grant, location: Location | None = None) -> tuple[tuple[str, int, int], Value]:
        """Get a value; :meth:`give_back` it when the task is over, also if this fails.

        Raises:
            RequestRefused: the store does not give it.
            ChecksumMismatch: it gives other bytes than were stored.
        """
        key = (grant.object_id, location.offset, location.length_bytes) if location else (grant.object_id, 0, -1)
        value = self._values.get(key)
        if value is None:
            value = self._values[key] = Value()
            value.coming = asyncio.ensure_future(self._fetch(value, grant, location))
        value.users += 1
        try:
            if value.coming is not None:
                await asyncio.shield(value.coming)
        except BaseException:
            if self._values.get(key) is value and value.coming is not None and value.coming.done():
                del self._values[key]  # the next one tries with a grant of its own
            raise
        return key, value

    def give_back(self, key: tuple[str, int, int]) -> None:
        """One task less needs this value."""
        value = self._values.get(key)
        if value is None:
            return
        value.users -= 1
        if value.users <= 0:
            del self._values[key]
            if value.path is not None:
                value.path.unlink(missing_ok=True)

    async def _fetch(self, value: Value, grant: Grant, location: Location | None) -> None:
        async with self._turns:
            if location is not None and location.length_bytes > IN_CHUNK_BYTES:
                value.path = await self._to_file(grant, location)
                return
            if location is not None:
                value.data = await self._service.get_object(grant, location) if location.length_bytes else b""
                return
            await self._fetch_whole(value, grant)

    async def _fetch_whole(self, value: Value, grant: Grant) -> None:
        """Fetch an object of unknown size; once more if its checksum is wrong."""
        path = self._directory / f"{next(self._names)}"
        for again in (True, False):
            data = await self._service.save_object(grant, path, IN_CHUNK_BYTES)
            if data is None:
                value.path = path
            else:
                value.data = data
            if not grant.sha256:
                return
            came = await asyncio.to_thread(checksum_of, path) if data is None else hashlib.sha256(data).hexdigest()
            if came == grant.sha256:
                return
            if not again:
                path.unlink(missing_ok=True)
                raise mismatch(grant.object_id, came, grant.sha256)

    async def _to_file(self, grant: Grant, location: Location) -> Path:
        """Fetch piece by piece: a large value need not fit into the agent's memory."""
        path = self._directory / f"{next(self._names)}"
        with path.open("wb") as file:
            done = 0
            while done < location.length_bytes:
                length = min(_PIECE_BYTES, location.length_bytes - done)
                piece = Location(location.object_id, location.offset + done, length)
                file.write(await self._service.get_object(grant, piece))
                done += length
        return path
