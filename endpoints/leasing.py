"""The lease loop: asks for work when there are workers for it, one request at a time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time

from endpoints.chunking import RunTimes
from endpoints.configuration import Leasing
from endpoints.engine import ChunkEngine
from endpoints.handout import Handout
from endpoints.intake import Intake
from endpoints.ledger import Ledger
from endpoints.segments import GrantStock
from endpoints.service import Service
from faas.models import Demand, LeaseRequest, LeaseResponse

logger = logging.getLogger(__name__)

_WAIT_S = 20.0
_PATIENCE_S = 0.25
"""A request is not taken back before this: the service may be answering it, and would have to again."""


class Leaser:
    """Asks for work, and again with fresh figures when a waiting request has become outdated.

    A request's number goes up only with an answer that brought work. So whatever the service granted
    to a request whose answer was lost comes with the next one.

    Args:
        service: to ask.
        engine: whose workers the work is for.
        ledger: what is held already.
        handout: what is running.
        intake: takes the tasks.
        stock: takes the segment grants.
        run_times: takes what the service measured.
        settings: how much to hold.
    """

    def __init__(
        self,
        service: Service,
        engine: ChunkEngine,
        ledger: Ledger,
        handout: Handout,
        intake: Intake,
        stock: GrantStock,
        run_times: RunTimes,
        settings: Leasing,
    ) -> None:
        self._service = service
        self._engine = engine
        self._ledger = ledger
        self._handout = handout
        self._intake = intake
        self._stock = stock
        self._run_times = run_times
        self._settings = settings
        self._changed = asyncio.Event()
        self.number = 0
        """The last lease answer taken in."""
        self.demand = Demand()

    def room(self) -> None:
        """Something changed that may make room for more work."""
        self._changed.set()

    async def run(self) -> None:
        """Lease, for ever.

        Raises:
            Conflict: the session is over.
        """
        while True:
            request = self._request()
            if request is None:
                await self._wait_for_change()
            elif (answer := await self._ask(request)) is not None:
                self._take_in(answer)

    def _request(self) -> LeaseRequest | None:
        """What to ask for now; None if there is no room."""
        workers = self._engine.workers
        left = self._settings.max_held - len(self._ledger)
        if not workers or left <= 0 or time.monotonic() < self._handout.paused_until:
            return None
        idle = max(0, self._handout.idle_workers - self._intake.pending)
        unknown_s = self._intake.pending * self._settings.lookahead_s
        held_s = self._ledger.waiting_s + self._handout.queued_s + unknown_s
        if not idle and (held_s >= self._settings.lookahead_s * workers or not self._handout.soon_free):
            return None
        return LeaseRequest(
            number=self.number + 1,
            workers=workers,
            idle_workers=idle,
            held_s=round(held_s, 6),
            wait_s=_WAIT_S,
            max_tasks=left,
            segments=self._stock.counts(),
        )

    async def _wait_for_change(self) -> None:
        pause_s = self._handout.paused_until - time.monotonic()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._changed.wait(), pause_s if pause_s > 0 else None)
        self._changed.clear()

    async def _ask(self, request: LeaseRequest) -> LeaseResponse | None:
        """The answer; None if the request did not fit any more and was taken back."""
        asking = asyncio.ensure_future(self._service.lease(request))
        asked_at = time.monotonic()
        try:
            while True:
                self._changed.clear()
                changed = asyncio.ensure_future(self._changed.wait())
                await asyncio.wait({asking, changed}, return_when=asyncio.FIRST_COMPLETED)
                changed.cancel()
                if asking.done():
                    return asking.result()
                if self._outdated(request):
                    await asyncio.wait({asking}, timeout=asked_at + _PATIENCE_S - time.monotonic())
                if not asking.done() and self._outdated(request):
                    asking.cancel()
                    await asyncio.wait({asking})
                    # The answer may have come in the same moment.
                    return None if asking.cancelled() else asking.result()
        finally:
            asking.cancel()

    def _outdated(self, request: LeaseRequest) -> bool:
        """A worker ran dry while the request says that none is: the service would hold long tasks back."""
        fresh = self._request()
        return fresh is None or (not request.idle_workers and fresh.idle_workers > 0)

    def _take_in(self, answer: LeaseResponse) -> None:
        self.demand = answer.demand
        self._run_times.told(answer.run_s)
        self._stock.add(answer.segments)
        if answer.tasks:
            self.number = answer.number
            self._intake.take(answer.tasks)
            self._handout.pump()
