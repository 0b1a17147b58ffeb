"""One session at work: the loops of lease, heartbeat, engine and reports, from open to close."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from endpoints.block_book import BlockBook, BlockEnds
from endpoints.cache import Cache
from endpoints.chunking import RunTimes
from endpoints.configuration import Configuration
from endpoints.demand import KnownDemand
from endpoints.engine import ChunkEngine, EngineFailed, Premises
from endpoints.environments import Environments
from endpoints.functions import FunctionCodes
from endpoints.handout import Handout
from endpoints.heart import Heart
from endpoints.inputs import Inputs
from endpoints.intake import Intake
from endpoints.lane import Lane
from endpoints.leasing import Leaser
from endpoints.ledger import Ledger
from endpoints.locations import Locations
from endpoints.output_archive import OutputArchive
from endpoints.outputs import Outputs
from endpoints.places import Places
from endpoints.reporter import Reporter
from endpoints.segments import GrantStock
from endpoints.service import Service
from endpoints.spending import Spending
from endpoints.spool import Spool
from endpoints.values import Values
from faas.models import AttemptKey, SessionOpened

logger = logging.getLogger(__name__)

EngineFactory = Callable[[Premises, str], ChunkEngine]
"""From what a session's engines share, and a shape, an engine that is not started."""

_UNKNOWN_S = 1.0
_RESTART_PAUSE_S = 1.0
_RESTART_PAUSE_MAX_S = 60.0
_DELIVER_S = 5.0
_ENGINE_GOOD_S = 60.0


