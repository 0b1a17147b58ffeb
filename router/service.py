"""The service's parts, put together, and what it does besides answering."""

from __future__ import annotations

import asyncio
import logging
import threading
from dataclasses import dataclass

from registry import site_model
from registry.database import Database
from registry.migrate import migrate
from router.authentication import Authenticator
from router.buckets import Buckets
from router.dispatch import Dispatch
from router.foresight import Foresight
from router.hints import Hints
from router.janitor import Janitor
from router.minted import Minted
from router.planner import Planner
from router.policies import POLICIES, find_policy
from router.references import Granting
from router.reports import Reports
from router.run_times import RunTimes
from router.settings import DAY_S, ServiceSettings
from router.store import Store, open_store
from router.triggers.keeper import Triggers
from router.wakeups import Wakeups

log = logging.getLogger(__name__)

_REMEMBER_S = 30.0
"""What was learned of the sites is stored so often, and when the service stops."""


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
    foresight: Foresight | None
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
        policy = find_policy(settings.policy)
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
        foresight = None
        if policy is not POLICIES["first_free"]:
            foresight = Foresight(policy, Planner(overcommit=settings.overcommit), run_times)
        return cls(
            settings=settings,
            database=database,
            store=store,
            wakeups=wakeups,
            authenticator=Authenticator(database),
            hints=hints,
            dispatch=Dispatch(database, store, wakeups, run_times, foresight, minted, granting),
            foresight=foresight,
            reports=Reports(database, store, hints, run_times, minted, foresight),
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
        remembering = asyncio.create_task(self._remember())
        try:
            await asyncio.gather(self.janitor.run(), self.triggers.run())
        finally:
            stop.set()
            remembering.cancel()
            await asyncio.wait([remembering])

    async def _remember(self) -> None:
        """Know what was learned of the sites before, and keep it stored, until cancelled."""
        foresight = self.foresight
        if foresight is None:
            return
        try:
            foresight.recall(await self.database.read(site_model.load))
        except Exception:
            log.exception("could not read what was learned of the sites")
        # What is stored is not ours alone where there are replicas: the first time everything is written.
        before: dict[site_model.Key, str] = {}
        stopping = False
        while not stopping:
            try:
                await asyncio.sleep(_REMEMBER_S)
            except asyncio.CancelledError:
                stopping = True
            wanted = site_model.encode(foresight.learned())
            if wanted != before:
                try:
                    await self.database.write(site_model.save, wanted, before)
                    before = wanted
                except Exception:
                    log.exception("could not store what was learned of the sites")

    async def close(self) -> None:
        """Let go of the database and the store."""
        await asyncio.to_thread(self.database.close)
        await self.store.close()
        await self.buckets.close()
