"""What tasks read: objects and files from buckets by way of the cache, files of the site's own where they lie."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

from endpoints.cache import Cache
from endpoints.fetching import fetch
from endpoints.ledger import Held
from endpoints.locations import Locations, NotHere, ask_file_system
from endpoints.service import Service
from faas.models import Input

_AT_ONCE = 3


class Inputs:
    """Finds or fetches what a task's arguments refer to.

    Args:
        service: to fetch by.
        cache: keeps what was fetched.
        locations: of this site.
    """

    def __init__(self, service: Service, cache: Cache, locations: Locations) -> None:
        self._service = service
        self._cache = cache
        self._locations = locations
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def bring(self, held: Held) -> None:
        """Have every input of a task here, as a file, until the attempt is over.

        Raises:
            NotHere: this site neither has a file nor leave to fetch it.
        ValueError: a name or a checksum is none.
            RequestRefused: the store does not give an object.
            ChecksumMismatch: it gives another.
            OSError: a file system does not work.
        """
        task = held.task
        for name in task.files:
            try:
                if self._locations.has(name):
                    held.value_files[name] = str(await ask_file_system(self._locations.path, name, task))
                elif name not in task.inputs:
                    raise NotHere(f"This site has no way to {name}: it neither mounts its location nor may fetch it.")
            except NotHere:
                if name not in task.inputs:  # else a bucket has it
                    raise
        wanted = {name: each for name, each in task.inputs.items() if name not in held.value_files}
        # All are waited for, whatever becomes of one: what comes late would stay pinned for ever.
        fetching = [self._fetch(held, name, each) for name, each in wanted.items()]
        for error in await asyncio.gather(*fetching, return_exceptions=True):
            if error is not None:
                raise error

    async def _fetch(self, held: Held, name: str, wanted: Input) -> None:
        attempt = held.task.attempt

        async def bring(path: Path) -> None:
            async with self._turns:
                await fetch(self._service, wanted, path, lambda: self._service.renew_grant(attempt, name))

        called = wanted.name or (name if "/" in name else "")
        digest = digest_of(wanted, f"{attempt.sequence}.{attempt.number} {name}")
        cached = await self._cache.borrow(held.task.owner_id, digest, called, wanted.size_bytes, bring)
        held.let_go.append(lambda: self._cache.give_back(cached))
        held.value_files[name] = str(self._cache.path(cached, called))


def digest_of(wanted: Input, otherwise: str) -> str:
    """What stands for an input's content: its checksum, or for files in buckets what changes with it.

    Args:
        wanted: the input.
        otherwise: stands for it if it has neither; then nobody shares it.
    """
    if wanted.sha256:
        return wanted.sha256
    content = f"{wanted.grant.url.partition('?')[0]}\n{wanted.etag}\n{wanted.size_bytes}" if wanted.etag else otherwise
    return hashlib.sha256(content.encode()).hexdigest()