class Site:
    """Everything an agent runs within one session.

    Args:
        configuration: the endpoint's.
        places: its files.
        service: with the session open.
        opened: the session.
        nonce: the session's.
        engine_of: from what engines share and a shape, an engine that is not started yet.
        run_times: kept from session to session.
        cache: likewise.
        workers_changed: called with the number of workers when it changes.
    """

    def __init__(
        self,
        configuration: Configuration,
        places: Places,
        service: Service,
        opened: SessionOpened,
        nonce: str,
        engine_of: EngineFactory,
        run_times: RunTimes,
        cache: Cache,
        workers_changed: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._configuration = configuration
        locations = Locations(configuration.locations, opened.owner_id)
        outputs = Outputs(places.run / "outputs", locations, service)
        self._service = service
        shapes = configuration.shapes_by_size()
        self._spending = Spending(configuration.blocks.max_node_hours)
        premises = Premises(
            configuration,
            places.run,
            nonce,
            BlockBook(places.blocks, nonce),
            budget=lambda: self._spending.budget([block for each in self._engines for block in each.blocks()]),
            changed=lambda: self._heart.news(),
        )
        self._engines = [engine_of(premises, shape) for shape in shapes]
        self._ends = BlockEnds(places.block_ends)
        stock = GrantStock()
        self._environments = Environments(configuration.environments)
        self.ledger = Ledger(run_times, unknown_s=_UNKNOWN_S, shapes=shapes)
        self.reporter = Reporter(
            service,
            stock,
            Spool(places.spool),
            configuration.spool,
            settled=self._settled,
            recalled=lambda attempts: self.handout.recall(attempts),
        )
        self._lanes = [
            self._lane(configuration, places, nonce, shape, engine, run_times, outputs)
            for shape, engine in zip(shapes, self._engines, strict=True)
        ]
        self._intake = Intake(
            configuration,
            self._environments,
            opened.owner_id,
            self.ledger,
            FunctionCodes(places.run / "code", service),
            Values(places.run / "values", service),
            Inputs(service, cache, locations),
            outputs,
            failed=self.handout.failed,
            released=self.handout.released,
            troubled=self.handout.pause,
            queued=self._queued,
        )
        demand = KnownDemand(shapes[0])
        self._leaser = Leaser(
            service,
            self._lanes,
            self.ledger,
            demand,
            self._intake,
            stock,
            run_times,
            configuration.leasing,
            stir=lambda: self._heart.stir(),
        )
        self._archive = OutputArchive(places.output, places.run / "values", service, configuration.output)
        self._heart = Heart(
            service,
            self._lanes,
            self.ledger,
            self._environments,
            self._leaser,
            demand,
            self._spending,
            self._ends,
            opened.heartbeat_s,
            workers_changed,
            self._archive,
            cache,
        )
        self._loops: list[asyncio.Task[None]] = []

    def _lane(
        self,
        configuration: Configuration,
        places: Places,
        nonce: str,
        shape: str,
        engine: ChunkEngine,
        run_times: RunTimes,
        outputs: Outputs,
    ) -> Lane:
        waiting = self.ledger.waiting[shape]
        handout = Handout(
            configuration,
            self._environments,
            places.run,
            places.output,
            nonce,
            engine,
            self.ledger,
            waiting,
            run_times,
            self.reporter,
            outputs,
            room=lambda: self._leaser.room(),
            service_url=self._service.url,
            ticket=self._service.ticket,
        )
        return Lane(shape, engine, waiting, handout, lambda: self._intake.pending[shape], configuration.leasing)

    @property
    def handout(self) -> Handout:
        """Any of them, for what needs no worker."""
        return self._lanes[0].handout

    def _settled(self, attempts: list[AttemptKey]) -> None:
        full = len(self.ledger) >= self._configuration.leasing.max_held
        self.ledger.settled(attempts)
        if full:
            self._leaser.room()

    def _queued(self) -> None:
        for lane in self._lanes:
            lane.handout.pump()
        self._leaser.room()

    async def run(self) -> None:
        """Work until one of the loops ends, or this is cancelled.

        Raises:
            Conflict: the session is over.
            NotAuthenticated, PermissionDenied: the endpoint's token is not good any more.
        """
        self._leasing = asyncio.ensure_future(self._leaser.run())
        self._loops = [
            self._leasing,
            asyncio.ensure_future(self._heart.beat()),
            asyncio.ensure_future(self.reporter.run()),
            asyncio.ensure_future(self._archive.run()),
            *(asyncio.ensure_future(self._mind(lane)) for lane in self._lanes),
        ]
        done, _ = await asyncio.wait(self._loops, return_when=asyncio.FIRST_EXCEPTION)
        for loop in done:
            loop.result()

    async def _mind(self, lane: Lane) -> None:
        """Keep a lane's engine running, whatever happens to it."""
        engine = lane.engine
        pause_s = _RESTART_PAUSE_S
        while True:
            began = time.monotonic()
            try:
                await engine.start()
                await self._heart.look(lane)
            except EngineFailed as error:
                logger.error("%s Starting the engine again.", error)
            except Exception as error:
                logger.error("the engine cannot be started: %s: %s", type(error).__name__, error)
                logger.debug("details", exc_info=True)
            await engine.stop()
            if time.monotonic() - began > _ENGINE_GOOD_S:
                pause_s = _RESTART_PAUSE_S
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _RESTART_PAUSE_MAX_S)

    async def finish(self, grace_s: float) -> bool:
        """Stop in order: lease no more, let running tasks end for a while, stop the engine, report everything.

        Returns:
            Whether the service knows of every outcome; if not, the rest stays in the spool.
        """
        self._leasing.cancel()
        self._intake.stop()
        if released := self.handout.release_waiting("The endpoint is stopping."):
            logger.info("gave back %d waiting task(s)", released)
        deadline = time.monotonic() + grace_s
        if self._outstanding and grace_s > 0:
            logger.info("waiting up to %.0f s for running tasks", grace_s)
        while self._outstanding and (left_s := deadline - time.monotonic()) > 0:
            await asyncio.sleep(min(0.05, left_s))
        await self.stop_engines()
        try:
            await asyncio.wait_for(self.reporter.delivered(), _DELIVER_S)
            await asyncio.wait_for(self._heart.last_beat(), _DELIVER_S)
        except asyncio.TimeoutError:
            return False
        return True

    @property
    def _outstanding(self) -> bool:
        return any(lane.handout.outstanding or lane.handout.storing for lane in self._lanes)

    async def stop_engines(self) -> None:
        """Stop the engines; what runs is lost."""
        for lane in self._lanes:
            lane.handout.closed = True
        self._intake.stop()
        if minding := self._loops[-len(self._lanes) :]:
            for loop in minding:
                loop.cancel()
            await asyncio.wait(minding)
        await asyncio.gather(*(engine.stop() for engine in self._engines))
        self._ends.add(block for engine in self._engines for block in engine.blocks())
        await asyncio.sleep(0)  # the chunks that failed by this are accounted for in callbacks

    async def abandon(self) -> None:
        """End every loop; what was not reported stays in the spool."""
        self._archive.stop()
        for lane in self._lanes:
            lane.handout.stop_storing()
        for loop in self._loops:
            loop.cancel()
        if self._loops:
            await asyncio.wait(self._loops)
        for held in self.ledger:
            held.free()  # the cache outlives the session
