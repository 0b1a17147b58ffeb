"""What an endpoint's blocks cost: node-hours reserved while they live, settled when they end, held to the limits."""

from __future__ import annotations

import time
from collections.abc import Iterable
from math import inf

from endpoints.allocation import NodeHours
from endpoints.pilots import Budget
from faas.models import Block, Spent

_DAY_S = 86_400.0


def node_hours(block: Block, now: float) -> float:
    """What a block costs: its whole walltime while it lives, the time it had its nodes once it is over."""
    if block.ended_at is None:
        if not block.walltime_s:
            return block.nodes * max(0.0, now - (block.started_at or now)) / 3600
        return block.nodes * block.walltime_s / 3600
    if block.started_at is None:
        return 0.0
    return block.nodes * max(0.0, block.ended_at - block.started_at) / 3600


class Spending:
    """Adds up what the service has counted, what it has not heard of yet, and what is reserved.

    Args:
        limits: the owner's.
    """

    def __init__(self, limits: NodeHours) -> None:
        self._limits = limits
        self._told = Spent()
        self._own = Spent()
        self._own_day = 0

    def told(self, spent: Spent, acknowledged: Iterable[Block]) -> None:
        """The service has counted these blocks, and says what all of them come to."""
        for block in acknowledged:
            self._count(block)
        self._told = spent

    def _count(self, block: Block) -> None:
        """Our own tally guards the limits even where the service keeps none."""
        assert block.ended_at is not None
        day = int(block.ended_at // _DAY_S)
        cost = node_hours(block, block.ended_at)
        before = self._own.day_node_hours if day == self._own_day else 0.0
        self._own_day = day
        self._own = Spent(day_node_hours=before + cost, total_node_hours=self._own.total_node_hours + cost)

    def budget(self, blocks: Iterable[Block]) -> Budget:
        """What may still be spent on new blocks.

        Args:
            blocks: those that live, and those that ended without the service knowing of it.
        """
        now = time.time()
        reserved = sum(node_hours(block, now) for block in blocks)
        own_day = self._own.day_node_hours if int(now // _DAY_S) == self._own_day else 0.0
        left, words = inf, ""
        for name, limit, spent in (
            ("per_day", self._limits.per_day, max(self._told.day_node_hours, own_day)),
            ("total", self._limits.total, max(self._told.total_node_hours, self._own.total_node_hours)),
        ):
            if limit is not None and limit - spent - reserved < left:
                left = limit - spent - reserved
                words = f"max_node_hours {name} is {limit:g}; {spent:.3g} are spent and {reserved:.3g} reserved"
        return Budget(left, words)
