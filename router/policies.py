"""Policies: what an endpoint that asks for work should run now.

A policy is a pure function over task *classes*, so a decision's cost grows with the classes that
wait, not with their tasks. To add one: write a class with ``choose`` and name it in ``POLICIES``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from faas.models import DEFAULT_SHAPE, LeaseRequest, Offer
from registry.endpoints import Site
from registry.leases import QueuedClass, Share

LOOKAHEAD_S = 0.5
"""Estimated work a worker may hold in advance: enough to hide the way to the service and back."""


@dataclass(frozen=True)
class Capacity:
    """What the asking endpoint has to offer."""

    offers: Mapping[str, Offer]
    """Its workers by shape."""
    max_tasks: int
    """In all."""

    @classmethod
    def of(cls, request: LeaseRequest) -> Capacity:
        """What a lease request offers; workers that are not told by shape are of the default one."""
        offers = request.offers or [
            Offer(
                shape=DEFAULT_SHAPE,
                workers=request.workers,
                idle_workers=request.idle_workers,
                held_s=request.held_s,
            )
        ]
        return cls({offer.shape: offer for offer in offers}, request.max_tasks)

    def takes(self, candidate: QueuedClass, run_s: Mapping[str, float]) -> bool:
        """Whether there are workers of the shape a class needs, which live long enough for its tasks."""
        offer = self.offers.get(candidate.shape)
        if offer is None:
            return False
        # Of unknown run time it is worth a try, as long as there is any time at all.
        return offer.longest_s is None or 0 < offer.longest_s >= run_s.get(candidate.function_id, 0.0)


class Policy(Protocol):
    """Chooses among the classes that wait."""

    def choose(
        self, site: Site, capacity: Capacity, waiting: list[QueuedClass], run_s: dict[str, float]
    ) -> list[Share]:
        """Decide what the endpoint gets.

        Args:
            site: the endpoint that asks.
            capacity: what it has to offer.
            waiting: the classes with queued tasks that may run there.
            run_s: measured run times in seconds by function id; absent where unknown.

        Returns:
            How many tasks of which class, in the order they are to be taken.
        """
        ...


class FirstFree:
    """Late binding, work-conserving: whoever is free gets the highest priority, then the longest waiting.

    Tasks of unknown or long run time go only to workers that are idle now, one each; short ones also
    in advance, up to ``LOOKAHEAD_S`` of work for each worker. What one class takes, the next cannot.
    Each shape of worker is filled with the classes it is there for; none with what outlives it.
    """

    def choose(
        self, site: Site, capacity: Capacity, waiting: list[QueuedClass], run_s: dict[str, float]
    ) -> list[Share]:
        """See ``Policy.choose``."""
        idle = {shape: offer.idle_workers for shape, offer in capacity.offers.items()}
        budget_s = {shape: offer.workers * LOOKAHEAD_S - offer.held_s for shape, offer in capacity.offers.items()}
        room = capacity.max_tasks
        shares = []
        for candidate in sorted(waiting, key=lambda c: (-c.priority, c.head)):
            if not capacity.takes(candidate, run_s):
                continue
            shape = candidate.shape
            seconds = min(run_s.get(candidate.function_id, LOOKAHEAD_S), LOOKAHEAD_S)
            count = idle[shape]
            if seconds < LOOKAHEAD_S:
                count = max(count, int(budget_s[shape] / max(seconds, 1e-6)))
            count = min(count, candidate.queued, room)
            if count > 0:
                shares.append(Share(candidate.class_id, count))
                idle[shape] = max(0, idle[shape] - count)
                budget_s[shape] -= count * seconds
                room -= count
        return shares


POLICIES: dict[str, Policy] = {"first_free": FirstFree()}
"""The policies by name."""
