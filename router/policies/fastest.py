"""The policy `fastest`: late binding by predicted completion, which holds work back only where that wins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from registry.endpoints import Site
from registry.leases import QueuedClass
from router.outlook import Outlook
from router.plan import Plan

from .first_free import Filling
from .holds import Hold, Holds
from .protocol import Capacity, Choice, LateBinding, Waiting

TOLERANCE_S = 0.5
"""Less than this is not worth an idle worker, nor is…"""
TOLERANCE = 0.02
"""…this part of a task's run time: predictions are no better."""
_BARELY_S = 1e-3
_FIRST = 32
"""So many classes are looked at first, and so many promises are made at once at most."""


class Fastest(LateBinding):
    """A free worker gets the first task that it can finish before the backlog would be finished without it.

    The outlook's plan says when the last task of each class would end if every worker did what it can in time. A worker
    that would be later than that is too slow to help: what waits is better off on a faster one that is soon free, and
    is held back. Such a hold is a promise with an end, half-way between when the task is expected to start on the
    faster worker and when waiting for it stops paying; after that any worker gets it, and it is never prolonged (ski
    rental: Karlin et al. 1988; so a wrong prediction costs at most as much again as the right one would have saved).
    In everything else it is ``FirstFree``.
    """

    def choose(self, site: Site, capacity: Capacity, waiting: Waiting, outlook: Outlook, holds: Holds) -> Choice:
        """See ``Policy.choose``."""
        filling = Filling(capacity, outlook.run_s)
        if not filling.has_idle():
            filling.take_all(waiting)
            return Choice(filling.shares)
        plan = outlook.plan
        if plan is None:
            filling.take_all(waiting)
            return Choice(filling.shares)
        now = outlook.now
        released = self._released(waiting, holds, now)
        lanes = {shape: plan.lanes.get((site.endpoint_id, shape)) for shape in capacity.offers}
        held: list[int] = []
        for position in self._in_question(waiting, plan, lanes, now):
            if not filling.has_idle():
                # Only short tasks may come in advance, and those are not worth holding back.
                filling.take_all(waiting, position)
                return Choice(filling.shares)
            candidate = waiting[position]
            if not self._too_late(candidate, plan, lanes, now):
                filling.take(candidate)
            elif position in released:
                # Its promise is over, and that of the tasks behind it is not.
                filling.take(replace(candidate, queued=1))
            elif len(held) < _FIRST:
                held.append(position)
        for position in sorted(released.difference(range(_FIRST))):
            if self._too_late(waiting[position], plan, lanes, now):
                filling.take(replace(waiting[position], queued=1))
        return Choice(filling.shares, list(self._holds(capacity, waiting, held, filling, outlook, plan, lanes, holds)))

    @classmethod
    def _in_question(cls, waiting: Waiting, plan: Plan, lanes: Mapping[str, int | None], now: float) -> Iterator[int]:
        """Positions to be looked at: the first few, which mostly fill the workers, and then all that would help."""
        yield from range(min(_FIRST, len(waiting)))
        if len(waiting) > _FIRST:
            yield from (_FIRST + np.flatnonzero(cls._helping(waiting, slice(_FIRST, None), plan, lanes, now))).tolist()

    @staticmethod
    def _too_late(candidate: QueuedClass, plan: Plan, lanes: Mapping[str, int | None], now: float) -> bool:
        """Whether a task would end after its group if it started here now."""
        lane, row = lanes.get(candidate.shape), plan.classes.get(candidate.class_id)
        if lane is None or row is None:
            return False
        # What never ran (NaN) is never too late.
        return now + plan.by_lane.item(lane, row) * (1.0 - TOLERANCE) > plan.finish_at.item(row) + TOLERANCE_S

    @staticmethod
    def _released(waiting: Waiting, holds: Holds, now: float) -> set[int]:
        """Positions of classes whose first task was held back for as long as was said."""
        found = set()
        for class_id in holds.over(now):
            hold, position = holds.get(class_id), waiting.position(class_id)
            if hold is not None and position is not None and waiting[position].head == hold.head:
                found.add(position)
        return found

    @staticmethod
    def _helping(
        waiting: Waiting, chunk: slice, plan: Plan, lanes: Mapping[str, int | None], now: float
    ) -> NDArray[np.bool_]:
        """Which classes of a chunk would end in time if they started here now."""
        rows = waiting.rows(plan)[chunk]
        helping = np.ones(len(rows), dtype=bool)
        for shape, lane in lanes.items():
            if lane is not None:
                late = (now > plan.latest_starts(lane, rows, TOLERANCE_S, TOLERANCE)) & (rows >= 0)
                helping &= ~(late & waiting.of_shape(shape)[chunk])
        return helping

    @staticmethod
    def _holds(
        capacity: Capacity,
        waiting: Waiting,
        held: Sequence[int],
        filling: Filling,
        outlook: Outlook,
        plan: Plan,
        lanes: Mapping[str, int | None],
        holds: Holds,
    ) -> Iterator[Hold]:
        """A promise for each class that an idle worker would else have got."""
        left = dict(filling.idle)
        now = outlook.now
        for position in held:
            candidate = waiting[position]
            if not left.get(candidate.shape) or not capacity.takes(candidate, outlook.run_s):
                continue
            left[candidate.shape] -= min(left[candidate.shape], candidate.queued)
            before = holds.get(candidate.class_id)
            lane = lanes.get(candidate.shape)
            if before is not None and before.head == candidate.head:
                if before.until > now:
                    yield before
            elif lane is not None:
                row = plan.classes[candidate.class_id]
                here_s = float(plan.service_s[row, lane])
                there_s = max(0.0, float(plan.finish_at[row]) - now)
                until = now + (there_s + here_s) / 2 - float(plan.least_s[row])
                yield Hold(candidate.class_id, candidate.head, max(until, now + _BARELY_S), here_s, there_s)
            if not any(left.values()):
                return
