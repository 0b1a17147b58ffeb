"""Buckets that back locations: leave to read or write one file there, by the service's own keys."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from faas.errors import ConfigurationError, ServiceUnavailable
from faas.models import Grant, Input
from registry.locations import Registered, key_in_bucket
from router.grants import GRANT_S
from router.store import Verb

if TYPE_CHECKING:
    from router.store.s3 import S3Store


log = logging.getLogger(__name__)

_LOOK_S = 3.0
"""How long a bucket may take to tell of a file while a lease waits."""


@dataclass(frozen=True)
class InBucket:
    """A file that a task refers to, in the bucket that backs its location."""

    name: str
    """As the task names it."""
    location: Registered


class Buckets:
    """The buckets of registered locations, opened when they are first needed."""

    def __init__(self) -> None:
        self._stores: dict[str, S3Store] = {}

    async def inputs(self, files: set[InBucket]) -> dict[InBucket, Input]:
        """Leave to read files, with what tells their content where the bucket says so in time.

        Raises:
            ServiceUnavailable: a bucket's keys cannot be had.
        """
        return dict(zip(files, await asyncio.gather(*(self._input(file) for file in files)), strict=True))

    async def grants(self, files: set[InBucket], verb: Verb) -> dict[InBucket, Grant]:
        """Leave to read or write files.

        Raises:
            ServiceUnavailable: a bucket's keys cannot be had.
        """
        return dict(zip(files, await asyncio.gather(*(self._grant(file, verb) for file in files)), strict=True))

    async def check(self, location: Registered) -> None:
        """Find out that a location's bucket can be read.

        Raises:
            ConfigurationError: it cannot; the message says why.
        """
        if urlsplit(location.url).scheme != "s3":
            raise ConfigurationError(f"{location.url[:80]!r} names no bucket. Write s3://bucket/prefix.")
        await self.opened(location).check_reading()

    async def close(self) -> None:
        """Let go of threads and connections."""
        for store in self._stores.values():
            await store.close()

    async def _input(self, file: InBucket) -> Input:
        store = self.opened(file.location)
        # One that is not there, or is not told of, is asked for all the same: the site then tells its task, by the
        # store's own words. Other tasks of the lease are not to wait for a bucket that they have nothing to do with.
        size_bytes, etag = -1, ""
        try:
            found = await asyncio.wait_for(store.find_name(key_in_bucket(file.name, file.location)), _LOOK_S)
            size_bytes, etag = found or (size_bytes, etag)
        except (ServiceUnavailable, asyncio.TimeoutError) as error:
            log.warning("%s tells nothing of %s: %s", file.location.url, file.name, error or "no answer in time")
        return Input(
            grant=await self._grant(file, "GET"),
            size_bytes=size_bytes,
            etag=etag,
            name=file.name.rpartition("/")[2],
        )

    async def _grant(self, file: InBucket, verb: Verb) -> Grant:
        signed = await self.opened(file.location).grant_name(
            key_in_bucket(file.name, file.location), verb, expires_s=GRANT_S
        )
        return Grant(
            object_id=file.name, verb=verb, url=signed.url, headers=dict(signed.headers), expires_at=signed.expires_at
        )

    def opened(self, location: Registered) -> S3Store:
        """The bucket of a location."""
        parts = urlsplit(location.url)
        bucket = parts._replace(path="").geturl()
        if bucket not in self._stores:
            from router.store.s3 import open_s3_store  # takes boto3: memory that most services need not spend

            self._stores[bucket] = open_s3_store(bucket)
        return self._stores[bucket]
