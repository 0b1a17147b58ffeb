"""The lease loop: asks for work when there are workers for it, one request at a time."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from math import inf

from endpoints.chunking import RunTimes
from endpoints.configuration import Leasing
from endpoints.demand import KnownDemand
from endpoints.intake import Intake
from endpoints.lane import Lane
from endpoints.ledger import Ledger
from endpoints.segments import GrantStock
from endpoints.service import Service
from faas.models import LeaseRequest, LeaseResponse, Offer
from faas.patience import wait_a_while

logger = logging.getLogger(__name__)

_WAIT_S = 20.0
_PATIENCE_S = 0.25
"""A request is not taken back before this: the service may be answering it, and would have to again."""

_LATE_S = 5.0
_AGAIN_S = 1.0
_LONGER_S = 30.0
"""Workers that live longer than those of a waiting request by this much are worth another."""


class Leaser:
    """Asks for work, and again with fresh figures when a waiting request has become outdated.

    A request's number goes up only with an answer that brought work. So whatever the service granted
    to a request whose answer was lost comes with the next one. The service does not see that a request was
    taken back, and may grant something to it for as long as it would have waited: until then there is a next
    one, even if there are no workers left to ask for.

    Args:
        service: to ask.
        lanes: whose workers the work is for.
        ledger: what is held already.
        demand: gets less by what is leased.
        intake: takes the tasks.
        stock: takes the segment grants.
        run_times: takes what the service measured.
        settings: how much to hold.
        stir: called when tasks came that may want more workers than there are.
    """

    def __init__(
        self,
        service: Service,
        lanes: Sequence[Lane],
        ledger: Ledger,
        demand: KnownDemand,
        intake: Intake,
        stock: GrantStock,
        run_times: RunTimes,
        settings: Leasing,
        stir: Callable[[], None] = lambda: None,
    ) -> None:
        self._service = service
        self._lanes = lanes
        self._ledger = ledger
        self._demand = demand
        self._intake = intake
        self._stock = stock
        self._run_times = run_times
        self._settings = settings
        self._stir = stir
        self._changed = asyncio.Event()
        self._settled_at = 0.0
        self.number = 0
        """The last lease answer taken in."""

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
                await self._wait_for_change(min(lane.handout.outstanding.next_free_s for lane in self._lanes))
            elif (answer := await self._ask(request)) is not None:
                self._take_in(answer)
                if not request.workers and not answer.tasks:
                    await self._wait_for_change(_AGAIN_S)

    def _request(self) -> LeaseRequest | None:
        """What to ask for now; None if there is no room, and nothing that may have been granted unheard."""
        now = time.monotonic()
        left = self._settings.max_held - len(self._ledger)
        offers = [offer for lane in self._lanes if (offer := lane.offer()) is not None]
        if left <= 0 or not offers or now < self._paused_until:
            wait_s = self._settled_at - now
            return self._ask_for_nothing(wait_s) if wait_s > 0 else None
        return LeaseRequest(
            number=self.number + 1,
            workers=sum(offer.workers for offer in offers),
            idle_workers=sum(offer.idle_workers for offer in offers),
            held_s=round(sum(offer.held_s for offer in offers), 6),
            offers=offers,
            wait_s=_WAIT_S,
            max_tasks=left,
            segments=self._stock.counts(),
        )

    def _ask_for_nothing(self, wait_s: float) -> LeaseRequest:
        """A request that brings what was granted to the one before it, and nothing else."""
        nobody = Offer(shape="", workers=0, idle_workers=0)
        return LeaseRequest(
            number=self.number + 1, workers=0, idle_workers=0, offers=[nobody], wait_s=wait_s, max_tasks=1
        )

    @property
    def _paused_until(self) -> float:
        return max(lane.handout.paused_until for lane in self._lanes)

    async def _wait_for_change(self, at_most_s: float = inf) -> None:
        pause_s = self._paused_until - time.monotonic()
        pause_s = min(pause_s if pause_s > 0 else inf, at_most_s)
        await wait_a_while(self._changed, pause_s if pause_s < inf else None)
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
                    if not asking.cancelled():
                        return asking.result()
                    if request.workers:
                        self._settled_at = asked_at + request.wait_s + _LATE_S
                    return None
        finally:
            asking.cancel()

    def _outdated(self, request: LeaseRequest) -> bool:
        """The service would hold tasks back: a worker ran dry while the request says that none is, or lives longer."""
        fresh = self._request()
        if fresh is None or (request.workers and not fresh.workers):
            return True
        asked = {offer.shape: _lives_s(offer) for offer in request.offers if offer.idle_workers}
        return any(
            _lives_s(offer) > asked.get(offer.shape, -inf) + _LONGER_S for offer in fresh.offers if offer.idle_workers
        )

    def _take_in(self, answer: LeaseResponse) -> None:
        self._run_times.told(answer.run_s)
        self._stock.add(answer.segments)
        if answer.tasks:
            self._settled_at = 0.0
            self.number = answer.number
            self._demand.leased(Counter(task.shape or self._lanes[0].shape for task in answer.tasks))
            self._intake.take(answer.tasks)
            for lane in self._lanes:
                lane.handout.pump()
            if not all(lane.engine.workers for lane in self._lanes):
                self._stir()


def _lives_s(offer: Offer) -> float:
    return inf if offer.longest_s is None else offer.longest_s
