"""The policy `fastest`: late binding by predicted completion, which holds work back only where that wins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from registry.endpoints import Site
from registry.leases import QueuedClass
from router.outlook import Outlook
from router.plan import Floats, Plan

from .first_free import Filling
from .protocol import Capacity, Choice, Hold, LateBinding, Waiting

TOLERANCE_S = 0.5
"""Less than this is not worth an idle worker, nor is…"""
TOLERANCE = 0.02
"""…this part of a task's run time: predictions are no better."""
_BARELY_S = 1e-3
_FEW = 16
"""So many classes are looked at one by one; more, all at once."""


class Fastest(LateBinding):
    """A free worker gets the first task that it can finish before the backlog would be finished without it.

    The outlook's plan says when the last task of each class would end if every worker did what it can in time. A worker
    that would be later than that is too slow to help: what waits is better off on a faster one that is soon free, and
    is held back. Such a hold is a promise with an end, half-way between when the task is expected to start on the
    faster worker and when waiting for it stops paying; after that any worker gets it, and it is never prolonged (ski
    rental: Karlin et al. 1988; so a wrong prediction costs at most as much again as the right one would have saved).
    In everything else it is ``FirstFree``.
    """

    def choose(
        self, site: Site, capacity: Capacity, waiting: Waiting, outlook: Outlook, holds: Mapping[int, Hold]
    ) -> Choice:
        """See ``Policy.choose``."""
        filling = Filling(capacity, outlook.run_s)
        plan = outlook.plan
        if filling.is_full() or not waiting:
            return Choice()
        if plan is None:
            filling.take_all(waiting)
            return Choice(filling.shares)
        latest = self._latest_starts(site, capacity, waiting, plan)
        now = outlook.now
        helping = latest >= now
        for class_id, hold in holds.items():
            if hold.until <= now and (position := waiting.position(class_id)) is not None:
                helping[position] |= waiting[position].head == hold.head
        for position in np.flatnonzero(helping).tolist():
            if filling.is_full():
                break
            candidate = waiting[position]
            if latest[position] < now:
                # Its promise is over, and that of the tasks behind it is not.
                candidate = _only_first(candidate)
            filling.take(candidate)
        if not any(filling.idle.values()):
            return Choice(filling.shares)
        kept = self._holds(capacity, waiting, np.flatnonzero(~helping), filling, outlook, plan, latest, holds)
        return Choice(filling.shares, list(kept))

    def _latest_starts(self, site: Site, capacity: Capacity, waiting: Waiting, plan: Plan) -> Floats:
        """By position in ``waiting``: until when a task started here still helps."""
        lanes = {shape: plan.lanes.get((site.endpoint_id, shape)) for shape in capacity.offers}
        by_lane = {
            shape: plan.latest_start(lane, TOLERANCE_S, TOLERANCE) for shape, lane in lanes.items() if lane is not None
        }
        if len(waiting) <= _FEW:
            rows = [plan.classes.get(one.class_id) for one in waiting]
            return np.array(
                [
                    np.inf if row is None or one.shape not in by_lane else by_lane[one.shape][row]
                    for row, one in zip(rows, waiting, strict=True)
                ]
            )
        latest = np.full(len(waiting), np.inf)
        known = waiting.rows(plan)
        for shape, starts in by_lane.items():
            here = waiting.of_shape(shape) & (known >= 0)
            latest[here] = starts[known[here]]
        return latest

    def _holds(
        self,
        capacity: Capacity,
        waiting: Waiting,
        held: NDArray[np.intp],
        filling: Filling,
        outlook: Outlook,
        plan: Plan,
        latest: Floats,
        holds: Mapping[int, Hold],
    ) -> Iterator[Hold]:
        """A promise for each class that an idle worker would else have got."""
        left = dict(filling.idle)
        now = outlook.now
        for position in held.tolist():
            candidate = waiting[position]
            if not left.get(candidate.shape) or not capacity.takes(candidate, outlook.run_s):
                continue
            left[candidate.shape] -= min(left[candidate.shape], candidate.queued)
            before = holds.get(candidate.class_id)
            if before is not None and before.head == candidate.head:
                yield before
            else:
                row = plan.classes[candidate.class_id]
                there = max(float(plan.finish_at[row]), now)
                # What `latest` was made of, the other way round.
                here_s = (there + TOLERANCE_S - float(latest[position])) / (1.0 - TOLERANCE)
                until = (there + now + here_s) / 2 - float(plan.least_s[row])
                if isfinite(until):
                    yield Hold(candidate.class_id, candidate.head, max(until, now + _BARELY_S), here_s, there - now)
            if not any(left.values()):
                return


def _only_first(candidate: QueuedClass) -> QueuedClass:
    return QueuedClass(
        candidate.class_id,
        candidate.owner_id,
        candidate.function_id,
        candidate.priority,
        candidate.head,
        1,
        candidate.shape,
        candidate.environment,
    )
