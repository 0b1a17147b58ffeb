"""Demand: each endpoint's share of what waits, so that together they ask for the blocks it is worth, and no more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import ceil, isfinite, isnan

import numpy as np

from faas.models import Demand
from router.landscape import Landscape
from router.model import SiteModel
from router.plan import Floats, LaneKey, PlannedClass, Workers, solve

OVERCOMMIT = 1.5
"""By how much more is asked for than is expected to be needed: queue waits are uncertain."""


_FORESIGHT_S = 600.0
"""A stream is not counted on for longer than this."""
_NOTHING = 0.05
"""Less than this part of a task is nobody's to get ready for."""


@dataclass(frozen=True)
class Apportionment:
    """Who is to get ready for what."""

    demand: dict[str, Demand] = field(default_factory=dict)
    """By endpoint: what waits for blocks it has queued, or should ask for; there by shape."""
    losing: dict[LaneKey, int] = field(default_factory=dict)
    """Queued blocks that would come too late to help: their endpoint's pilot controller cancels them, for it is told
    of no demand."""


def apportion(
    now: float,
    classes: Sequence[PlannedClass],
    landscape: Landscape,
    model: SiteModel,
    service_s: Floats,
    *,
    overcommit: float = OVERCOMMIT,
) -> Apportionment:
    """Split what waits over the workers there are, those that are coming, and those that could be had.

    What running workers will do in time, here or elsewhere, nobody needs to get ready for. The rest is told to the
    lanes whose queued or possible blocks would do it, as likely as they are to come in time.

    Args:
        now: on the landscape's clock.
        classes: what waits; a stream counts with what comes in before a block could start.
        landscape: who is there.
        model: what is known of queue waits.
        service_s: seconds a task of each class keeps a worker of each lane, in the landscape's order; NaN if unknown.
        overcommit: how many times what is expected to be needed is asked for.

    Returns:
        Demand in tasks and estimated worker-seconds; in tasks alone while a run time is unknown.
    """
    lanes = landscape.lanes
    if not lanes or not any(one.tasks or one.per_s for one in classes):
        return Apportionment()
    there = landscape.workers(now, model, queued=False)
    coming = landscape.workers(now, model, running=False, potential=True)
    everybody = Workers.joined([there, coming])
    known = [row for row in range(len(classes)) if not isnan(service_s[row, 0])]
    unknown = [row for row in range(len(classes)) if isnan(service_s[row, 0])]
    expected = _foreseen([classes[row] for row in known], landscape, model)
    tasks: Floats = np.zeros(len(lanes))
    seconds: Floats = np.zeros(len(lanes))
    for group in solve(now, expected, lanes, service_s[known], everybody):
        if isfinite(group.finish_at):
            new = slice(len(there.lane), None)
            part = np.asarray(
                np.bincount(everybody.lane[new], weights=group.shares[new], minlength=len(lanes)), dtype=np.float64
            )
        else:
            part = _evenly([expected[row] for row in group.rows], lanes)
        tasks += part
        seconds += part * np.nan_to_num(group.service_s, nan=0.0)
    return _told(lanes, tasks, seconds, _evenly([classes[row] for row in unknown], lanes), overcommit, landscape)


def _foreseen(classes: list[PlannedClass], landscape: Landscape, model: SiteModel) -> list[PlannedClass]:
    """Streams with what will have come in by the time a new block would start."""
    if not any(one.per_s for one in classes):
        return classes
    medians = {lane: min(model.queue_waits.of(*lane).quantile(0.5), _FORESIGHT_S) for lane in landscape.lanes}
    foreseen = []
    for one in classes:
        waits = [medians[lane] for lane in one.lanes if lane in medians] if one.per_s else []
        more = ceil(one.per_s * sum(waits) / len(waits)) if waits else 0
        foreseen.append(replace(one, tasks=one.tasks + more) if more else one)
    return foreseen


def _evenly(classes: Sequence[PlannedClass], lanes: Sequence[LaneKey]) -> Floats:
    """Tasks by lane where nothing is known to prefer one by."""
    tasks = np.zeros(len(lanes))
    column = {lane: index for index, lane in enumerate(lanes)}
    for one in classes:
        places = [column[lane] for lane in one.lanes if lane in column]
        if places:
            tasks[places] += one.tasks / len(places)
    return tasks


def _told(
    lanes: Sequence[LaneKey],
    tasks: Floats,
    seconds: Floats,
    unknown: Floats,
    overcommit: float,
    landscape: Landscape,
) -> Apportionment:
    demand: dict[str, Demand] = {}
    losing: dict[LaneKey, int] = {}
    for index, (endpoint_id, shape) in enumerate(lanes):
        share = overcommit * float(tasks[index])
        # Upwards: of one task for three sites, each that may run it is told, or none would get ready for it.
        count = ceil(share - _NOTHING) + ceil(float(unknown[index]) - _NOTHING)
        if count > 0:
            of_shape = Demand(tasks=count, seconds=None if unknown[index] > 0 else overcommit * float(seconds[index]))
            total = demand.setdefault(endpoint_id, Demand(seconds=0.0))
            total.shapes[shape] = of_shape
            total.tasks += count
            if total.seconds is not None:
                total.seconds = None if of_shape.seconds is None else total.seconds + of_shape.seconds
        elif queued := len(landscape.lane(endpoint_id, shape).queued):
            losing[endpoint_id, shape] = queued
    return Apportionment(demand, losing)
