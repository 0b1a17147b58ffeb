"""What the service says still waits for this endpoint, less what it has leased since."""

from __future__ import annotations

from collections import Counter

from faas.models import Demand


class KnownDemand:
    """The last demand heard of, by shape of worker.

    Args:
        smallest: the shape that demand without a shape is for.
    """

    def __init__(self, smallest: str) -> None:
        self._smallest = smallest
        self._demand: dict[str, Demand] = {}

    def told(self, demand: Demand) -> None:
        """Take in what a heartbeat was answered."""
        if demand.shapes:
            self._demand = dict(demand.shapes)
        else:
            self._demand = {self._smallest: demand} if demand.tasks else {}

    def leased(self, tasks: Counter[str]) -> None:
        """So many tasks of each shape wait there no more."""
        for shape, count in tasks.items():
            before = self.of(shape)
            left = max(0, before.tasks - count)
            seconds = before.seconds * left / before.tasks if before.seconds and before.tasks else before.seconds
            self._demand[shape] = Demand(tasks=left, seconds=seconds)

    def of(self, shape: str) -> Demand:
        """What waits for workers of a shape."""
        return self._demand.get(shape, _NOTHING)

    @property
    def tasks(self) -> int:
        """All that waits."""
        return sum(demand.tasks for demand in self._demand.values())


_NOTHING = Demand(seconds=0.0)
