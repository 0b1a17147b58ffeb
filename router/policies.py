"""Policies: what an endpoint that asks for work should run now.

A policy is a pure function over task *classes*, so a decision's cost grows with the classes that
wait, not with their tasks. To add one: write a class with ``choose`` and name it in ``POLICIES``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from registry.endpoints import Site
from registry.leases import QueuedClass, Share

LOOKAHEAD_S = 0.5
"""Estimated work a worker may hold in advance: enough to hide the way to the service and back."""


@dataclass(frozen=True)
class Capacity:
    """What the asking endpoint has to offer."""

    workers: int
    idle_workers: int
    held_s: float
    """Estimated seconds of work it holds and has not started, over all workers."""
    max_tasks: int


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
    """

    def choose(
        self, site: Site, capacity: Capacity, waiting: list[QueuedClass], run_s: dict[str, float]
    ) -> list[Share]:
        """See ``Policy.choose``."""
        idle = capacity.idle_workers
        budget_s = capacity.workers * LOOKAHEAD_S - capacity.held_s
        room = capacity.max_tasks
        shares = []
        for candidate in sorted(waiting, key=lambda c: (-c.priority, c.head)):
            seconds = min(run_s.get(candidate.function_id, LOOKAHEAD_S), LOOKAHEAD_S)
            count = idle
            if seconds < LOOKAHEAD_S:
                count = max(idle, int(budget_s / max(seconds, 1e-6)))
            count = min(count, candidate.queued, room)
            if count > 0:
                shares.append(Share(candidate.class_id, count))
                idle = max(0, idle - count)
                budget_s -= count * seconds
                room -= count
        return shares


POLICIES: dict[str, Policy] = {"first_free": FirstFree()}
"""The policies by name."""
