"""The service's parts, put together, and what it does besides answering."""

from __future__ import annotations

import asyncio
import logging
import threading
from dataclasses import dataclass

from registry import objects, sessions
from registry.database import Database
from registry.migrate import migrate
from registry.objects import StoredObject
from router.authentication import Authenticator
from router.dispatch import Dispatch
from router.hints import Hints
from router.minted import Minted
from router.policies import POLICIES
from router.reports import Reports
from router.run_times import RunTimes
from router.settings import ServiceSettings
from router.store import Store, open_store
from router.wakeups import Wakeups

log = logging.getLogger(__name__)

TICK_S = 2.0
SWEEP_S = 60.0
_SWEEP_SLICE = 500


@dataclass
class Service:
    """What the routes work with."""

    settings: ServiceSettings
    database: Database
    store: Store
    wakeups: Wakeups
    authenticator: Authenticator
    hints: Hints
    dispatch: Dispatch
    reports: Reports

    @classmethod
    def assemble(cls, settings: ServiceSettings) -> Service:
        """Open the database and the store.

        Raises:
            ConfigurationError: one of them cannot be used.
        """
        wakeups = Wakeups()
        store = open_store(settings.store_url)
        database = Database(settings.database_url, on_commit=wakeups.publish)
        try:
            migrate(database)
        except BaseException:
            database.close()
            raise
        hints = Hints()
        run_times = RunTimes()
        minted = Minted()
        return cls(
            settings=settings,
            database=database,
            store=store,
            wakeups=wakeups,
            authenticator=Authenticator(database),
            hints=hints,
            dispatch=Dispatch(database, store, wakeups, run_times, POLICIES["first_free"], minted),
            reports=Reports(database, store, hints, run_times, minted),
        )

    async def run(self) -> None:
        """Do the housekeeping until cancelled."""
        self.wakeups.attach(asyncio.get_running_loop())
        stop = threading.Event()
        listener = None
        if not self.database.is_sqlite:
            listener = threading.Thread(target=self.database.listen, args=(stop,), name="registry-listen", daemon=True)
            listener.start()
        try:
            await asyncio.gather(self._expire_sessions(), self._sweep_objects())
        finally:
            stop.set()

    async def drop_objects(self, doomed: list[StoredObject]) -> None:
        """Delete the bytes of doomed objects, of those that never came to be complete too, then their rows."""
        for each in doomed:
            if each.upload_id:
                await self.store.abort_upload(each.key, each.upload_id)
        await self.store.delete([each.key for each in doomed])
        await self.database.write(objects.forget, [each.object_id for each in doomed])

    async def close(self) -> None:
        """Let go of the database and the store."""
        await asyncio.to_thread(self.database.close)
        await self.store.close()

    async def _expire_sessions(self) -> None:
        while True:
            try:
                for session_id in await self.database.write(sessions.tick, self.settings.lease_timeout_s):
                    log.warning("session %s was silent too long: its tasks go back to the queue", session_id)
            except Exception:
                log.exception("could not look for silent sessions")
            await asyncio.sleep(TICK_S)

    async def _sweep_objects(self) -> None:
        while True:
            try:
                doomed = await self.database.write(objects.doom, _SWEEP_SLICE)
                if doomed:
                    await self.drop_objects(doomed)
            except Exception:
                log.exception("could not delete objects that nothing refers to")
            await asyncio.sleep(SWEEP_S)
