"""Keeps the outlook that decisions share: learns from events, and reckons anew when it is worth it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from router.demand import OVERCOMMIT, Apportionment, apportion
from router.landscape import Landscape
from router.model import SiteModel
from router.outlook import Outlook
from router.plan import Floats, LaneKey, Plan, PlannedClass

FRESH_S = 0.25
"""A plan is good for so long: what one decision takes, it has foreseen…"""
PART = 0.02
"""…or for longer, where making plans would take more than this part of the time…"""
_STALE_TOO = 0.1
"""…and for this part of it even when something happened that it had not."""
_TABLE_FRESH_S = 2.0


class Planner:
    """The site model, the landscape, and what follows from both.

    Args:
        model: what was learned.
        landscape: who is there.
        fresh_s: for how long an outlook is shared.
        part: what part of the time plans may take; 0 for any, as in simulations, where no time passes.
        overcommit: how many times what is expected to be needed is asked for in blocks.
        store: where inputs are.
    """

    def __init__(
        self,
        model: SiteModel | None = None,
        landscape: Landscape | None = None,
        *,
        fresh_s: float = FRESH_S,
        part: float = PART,
        overcommit: float = OVERCOMMIT,
        store: str = "",
    ) -> None:
        self.model = SiteModel() if model is None else model
        self.landscape = Landscape() if landscape is None else landscape
        self._fresh_s = fresh_s
        self._part = part
        self._cost_s = 0.0
        self._overcommit = overcommit
        self._store = store
        self._plan: Plan | None = None
        self._stale = False
        self._known: _Tables | None = None

    def outlook(self, now: float, classes: Callable[[], Sequence[PlannedClass]], run_s: Mapping[str, float]) -> Outlook:
        """What to decide by now.

        Args:
            now: on the clock of the events.
            classes: tells what waits; called only when the plan is to be made anew.
            run_s: measured run times by function.
        """
        return Outlook(run_s, now, lambda: self._plan_for(now, classes))

    def _plan_for(self, now: float, classes: Callable[[], Sequence[PlannedClass]]) -> Plan:
        fresh_s = max(
            self._fresh_s * _STALE_TOO if self._stale else self._fresh_s,
            self._cost_s / self._part if self._part else 0.0,
        )
        if self._plan is None or not now - self._plan.now < fresh_s:
            began = time.thread_time()
            waiting = classes()
            lanes = self.landscape.lanes
            workers = self.landscape.workers(now, self.model)
            table, by_lane = self._tables(now, waiting, lanes)
            self._plan = Plan.of(now, waiting, lanes, table, workers, by_lane)
            self._stale = False
            self._cost_s = time.thread_time() - began
        return self._plan

    def bound_outlook(self, now: float, run_s: Mapping[str, float], backlog: Mapping[str, int]) -> Outlook:
        """What policies decide by that bind early: they foresee nothing."""
        return Outlook(run_s, now, backlog=backlog)

    def expected_s(self, function_id: str, endpoint_id: str, size_bytes: float | None = None) -> float | None:
        """For how long a task will keep a worker, from its grant on; None where that is not known."""
        run = self.model.run_times.predict(function_id, endpoint_id, size_bytes=size_bytes)
        if run is None:
            return None
        transfer_s = self.model.transfers.seconds(self._store, endpoint_id, size_bytes) if size_bytes else 0.0
        return run.seconds + transfer_s

    def stale(self) -> None:
        """Something changed that no plan foresaw: endpoints or blocks came or went, work came in."""
        self._stale = True

    def apportion(self, now: float, classes: Sequence[PlannedClass]) -> Apportionment:
        """Each endpoint's share of what waits, for its pilot controller."""
        lanes = self.landscape.lanes
        service_s, _ = self._tables(now, classes, lanes)
        return apportion(now, classes, self.landscape, self.model, service_s, overcommit=self._overcommit)

    def _tables(self, now: float, classes: Sequence[PlannedClass], lanes: Sequence[LaneKey]) -> tuple[Floats, Floats]:
        """How long a task of each class keeps a worker of each lane, in seconds: by class, and by lane."""
        functions = [(one.function_id, one.size_bytes) for one in classes]
        if self._known is None or not (
            now - self._known.at < _TABLE_FRESH_S and self._known.functions == functions and self._known.lanes == lanes
        ):
            table = self.model.service_s(
                [one.function_id for one in classes],
                [endpoint_id for endpoint_id, _ in lanes],
                sizes_bytes=[one.size_bytes for one in classes],
                store=self._store,
            )
            self._known = _Tables(now, functions, list(lanes), table, np.ascontiguousarray(table.T))
        return self._known.table, self._known.by_lane


@dataclass(frozen=True)
class _Tables:
    at: float
    functions: list[tuple[str, float | None]]
    lanes: list[LaneKey]
    table: Floats
    by_lane: Floats


__all__ = ["FRESH_S", "Planner"]
