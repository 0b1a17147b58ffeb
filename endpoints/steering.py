"""Carries out what the pilot controller decides: gathers what it needs to know, acts, and logs why."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from endpoints.allocation import Blocks
from endpoints.fleet import Fleet
from endpoints.pilots import Backlog, Budget, Limits, Verdict, decide

logger = logging.getLogger(__name__)


class Steering:
    """Keeps the blocks of one shape at what the backlog is worth.

    Args:
        shape: for the log.
        fleet: the blocks.
        settings: the owner's.
        workers_per_block: on all nodes of a block.
        node_hours_per_block: reserved by each; 0 where blocks cost nothing.
        budget: what may still be spent.
    """

    def __init__(
        self,
        shape: str,
        fleet: Fleet,
        settings: Blocks,
        *,
        workers_per_block: int,
        node_hours_per_block: float,
        budget: Callable[[], Budget],
    ) -> None:
        self._shape = shape
        self._fleet = fleet
        self._budget = budget
        self._limits = Limits(
            min_blocks=settings.min_blocks,
            max_blocks=settings.max_blocks,
            workers_per_block=workers_per_block,
            node_hours_per_block=node_hours_per_block,
            fresh_s=fleet.fresh_s,
            max_idletime_s=settings.max_idletime_s,
            horizon_s=settings.horizon_s,
            startup_s=settings.startup_s,
            max_failed_blocks=settings.max_failed_blocks,
            probe_s=settings.probe_s,
            probe_max_s=settings.probe_max_s,
        )
        self._surplus_since: float | None = None
        self._said = ""
        self.problem = ""
        """Why nothing can run here now; empty when well."""

    def steer(self, backlog: Backlog) -> None:
        """Look at what waits and what there is, and act on it."""
        views = self._fleet.views()
        verdict = decide(
            backlog,
            views,
            self._limits,
            failures=self._fleet.failures(),
            budget=self._budget(),
            surplus_s=self._surplus_s(),
        )
        accepting = sum(view.accepting for view in views)
        if accepting <= verdict.wanted:
            self._surplus_since = None
        elif self._surplus_since is None:
            self._surplus_since = time.monotonic()
        self._act(verdict)
        self._tell(verdict)

    def _surplus_s(self) -> float:
        return time.monotonic() - self._surplus_since if self._surplus_since is not None else 0.0

    def _act(self, verdict: Verdict) -> None:
        for decision in verdict.decisions:
            names = ", ".join(decision.block_ids) or f"{decision.count}"
            logger.info("%s %s block(s) of shape %s: %s", _DOING[decision.action], names, self._shape, decision.why)
            match decision.action:
                case "request":
                    self._fleet.request(decision.count)
                case "cancel":
                    self._fleet.cancel(decision.block_ids, decision.why)
                case "drain":
                    self._fleet.drain(decision.block_ids, decision.why)
                case "give_up":
                    self._fleet.cancel(decision.block_ids, decision.why, failed=True)

    def _tell(self, verdict: Verdict) -> None:
        """Say once why nothing more is done, and when the endpoint breaks and recovers."""
        if verdict.waiting and verdict.waiting != self._said:
            logger.info("shape %s: %s", self._shape, verdict.waiting)
        self._said = verdict.waiting
        if bool(verdict.problem) != bool(self.problem):
            if verdict.problem:
                logger.error("workers of shape %s cannot be had: %s", self._shape, verdict.problem)
            else:
                logger.info("workers of shape %s can be had again", self._shape)
        self.problem = verdict.problem


_DOING = {"request": "requesting", "cancel": "cancelling", "drain": "draining", "give_up": "giving up"}
