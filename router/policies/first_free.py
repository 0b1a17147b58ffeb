"""The policy `first_free`: late binding, work-conserving."""

from __future__ import annotations

from collections.abc import Mapping

from registry.endpoints import Site
from registry.leases import QueuedClass, Share
from router.outlook import Outlook

from .holds import Holds
from .protocol import LOOKAHEAD_S, Capacity, Choice, LateBinding, Waiting


class Filling:
    """Fills an endpoint's workers with classes, one after the other, until there is no more room.

    Tasks of unknown or long run time go only to workers that are idle now, one each; short ones also
    in advance, up to ``LOOKAHEAD_S`` of work for each worker. What one class takes, the next cannot.
    Each shape of worker is filled with the classes it is there for; none with what outlives it.

    Args:
        capacity: what there is to fill.
        run_s: measured run times in seconds by function id.
    """

    def __init__(self, capacity: Capacity, run_s: Mapping[str, float]) -> None:
        self._capacity = capacity
        self._run_s = run_s
        self.idle = {shape: offer.idle_workers for shape, offer in capacity.offers.items()}
        """Workers still idle, by shape."""
        self._budget_s = {shape: offer.workers * LOOKAHEAD_S - offer.held_s for shape, offer in capacity.offers.items()}
        self._room = capacity.max_tasks
        self.shares: list[Share] = []

    def has_idle(self) -> bool:
        """Whether a worker has got nothing yet, and there is room for more."""
        return self._room > 0 and any(self.idle.values())

    def is_full(self) -> bool:
        """Whether nothing more fits, whatever it is."""
        if self._room <= 0:
            return True
        budgets = self._budget_s
        return not any(idle > 0 or budgets[shape] > 0 for shape, idle in self.idle.items())

    def take(self, candidate: QueuedClass, run_s: float | None = None) -> int:
        """Take of a class what fits.

        Args:
            candidate: the class.
            run_s: its predicted run time here; None for the measured one.

        Returns:
            How many of its tasks were taken.
        """
        if not self._capacity.takes(candidate, self._run_s):
            return 0
        shape = candidate.shape
        seconds = min(self._run_s.get(candidate.function_id, LOOKAHEAD_S) if run_s is None else run_s, LOOKAHEAD_S)
        count = self.idle[shape]
        if seconds < LOOKAHEAD_S:
            count = max(count, int(self._budget_s[shape] / max(seconds, 1e-6)))
        count = min(count, candidate.queued, self._room)
        if count > 0:
            self.shares.append(Share(candidate.class_id, count))
            self.idle[shape] = max(0, self.idle[shape] - count)
            self._budget_s[shape] -= count * seconds
            self._room -= count
        return max(0, count)

    def take_all(self, waiting: Waiting, begin: int = 0) -> None:
        """Take of each class in turn what fits, while anything does.

        Args:
            waiting: the classes.
            begin: the position of the first to be looked at.
        """
        while begin < len(waiting) and self.has_idle():
            self.take(waiting[begin])
            begin += 1
        # With no worker idle, only short tasks can be had in advance.
        for position in waiting.short(self._run_s):
            if self.is_full():
                return
            if position >= begin:
                self.take(waiting[position])


class FirstFree(LateBinding):
    """Whoever is free gets the highest priority, then the longest waiting; see ``Filling`` for how much of it."""

    def choose(self, site: Site, capacity: Capacity, waiting: Waiting, outlook: Outlook, holds: Holds) -> Choice:
        """See ``Policy.choose``."""
        filling = Filling(capacity, outlook.run_s)
        filling.take_all(waiting)
        return Choice(filling.shares)
