"""The agent: one process per site and account that leases tasks, has them run, and delivers their results."""

from __future__ import annotations

import asyncio
import logging
import signal
from contextlib import ExitStack
from pathlib import Path

from endpoints.cache import Cache
from endpoints.chunking import RunTimes
from endpoints.claim import claim_of
from endpoints.configuration import Configuration
from endpoints.engine import Engine
from endpoints.job_queue import QueueUnavailable
from endpoints.places import Places
from endpoints.profiles import check_profile
from endpoints.recovery import cancel_leftover_jobs, clear_run_directory, spool_lost, stop_leftovers
from endpoints.reporter import Reporter
from endpoints.segments import GrantStock
from endpoints.service import Service
from endpoints.session import SessionState
from endpoints.site import EngineFactory, Site
from endpoints.spool import Spool
from endpoints.threads import in_thread
from endpoints.transport import aiohttp_transport
from faas.credentials import Credentials
from faas.errors import AlreadyRunning, Conflict, RequestRefused
from faas.link import AsyncLink
from faas.models import SessionOpened
from faas.patience import wait_a_while

logger = logging.getLogger(__name__)

EXIT_STOPPED = 0
EXIT_FAILED = 1
_CLOSE_S = 5.0
_CANCEL_AGAIN_S = 60.0
_TURN_S = 1.0
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Agent:
    """Runs an endpoint until it is told to stop.

    Args:
        configuration: the endpoint's ``config.yaml``.
        credentials: what it shows the service.
        places: its files.
        takeover: replace an agent that runs elsewhere.
        patient: wait for an agent that runs to end, as its successor does.
        link: to the service, in place of one made from the credentials.
        engine_factory: makes engines, in place of the configured profile's.

    Example:
        >>> agent = Agent(Configuration.load(places), Credentials.load(places), places)  # doctest: +SKIP
        >>> asyncio.run(agent.run())  # doctest: +SKIP
        0
    """

    def __init__(
        self,
        configuration: Configuration,
        credentials: Credentials,
        places: Places,
        *,
        takeover: bool = False,
        patient: bool = False,
        link: AsyncLink | None = None,
        engine_factory: EngineFactory = Engine,
    ) -> None:
        check_profile(configuration)  # what is wrong is told at once
        self._configuration = configuration
        self._credentials = credentials
        self._places = places
        self._takeover = takeover
        self._patient = patient
        self._link = link
        self._engine_factory = engine_factory
        self._run_times = RunTimes()
        self._cache = Cache(self._cache_directory(), configuration.cache.max_bytes)
        self._stopping = asyncio.Event()
        self._forced = asyncio.Event()
        self._state: SessionState | None = None
        self._left: list[SessionState] = []
        self._nonce = ""
        self._waits = ""
        self._grace_s = configuration.stop_grace_s
        self._working = False

    def _cache_directory(self) -> Path:
        """Where the cache is: each endpoint's own, also where several are given the same directory."""
        directory = self._configuration.cache.directory
        return Path(directory) / self._credentials.endpoint_id if directory else self._places.run / "cache"

    def stop(self, grace_s: float | None = None) -> None:
        """Stop in order; called again, at once.

        Args:
            grace_s: how long running tasks may go on; None for what the configuration says.
        """
        if grace_s is not None:
            self._grace_s = grace_s
        if self._stopping.is_set():
            self._forced.set()
        self._stopping.set()

    async def run(self) -> int:
        """Run until stopped.

        Returns:
            The exit code.

        Raises:
            AlreadyRunning: another agent runs, here or elsewhere.
            FaasError: the service refuses this endpoint.
        """
        loop = asyncio.get_running_loop()
        for number in _STOP_SIGNALS:
            loop.add_signal_handler(number, self.stop)
        self._places.prepare()
        with ExitStack() as stack:
            await self._hold(stack)
            if self._stopping.is_set():
                return EXIT_STOPPED
            link = self._link or AsyncLink(
                self._credentials.url, self._credentials.token, attempts=1, connect=aiohttp_transport
            )
            service = Service(link, self._configuration.retry, self._credentials.token)
            try:
                return await self._run(service)
            finally:
                await service.close()
                for number in _STOP_SIGNALS:
                    loop.remove_signal_handler(number)

    async def _hold(self, stack: ExitStack) -> None:
        """Have this host's agents to ourselves."""
        while not self._stopping.is_set():
            try:
                stack.enter_context(self._places.held())
                old = SessionState.load(self._places.state)
                if old is None or old.process() is None:
                    return
                raise AlreadyRunning(
                    f"Endpoint {self._places.name} is already running on this host as pid {old.pid}."
                    f" Stop it first: faas endpoint stop {self._places.name}"
                )
            except AlreadyRunning:
                if not self._patient:
                    raise
            stack.close()
            await self._wait_for_turn("it runs on this host")

    async def _wait_for_turn(self, why: str) -> None:
        if why != self._waits:
            logger.info("waiting for the agent before this one to end: %s", why)
        self._waits = why
        await wait_a_while(self._stopping, _TURN_S)

    async def _run(self, service: Service) -> int:
        work = asyncio.ensure_future(self._sessions(service))
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done() and not self._working:  # nothing runs that could be stopped in order
                work.cancel()
                await asyncio.wait({work})
            return EXIT_STOPPED if work.cancelled() else await work
        finally:
            stopping.cancel()
            work.cancel()
            await asyncio.wait({work})

    async def _sessions(self, service: Service) -> int:
        """Session after session: a new one whenever the service has given up on the last."""
        old = SessionState.load(self._places.state)
        replaces = await self._clean_up(service, old)
        await in_thread(self._cache.scan)
        cache_is_tidy = False
        while not self._stopping.is_set():
            try:
                opened = await self._open(service, replaces)
            except Conflict as error:
                self._withdraw(old)
                if not self._patient:
                    raise AlreadyRunning(str(error)) from None
                await self._wait_for_turn(error.detail)
                continue
            if old is not None and not old.on_this_host:
                # The service holds its session for dead, or was told to; only now may its jobs be touched.
                await self._cancel_jobs([old, *old.left])
                clear_run_directory(self._places, Spool(self._places.spool))
            replaces, old = "", None
            if not cache_is_tidy:  # only now is it sure that no other agent works there
                await in_thread(self._cache.tidy)
                cache_is_tidy = True
            if await self._session(service, opened):
                break
        return EXIT_STOPPED

    async def _clean_up(self, service: Service, old: SessionState | None) -> str:
        """Settle what the last agent here left behind; returns the session to replace, if any."""
        spool = Spool(self._places.spool)
        if old is None:
            clear_run_directory(self._places, spool)
            return ""
        if not old.on_this_host:
            # Its agent may be alive there and use these files; only the service can tell.
            return ""
        # First, for one of them may be submitting a job just now: the queue is to be read when none can any more.
        await asyncio.to_thread(stop_leftovers, old)
        # Before the old session is settled: what runs in them must not run beside its next attempt.
        await self._cancel_jobs([old, *old.left])
        if not old.session_id:
            # It may have opened a session and died before it could write that down. The same nonce finds it.
            self._nonce = old.nonce
        spool_lost(self._places, spool)
        clear_run_directory(self._places, spool)
        if old.session_id:
            await self._settle(service, old.session_id, spool)
        return old.session_id

    async def _cancel_jobs(self, sessions: list[SessionState]) -> None:
        """Cancel what earlier sessions left in the scheduler's queue; remember those it would not tell of."""
        self._left = []
        for session in sessions:
            try:
                await in_thread(lambda each=session: cancel_leftover_jobs(each, self._places, self._configuration))  # type: ignore[misc]
            except QueueUnavailable as error:
                logger.error("batch jobs that the last agent may have left cannot be cancelled: %s", error)
                session.left = []
                self._left.append(session)

    async def _keep_cancelling(self) -> None:
        """Try again, for as long as the scheduler does not answer."""
        assert self._state is not None
        while self._left:
            await asyncio.sleep(_CANCEL_AGAIN_S)
            await self._cancel_jobs(self._left)
            self._state.left = self._left
            self._state.save(self._places.state)

    async def _settle(self, service: Service, session_id: str, spool: Spool) -> None:
        """Deliver what an old session had finished, then close it, so that nothing finished is run again."""
        service.session_id = session_id
        reporter = Reporter(service, GrantStock(), spool, self._configuration.spool)
        if batches := reporter.add_leftovers():
            logger.info("delivering %d batch(es) of results of the last session", batches)
            delivering = asyncio.ensure_future(reporter.run())
            delivered = asyncio.ensure_future(reporter.delivered())
            try:
                await asyncio.wait({delivering, delivered}, return_when=asyncio.FIRST_COMPLETED)
                if delivering.done():
                    delivering.result()
            finally:
                delivering.cancel()
                delivered.cancel()
        try:
            await service.close_session(session_id)
        except RequestRefused as error:
            logger.debug("the old session was over already: %s", error)

    async def _open(self, service: Service, replaces: str) -> SessionOpened:
        state = SessionState.new(self._nonce)
        self._nonce = ""
        state.endpoint_id = self._credentials.endpoint_id
        state.profile = self._configuration.profile
        state.left = self._left
        standing = SessionState.load(self._places.state)
        if standing is None or standing.on_this_host:
            state.save(self._places.state)
        # Else another host's agent may go on, and needs what it wrote; nothing is started before the service answers.
        opened = await service.open_session(
            claim_of(
                self._configuration,
                state,
                replaces=replaces,
                takeover=self._takeover,
                cached=self._cache.holdings(),
            )
        )
        state.session_id = opened.session_id
        state.phase = "running"
        state.save(self._places.state)
        self._state = state
        self._takeover = False
        logger.info("endpoint %s is connected to %s (session %s)", opened.endpoint, service.url, opened.session_id)
        return opened

    def _withdraw(self, old: SessionState | None) -> None:
        """Take back what was written for a session that was refused."""
        standing = SessionState.load(self._places.state)
        if standing is None or not standing.on_this_host:
            return
        if old is None:
            self._places.state.unlink(missing_ok=True)
        else:
            old.save(self._places.state)

    @property
    def _displaced(self) -> bool:
        """Whether an agent on another host has taken over, and the files with it."""
        standing = SessionState.load(self._places.state)
        return standing is not None and not standing.on_this_host

    def _workers_changed(self, workers: int) -> None:
        assert self._state is not None
        before, rested = self._state.workers, self._state.at_rest
        # The first look at an engine finds it started: from here on blocks come when there is work for them.
        self._state.at_rest = not self._configuration.blocks.min_blocks
        self._state.workers = workers
        if (workers, self._state.at_rest) == (before, rested):
            return
        if not self._displaced:
            self._state.save(self._places.state)
        if workers:
            logger.info("%d worker(s) ready", workers)
        elif before:
            logger.info("no worker is left")
        else:
            logger.info("ready for work; workers come when there is some")

    async def _session(self, service: Service, opened: SessionOpened) -> bool:
        """Work in a session; returns whether the agent is to end, rather than open another one."""
        assert self._state is not None
        site = Site(
            self._configuration,
            self._places,
            service,
            opened,
            self._state.nonce,
            self._engine_factory,
            self._run_times,
            self._cache,
            self._workers_changed,
        )
        self._working = True
        site.reporter.add_leftovers()
        working = asyncio.ensure_future(site.run())
        cancelling = asyncio.ensure_future(self._keep_cancelling())
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                await self._finish(service, site)
                return True
            working.result()
        except Conflict as error:
            logger.error("fenced: %s Stopping what runs; finished results are kept and will be delivered.", error)
        finally:
            working.cancel()
            stopping.cancel()
            cancelling.cancel()
            await site.stop_engines()
            await site.abandon()
            self._working = False
        return False

    async def _finish(self, service: Service, site: Site) -> None:
        """Stop in order, unless a second signal says at once."""
        assert self._state is not None
        self._state.phase = "stopping"
        if not self._displaced:
            self._state.save(self._places.state)
        logger.info("stopping")
        finishing = asyncio.ensure_future(site.finish(self._grace_s))
        forced = asyncio.ensure_future(self._forced.wait())
        try:
            await asyncio.wait({finishing, forced}, return_when=asyncio.FIRST_COMPLETED)
            if not finishing.done():
                logger.warning("forced to stop at once; results not yet delivered stay in the spool")
                finishing.cancel()
                return
            if finishing.result():
                await asyncio.wait_for(service.close_session(self._state.session_id), _CLOSE_S)
                if not self._displaced:
                    self._places.state.unlink(missing_ok=True)
                    self._places.blocks.unlink(missing_ok=True)
                logger.info("stopped; session %s closed", self._state.session_id)
            else:
                logger.warning("stopped; the service is away, so results wait in the spool for the next start")
        except (asyncio.TimeoutError, RequestRefused) as error:
            logger.warning("stopped; the session could not be closed: %s", error or "no answer")
        finally:
            forced.cancel()
