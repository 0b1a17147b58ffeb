"""One session at work: the loops of lease, heartbeat, engine and reports, from open to close."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from endpoints.chunking import RunTimes
from endpoints.configuration import Configuration
from endpoints.engine import ChunkEngine, EngineFailed
from endpoints.environments import Environments
from endpoints.functions import FunctionCodes
from endpoints.handout import Handout
from endpoints.heart import Heart
from endpoints.intake import Intake
from endpoints.leasing import Leaser
from endpoints.ledger import Ledger
from endpoints.output_archive import OutputArchive
from endpoints.places import Places
from endpoints.reporter import Reporter
from endpoints.segments import GrantStock
from endpoints.service import Service
from endpoints.spool import Spool
from endpoints.values import Values
from faas.models import AttemptKey, SessionOpened

logger = logging.getLogger(__name__)

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
        engine: not started yet.
        run_times: kept from session to session.
        workers_changed: called with the number of workers when it changes.
    """

    def __init__(
        self,
        configuration: Configuration,
        places: Places,
        service: Service,
        opened: SessionOpened,
        nonce: str,
        engine: ChunkEngine,
        run_times: RunTimes,
        workers_changed: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._configuration = configuration
        self._engine = engine
        stock = GrantStock()
        environments = Environments(configuration.environments)
        self.ledger = Ledger(run_times, unknown_s=_UNKNOWN_S)
        self.reporter = Reporter(
            service,
            stock,
            Spool(places.spool),
            configuration.spool,
            settled=self._settled,
            recalled=lambda attempts: self.handout.recall(attempts),
        )
        self.handout = Handout(
            configuration,
            environments,
            places.run,
            places.output,
            nonce,
            engine,
            self.ledger,
            run_times,
            self.reporter,
            room=lambda: self._leaser.room(),
        )
        self._intake = Intake(
            configuration,
            environments,
            opened.owner_id,
            self.ledger,
            FunctionCodes(places.run / "code", service),
            Values(places.run / "values", service),
            failed=self.handout.failed,
            released=self.handout.released,
            troubled=self.handout.pause,
            queued=self._queued,
        )
        self._leaser = Leaser(
            service, engine, self.ledger, self.handout, self._intake, stock, run_times, configuration.leasing
        )
        self._archive = OutputArchive(places.output, places.run / "values", service, configuration.output)
        self._heart = Heart(
            service,
            engine,
            self.ledger,
            self.handout,
            environments,
            self._leaser,
            opened.heartbeat_s,
            workers_changed,
            self._archive,
        )
        self._loops: list[asyncio.Task[None]] = []

    def _settled(self, attempts: list[AttemptKey]) -> None:
        full = len(self.ledger) >= self._configuration.leasing.max_held
        self.ledger.settled(attempts)
        if full:
            self._leaser.room()

    def _queued(self) -> None:
        self.handout.pump()
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
            asyncio.ensure_future(self._mind_engine()),
        ]
        done, _ = await asyncio.wait(self._loops, return_when=asyncio.FIRST_EXCEPTION)
        for loop in done:
            loop.result()

    async def _mind_engine(self) -> None:
        """Keep the engine running, whatever happens to it."""
        pause_s = _RESTART_PAUSE_S
        while True:
            began = time.monotonic()
            try:
                await self._engine.start()
                await self._heart.look()
            except EngineFailed as error:
                logger.error("%s Starting the engine again.", error)
            except Exception as error:
                logger.error("the engine cannot be started: %s: %s", type(error).__name__, error)
                logger.debug("details", exc_info=True)
            await self._engine.stop()
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
        if self.handout.outstanding and grace_s > 0:
            logger.info("waiting up to %.0f s for running tasks", grace_s)
        while self.handout.outstanding and (left_s := deadline - time.monotonic()) > 0:
            await asyncio.sleep(min(0.05, left_s))
        await self.stop_engine()
        try:
            await asyncio.wait_for(self.reporter.delivered(), _DELIVER_S)
        except asyncio.TimeoutError:
            return False
        return True

    async def stop_engine(self) -> None:
        """Stop the engine; what runs is lost."""
        self.handout.closed = True
        self._intake.stop()
        for loop in self._loops[-1:]:
            loop.cancel()
            await asyncio.wait([loop])
        await self._engine.stop()
        await asyncio.sleep(0)  # the chunks that failed by this are accounted for in callbacks

    async def abandon(self) -> None:
        """End every loop; what was not reported stays in the spool."""
        self._archive.stop()
        for loop in self._loops:
            loop.cancel()
        if self._loops:
            await asyncio.wait(self._loops)
