"""Reconciliation by listing: what lies in a bucket and no event told of, a page at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from faas.errors import InvalidRequest
from faas.models import TriggerSettings, UploadEvent
from registry import locations, triggers
from registry.database import Database
from registry.triggers import Known
from router.buckets import Buckets
from router.store.s3 import S3Store
from router.triggers import matching
from router.triggers.intake import Intake

_CLOCKS_S = 5.0
"""How far a store's clock may go behind the database's."""
_COUNTED = 100_000
_SAMPLE = 10


def parse(url: str, field: str) -> tuple[str, str]:
    """A bucket and a prefix of keys.

    Raises:
        InvalidRequest: it names no bucket.
    """
    parts = urlsplit(url)
    if parts.scheme != "s3" or not parts.netloc or parts.query or parts.fragment:
        raise InvalidRequest(f"{url[:80]!r} is not like s3://bucket/prefix.", field=field)
    return parts.netloc, parts.path.lstrip("/")


async def bucket_of(database: Database, buckets: Buckets, owner: str, url: str) -> S3Store:
    """The bucket to list, by way of a location that covers it and that the trigger's owner may read.

    Raises:
        NotFound: there is no such location.
        InvalidRequest: it names no bucket.
    """
    bucket, prefix = parse(url, "source")
    known = await database.read(locations.registered)
    readable = {name: each for name, each in known.items() if each.may_read(owner)}
    name = locations.location_of(f"s3://{bucket}/{prefix.rstrip('/') or 'any'}/any", readable)
    return buckets.opened(readable[name])


class Listing:
    """Lists buckets for triggers.

    Args:
        database: the registry's.
        buckets: of locations.
        intake: takes what is found.
    """

    def __init__(self, database: Database, buckets: Buckets, intake: Intake) -> None:
        self._database = database
        self._buckets = buckets
        self._intake = intake

    async def reconcile(self, trigger: Known, url: str) -> None:
        """Go through a bucket from where the last listing broke off; one page is in memory at a time.

        Raises:
            NotFound: no location covers it for the owner.
            ServiceUnavailable: the bucket does not answer.
        """
        store = await bucket_of(self._database, self._buckets, trigger.owner.identity, url)
        bucket, prefix = parse(url, "source")
        oldest = 0.0 if trigger.backfill else trigger.created_at - _CLOCKS_S
        pages = store.pages_after(prefix, trigger.listed_to)
        while (page := await asyncio.to_thread(next, pages, None)) is not None:
            uploads = list(_uploads(bucket, page, oldest))
            await asyncio.wrap_future(self._intake.take(trigger, uploads))
            if page:
                await self._database.write(triggers.note_listing, trigger.trigger_id, str(page[-1]["Key"]), over=False)
        await self._database.write(triggers.note_listing, trigger.trigger_id, "", over=True)

    async def count(self, owner: str, url: str, settings: TriggerSettings) -> tuple[int, list[str]]:
        """How many objects of a bucket a trigger would take, up to a bound, and the keys of the first."""
        store = await bucket_of(self._database, self._buckets, owner, url)
        bucket, prefix = parse(url, "source")
        pages = store.pages_after(prefix, "")
        matching_count = 0
        sample: list[str] = []
        while matching_count < _COUNTED and (page := await asyncio.to_thread(next, pages, None)) is not None:
            for upload in _uploads(bucket, page, 0.0):
                if matching.matches(settings, upload):
                    matching_count += 1
                    if len(sample) < _SAMPLE:
                        sample.append(upload.key)
        return matching_count, sample


def _uploads(bucket: str, page: list[dict[str, Any]], oldest: float) -> Iterator[UploadEvent]:
    for found in page:
        modified_at = found["LastModified"].timestamp()
        if modified_at >= oldest:
            yield UploadEvent(
                bucket=bucket,
                key=found["Key"],
                size_bytes=found["Size"],
                etag=str(found.get("ETag", "")).strip('"'),
                event_time=modified_at,
            )
