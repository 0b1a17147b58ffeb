"""The service's housekeeping: silent sessions expire, and what was kept long enough goes, a slice at a time."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta, timezone

from registry import retention, sessions
from registry.database import Database
from registry.objects import KINDS, StoredObject
from router.store import Store

log = logging.getLogger(__name__)

TICK_S = 2.0
SWEEP_S = 60.0
EXPIRE_S = 600.0
SLICE = 200
"""Rows that one transaction goes through: few enough for others to wait."""
LISTED = 2_000
"""Objects of the store that one pass looks at."""
_PAUSE_S = 0.02
"""Between slices: what people and agents ask for goes first."""
STRAY_S = 2 * 24 * 3600.0
"""Bytes that no row knows are deleted once they are so old: whatever may still come to know them has happened."""


class Janitor:
    """Does the housekeeping of one service; several services on one database may do it at once.

    Args:
        database: the registry's.
        store: where the bytes are.
        lease_timeout_s: a session silent for longer has lost its tasks.
        retention_s: how long tasks and results are kept after the end.

    Example:
        >>> await Janitor(database, store, lease_timeout_s=15, retention_s=30 * 86400).run()
    """

    def __init__(self, database: Database, store: Store, *, lease_timeout_s: float, retention_s: float) -> None:
        self._database = database
        self._store = store
        self._lease_timeout_s = lease_timeout_s
        self._retention_s = retention_s
        self._listing: AsyncIterator[str] | None = None

    async def run(self) -> None:
        """Do everything in turn until cancelled."""
        await asyncio.gather(
            _every(TICK_S, self.expire_sessions, "look for silent sessions"),
            _every(SWEEP_S, self.delete_objects, "delete objects that nothing refers to"),
            _every(EXPIRE_S, self.let_go, "let go of old tasks"),
            _every(SWEEP_S, self.find_strays, "look for stray objects in the store"),
        )

    async def expire_sessions(self) -> None:
        """Expire the sessions silent for too long; end what can no longer run."""
        for session_id in await self._database.write(sessions.tick, self._lease_timeout_s):
            log.warning("session %s was silent too long: its tasks go back to the queue", session_id)

    async def delete_objects(self) -> None:
        """Delete the objects that have expired."""
        while doomed := await self._database.write(retention.doom, SLICE):
            await self.delete(doomed)
            await asyncio.sleep(_PAUSE_S)

    async def delete(self, doomed: list[StoredObject]) -> None:
        """Delete the bytes of doomed objects, of those that never came to be complete too, then their rows."""
        for each in doomed:
            if each.upload_id:
                await self._store.abort_upload(each.key, each.upload_id)
        await self._store.delete([each.key for each in doomed])
        await self._database.write(retention.forget, [each.object_id for each in doomed])

    async def let_go(self) -> None:
        """Let go of what was kept long enough; the objects that this frees are deleted by the next sweep."""
        while await self._database.write(retention.end_stranded, SLICE):
            await asyncio.sleep(_PAUSE_S)
        before = await self._database.read(lambda transaction: transaction.now) - self._retention_s
        walked = retention.Walked(0, over=False)
        expired = 0
        while not walked.over:
            walked = await self._database.write(retention.expire_tasks, before, walked.position, SLICE)
            expired += walked.expired
            await asyncio.sleep(_PAUSE_S)
        if expired:
            log.info("%d tasks were kept long enough", expired)
        await self._database.write(retention.drop_classes, before, walked.position)
        group_id, over = "", False
        while not over:
            group_id, over = await self._database.write(retention.drop_groups, before, group_id, SLICE)
            await asyncio.sleep(_PAUSE_S)
        while await self._database.write(retention.drop_sessions, before, SLICE):
            await asyncio.sleep(_PAUSE_S)

    async def find_strays(self) -> None:
        """Go on through the store, a stretch at a time, and delete bytes that no row knows."""
        listing = self._listing = self._listing or self._old_keys()
        keys: list[str] = []
        try:
            while len(keys) < LISTED:
                keys.append(await anext(listing))
        except StopAsyncIteration:
            self._listing = None
        except Exception:
            self._listing = None  # an iterator that raised has ended: begin again
            raise
        day = (datetime.now(timezone.utc) - timedelta(seconds=STRAY_S)).strftime("%Y-%m-%d")
        for start in range(0, len(keys), SLICE):
            some = keys[start : start + SLICE]
            strays = await self._database.read(retention.unknown_keys, some, day)
            if strays:
                log.warning("deleting %d objects that the registry does not know, such as %s", len(strays), strays[0])
                await self._store.delete(strays)

    async def _old_keys(self) -> AsyncIterator[str]:
        for kind in KINDS:
            async for found in self._store.list(f"{kind}s/"):
                if found.modified_at < time.time() - STRAY_S:
                    yield found.key


async def _every(seconds: float, work: Callable[[], Awaitable[None]], what: str) -> None:
    while True:
        try:
            await work()
        except Exception:
            log.exception("could not %s", what)
        await asyncio.sleep(seconds)
