"""A lane: the workers of one shape, what waits for them, and what there is of them to offer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from endpoints.configuration import Leasing
from endpoints.engine import ChunkEngine
from endpoints.handout import Handout
from endpoints.pilots import Backlog
from endpoints.waiting import Waiting
from faas.models import Demand, Offer

_TELLING_S = 10.0
"""A task of unknown run time that runs for this long tells something of it."""


@dataclass(frozen=True)
class Lane:
    """Everything for the workers of one shape.

    Args:
        shape: its name.
        engine: has the workers.
        waiting: what is ready for them.
        handout: keeps them busy.
        pending: how many more tasks are on their way into ``waiting``.
        settings: how much to hold.
    """

    shape: str
    engine: ChunkEngine
    waiting: Waiting
    handout: Handout
    pending: Callable[[], int]
    settings: Leasing

    def offer(self) -> Offer | None:
        """What to ask for work with; None where there is no room for any."""
        workers = self.engine.workers
        if not workers:
            return None
        pending = self.pending()
        takers = max(0, self.handout.takers - pending)
        held_s = self.waiting.seconds + self.handout.outstanding.queued_s + pending * self.settings.lookahead_s
        if not takers and (held_s >= self.settings.lookahead_s * workers or not self.handout.outstanding.soon_free):
            return None
        return Offer(
            shape=self.shape,
            workers=workers,
            idle_workers=takers,
            held_s=round(held_s, 6),
            longest_s=self.engine.longest_s(),
        )

    def backlog(self, demand: Demand) -> Backlog:
        """What waits for the workers, here and at the service.

        Args:
            demand: the service's word of it.
        """
        here = len(self.waiting) + self.pending()
        seconds: float | None = self.waiting.seconds + self.handout.outstanding.queued_s + (demand.seconds or 0.0)
        unknown_there = demand.tasks > 0 and demand.seconds is None
        if unknown_there or (self.waiting.unknown and not demand.tasks):
            seconds = None
        unknown_for_s = self.handout.outstanding.unknown_for_s
        return Backlog(
            tasks=here + demand.tasks,
            seconds=seconds,
            busy_workers=len(self.handout.outstanding),
            longest_s=self.waiting.next_s,
            at_least_s=unknown_for_s if unknown_for_s >= _TELLING_S else 0.0,
        )
