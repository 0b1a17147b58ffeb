"""What an endpoint's blocks cost: node-hours reserved while they live, settled when they end, held to the limits."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from math import inf

from endpoints.allocation import NodeHours
from endpoints.pilots import Budget
from faas.models import Block, Spent

_DAY_S = 86_400.0


def node_hours(block: Block, now: float) -> float:
    """What a block costs: its whole walltime while it lives, the time it had its nodes once it is over.

    Args:
        block: live or over.
        now: seconds since the epoch; one without walltime has cost what it has used by then.
    """
    if block.ended_at is None and block.walltime_s:
        return block.nodes * block.walltime_s / 3600
    if block.started_at is None:
        return 0.0
    return block.nodes * max(0.0, (block.ended_at or now) - block.started_at) / 3600


class Spending:
    """Adds up what the service has counted and what it has not heard of yet.

    Args:
        limits: the owner's.
    """

    def __init__(self, limits: NodeHours) -> None:
        self._limits = limits
        self._told = Spent()
        self._counted: set[str] = set()
        self._own_s: list[tuple[float, float]] = []
        """Ends and node-hours of this session's blocks: they guard the limits even if the service counts nothing."""

    def told(self, spent: Spent, counted: Iterable[Block]) -> None:
        """The service says what everything comes to, these blocks included."""
        self._told = spent
        self._counted = {block.block_id for block in counted}

    def forgotten(self, ended: Iterable[Block]) -> None:
        """These will not be among the endpoint's blocks any more."""
        self._own_s += [(block.ended_at, node_hours(block, block.ended_at)) for block in ended if block.ended_at]

    def budget(self, blocks: Collection[Block]) -> Budget:
        """What may still be spent on new blocks.

        Args:
            blocks: those that live, and those that ended lately.
        """
        now = time.time()
        midnight = now - now % _DAY_S
        costs = [(block, node_hours(block, now)) for block in blocks]
        unheard = sum(cost for block, cost in costs if block.block_id not in self._counted)
        own = sum(cost for _, cost in costs)
        own_day = own + sum(cost for end, cost in self._own_s if end >= midnight)
        own_total = own + sum(cost for _, cost in self._own_s)
        left, words = inf, ""
        for name, limit, used in (
            ("per_day", self._limits.per_day, max(self._told.day_node_hours + unheard, own_day)),
            ("total", self._limits.total, max(self._told.total_node_hours + unheard, own_total)),
        ):
            if limit is not None and limit - used < left:
                left = limit - used
                words = f"max_node_hours {name} is {limit:g}, and {used:.3g} are spent or reserved"
        return Budget(left, words)
