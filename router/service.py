"""The service's parts, put together, and what it does besides answering."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass

from registry.database import Database
from registry.migrate import migrate
from router.authentication import Authenticator
from router.buckets import Buckets
from router.dispatch import Dispatch
from router.hints import Hints
from router.janitor import Janitor
from router.minted import Minted
from router.policies import POLICIES
from router.references import Granting
from router.reports import Reports
from router.run_times import RunTimes
from router.settings import DAY_S, ServiceSettings
from router.store import Store, open_store
from router.triggers.keeper import Triggers
from router.wakeups import Wakeups


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
    janitor: Janitor
    buckets: Buckets
    triggers: Triggers

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
        buckets = Buckets()
        granting = Granting(store, buckets, hints)
        return cls(
            settings=settings,
            database=database,
            store=store,
            wakeups=wakeups,
            authenticator=Authenticator(database),
            hints=hints,
            dispatch=Dispatch(database, store, wakeups, run_times, POLICIES["first_free"], minted, granting),
            reports=Reports(database, store, hints, run_times, minted),
            janitor=Janitor(
                database,
                store,
                lease_timeout_s=settings.lease_timeout_s,
                retention_s=settings.retention_days * DAY_S,
            ),
            buckets=buckets,
            triggers=Triggers(database, buckets, wakeups),
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
            await asyncio.gather(self.janitor.run(), self.triggers.run())
        finally:
            stop.set()

    async def close(self) -> None:
        """Let go of the database and the store."""
        await asyncio.to_thread(self.database.close)
        await self.store.close()
        await self.buckets.close()
