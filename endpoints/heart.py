"""Heartbeats with the inventory, and the look at engine and journals that feeds them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from endpoints.engine import ChunkEngine
from endpoints.environments import Environments
from endpoints.handout import Handout
from endpoints.leasing import Leaser
from endpoints.ledger import Ledger
from endpoints.output_archive import OutputArchive
from endpoints.service import Service
from faas.models import Heartbeat

logger = logging.getLogger(__name__)

_LOOK_S = 1.0
_LOOK_STARTING_S = 0.1


class Heart:
    """Tells the service that the agent lives and what it holds; learns what to stop.

    Args:
        service: to tell.
        engine: watched for workers.
        ledger: the inventory.
        handout: knows what started, and stops what is recalled.
        environments: to tell of.
        leaser: knows the last lease answer.
        heartbeat_s: the rhythm the service expects.
        workers_changed: called with the number of workers when it changes.
        archive: hands over the output that people want to see.
    """

    def __init__(
        self,
        service: Service,
        engine: ChunkEngine,
        ledger: Ledger,
        handout: Handout,
        environments: Environments,
        leaser: Leaser,
        heartbeat_s: float,
        workers_changed: Callable[[int], None],
        archive: OutputArchive,
    ) -> None:
        self._service = service
        self._engine = engine
        self._ledger = ledger
        self._handout = handout
        self._environments = environments
        self._leaser = leaser
        self._heartbeat_s = heartbeat_s
        self._workers_changed = workers_changed
        self._archive = archive
        self._news = asyncio.Event()
        self._started: dict[str, float] = {}
        self._environments_told: dict[str, dict[str, str]] = {}
        environments.changed = self._news.set

    async def beat(self) -> None:
        """Send heartbeats, for ever: a long poll each, cut short when there is news to tell.

        Raises:
            Conflict: the session is over.
        """
        while True:
            self._news.clear()
            told = dict(self._started)
            beat = self._inventory(told)
            asking = asyncio.ensure_future(self._service.heartbeat(beat))
            news = asyncio.ensure_future(self._news.wait())
            try:
                await asyncio.wait({asking, news}, return_when=asyncio.FIRST_COMPLETED)
                if not asking.done():
                    continue
                answer = asking.result()
            finally:
                asking.cancel()
                news.cancel()
            for attempt in told:
                self._started.pop(attempt, None)
            self._environments_told = beat.environments or self._environments_told
            self._handout.recall(answer.recalled)
            self._archive.deliver(answer.logs_wanted)

    def _inventory(self, started: dict[str, float]) -> Heartbeat:
        environments = self._environments.told()
        return Heartbeat(
            lease_number=self._leaser.number,
            held=self._ledger.keys(),
            started=started,
            workers=self._engine.workers,
            idle_workers=self._handout.idle_workers,
            delivering=self._archive.delivering,
            environments={} if environments == self._environments_told else environments,
            # News is told without waiting for the answer to it; the next beat waits.
            wait_s=0.0 if started else self._heartbeat_s,
        )

    async def look(self) -> None:
        """Look after the engine and the journals every second, for ever.

        Raises:
            EngineFailed: the engine has to be started again.
        """
        workers = -1
        while True:
            await self._engine.look()
            if self._engine.workers != workers:
                workers = self._engine.workers
                self._workers_changed(workers)
                self._handout.pump()
                self._leaser.room()
                self._news.set()
            if self._environments.told() != self._environments_told:
                self._news.set()
            if self._handout.outstanding and (news := self._handout.mark_started()):
                self._started.update(news)
                self._news.set()
            await asyncio.sleep(_LOOK_S if workers else _LOOK_STARTING_S)
