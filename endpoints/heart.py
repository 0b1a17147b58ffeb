"""Heartbeats with the inventory, and the look at engines and journals that feeds them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

import msgspec

from endpoints.block_book import BlockEnds
from endpoints.cache import Cache
from endpoints.demand import KnownDemand
from endpoints.environments import Environments
from endpoints.lane import Lane
from endpoints.leasing import Leaser
from endpoints.ledger import Ledger
from endpoints.output_archive import OutputArchive
from endpoints.service import Service
from endpoints.spending import Spending
from faas.models import Heartbeat, HeartbeatResponse
from faas.patience import wait_a_while

logger = logging.getLogger(__name__)

_LOOK_S = 1.0
_LOOK_RESTLESS_S = 0.2


class Heart:
    """Tells the service that the agent lives and what it holds; learns what to stop.

    Args:
        service: to tell.
        lanes: their engines are watched for workers and blocks.
        ledger: the inventory.
        environments: to tell of.
        leaser: knows the last lease answer.
        demand: told what waits at the service.
        spending: told what was spent.
        ends: blocks of earlier sessions to tell of.
        heartbeat_s: the rhythm the service expects.
        workers_changed: called with the number of workers when it changes.
        archive: hands over the output that people want to see.
        cache: what it comes to hold and drops is told with whatever heartbeat comes next; it is no reason for one.
    """

    def __init__(
        self,
        service: Service,
        lanes: Sequence[Lane],
        ledger: Ledger,
        environments: Environments,
        leaser: Leaser,
        demand: KnownDemand,
        spending: Spending,
        ends: BlockEnds,
        heartbeat_s: float,
        workers_changed: Callable[[int], None],
        archive: OutputArchive,
        cache: Cache,
    ) -> None:
        self._service = service
        self._lanes = lanes
        self._ledger = ledger
        self._environments = environments
        self._leaser = leaser
        self._demand = demand
        self._spending = spending
        self._ends = ends
        self._heartbeat_s = heartbeat_s
        self._workers_changed = workers_changed
        self._archive = archive
        self._cache = cache
        self._news = asyncio.Event()
        self._stirred = {lane.shape: asyncio.Event() for lane in lanes}
        self._started: dict[str, float] = {}
        self._environments_told: dict[str, dict[str, str]] = {}
        environments.changed = self._news.set

    def news(self) -> None:
        """Something is to be told at once."""
        self._news.set()

    def stir(self) -> None:
        """Look at the engines at once: there may be more or less work for them."""
        for stirred in self._stirred.values():
            stirred.set()

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
            self._take_in(beat, answer)

    async def last_beat(self) -> None:
        """Tell of the ends of the blocks, once the engines have stopped."""
        if blocks := self._ends.blocks:
            beat = Heartbeat(lease_number=self._leaser.number, held=self._ledger.keys(), blocks=blocks)
            await self._service.heartbeat(beat)
            self._ends.told({block.block_id for block in blocks})

    def _inventory(self, started: dict[str, float]) -> Heartbeat:
        environments = self._environments.told()
        if environments == self._environments_told:
            environments = {}
        cached, uncached = self._cache.news()
        return Heartbeat(
            lease_number=self._leaser.number,
            held=self._ledger.keys(),
            started=started,
            workers=sum(lane.engine.workers for lane in self._lanes),
            idle_workers=sum(lane.handout.idle_workers for lane in self._lanes),
            delivering=self._archive.delivering,
            environments=environments,
            # Copied, for they change while they are on their way, and only what was told may be forgotten.
            blocks=self._ends.blocks
            + [msgspec.structs.replace(block) for lane in self._lanes for block in lane.engine.blocks()],
            problem=self._problem(),
            cached=cached,
            uncached=uncached,
            ports=[port for lane in self._lanes for port in lane.engine.ports],
            known_demand=self._demand.tasks,
            # News is told without waiting for the answer to it; the next beat waits.
            wait_s=0.0 if started or environments or cached or uncached else self._heartbeat_s,
        )

    def _problem(self) -> str:
        """Why nothing can run; with several shapes, which of them is concerned."""
        problems = {lane.shape: lane.engine.problem for lane in self._lanes if lane.engine.problem}
        if len(self._lanes) == 1:
            return next(iter(problems.values()), "")
        return " ".join(f"Workers of shape {shape}: {problem}" for shape, problem in problems.items())

    def _take_in(self, beat: Heartbeat, answer: HeartbeatResponse) -> None:
        ended = {block.block_id for block in beat.blocks if block.ended_at is not None}
        self._spending.told(answer.spent, beat.blocks)
        self._ends.told(ended)
        self._cache.told(beat.cached, beat.uncached)
        for lane in self._lanes:
            self._spending.forgotten(lane.engine.forget(ended))
        self._demand.told(answer.demand)
        self._lanes[0].handout.recall(answer.recalled)
        self._archive.deliver(answer.logs_wanted)
        self.stir()

    async def look(self, lane: Lane) -> None:
        """Look after a lane's engine and journals every second, for ever; sooner when there is demand.

        Raises:
            EngineFailed: the engine has to be started again.
        """
        workers = -1
        stirred = self._stirred[lane.shape]
        while True:
            stirred.clear()
            await lane.engine.look(lane.backlog(self._demand.of(lane.shape)))
            if lane.engine.workers != workers:
                workers = lane.engine.workers
                self._workers_changed(sum(each.engine.workers for each in self._lanes))
                lane.handout.pump()
                self._leaser.room()
                self._news.set()
            if self._environments.told() != self._environments_told:
                self._news.set()
            if lane.handout.outstanding and (news := lane.handout.mark_started()):
                self._started.update(news)
                self._news.set()
            await wait_a_while(stirred, _LOOK_RESTLESS_S if lane.engine.restless else _LOOK_S)
