"""Keeps triggers going in the service: their sources run, what waits goes in, and buckets are listed."""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from registry import trigger_events, triggers
from registry.database import Database
from registry.triggers import Known
from router import wakeups
from router.buckets import Buckets
from router.triggers.directories import DirectorySource
from router.triggers.intake import DECISIONS, Intake
from router.triggers.listing import Listing
from router.triggers.queues import QueueSource
from router.wakeups import Wakeups

log = logging.getLogger(__name__)

LOOK_S = 5.0
"""Between looks for triggers that another replica was told of, or for whose hour has passed."""
_GATHER_S = 0.05
"""Ends of tasks within this time are noted together."""


class Source(Protocol):
    """What tells of uploads by itself until it is stopped."""

    def stop(self) -> None:
        """Stop; returns at once."""


class Triggers:
    """The triggers of one service; several services on one database may keep them at once, to no harm.

    Args:
        database: the registry's.
        buckets: of locations.
        wakeups: tell when tasks end.

    Example:
        >>> await Triggers(database, buckets, wakeups).run()
    """

    def __init__(self, database: Database, buckets: Buckets, wakeups: Wakeups) -> None:
        self._database = database
        self._wakeups = wakeups
        self.intake = Intake(database)
        self.listing = Listing(database, buckets, self.intake)
        self._sources: dict[str, Source] = {}
        self._listings: dict[str, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()

    def look(self) -> None:
        """Look at once: a trigger was created, paused, resumed or deleted."""
        self._changed.set()

    async def run(self) -> None:
        """Keep triggers going until cancelled."""
        try:
            while True:
                self._changed.clear()
                try:
                    await self._round(await self._database.read(triggers.active))
                except Exception:
                    log.exception("could not look after triggers")
                    await asyncio.sleep(LOOK_S)
        finally:
            for source in self._sources.values():
                source.stop()
            for listing in self._listings.values():
                listing.cancel()

    async def _round(self, active: list[Known]) -> None:
        """Look after each, then wait until something has changed, a task ended, or it is time to look anyway."""
        with self._wakeups.listen(*(wakeups.group(trigger.group_id) for trigger in active)) as ended:
            self._run_sources(active)
            for trigger in active:
                await self._proceed(trigger)
            waiting = [asyncio.ensure_future(each.wait()) for each in (ended, self._changed)]
            try:
                done, _ = await asyncio.wait(waiting, timeout=LOOK_S, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for each in waiting:
                    each.cancel()
        if done:
            await asyncio.sleep(_GATHER_S)

    async def _proceed(self, trigger: Known) -> None:
        admitted = trigger_events.SLICE
        while admitted == trigger_events.SLICE:
            admitted = await self._database.write(trigger_events.proceed, trigger.trigger_id, DECISIONS)

    def _run_sources(self, active: list[Known]) -> None:
        wanted = {trigger.trigger_id: trigger for trigger in active}
        for trigger_id in [each for each in self._sources if each not in wanted]:
            self._sources.pop(trigger_id).stop()
        for trigger_id in [each for each in self._listings if each not in wanted]:
            self._listings.pop(trigger_id).cancel()
        for trigger_id, trigger in wanted.items():
            if trigger_id not in self._sources:
                if trigger.kind == "directory":
                    self._sources[trigger_id] = DirectorySource(trigger, self.intake, self._database)
                elif trigger.kind == "sqs":
                    self._sources[trigger_id] = QueueSource(trigger, self.intake)
            url = trigger.source if trigger.kind == "s3" else trigger.settings.listing
            if url and trigger_id not in self._listings:
                self._listings[trigger_id] = asyncio.create_task(self._list(trigger_id, url))

    async def _list(self, trigger_id: str, url: str) -> None:
        while True:
            trigger = await self._database.read(triggers.known, trigger_id)
            if trigger is None:
                return
            try:
                await self.listing.reconcile(trigger, url)
            except Exception as error:
                log.warning("trigger %s: %s could not be listed: %s", trigger.name, url, error)
            await asyncio.sleep(trigger.settings.reconcile_s)
