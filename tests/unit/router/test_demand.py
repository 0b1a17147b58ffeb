"""Demand: who gets ready for what waits, and who does not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.demand import Apportionment, apportion
from router.landscape import Landscape, QueuedBlock
from router.model import SiteModel
from router.plan import PlannedClass

SITES = ["theta", "summit", "cori"]
SECONDS = [100.0, 100.0, 50.0]
LANES = frozenset((site, "default") for site in SITES)


def landscape(workers: tuple[int, int, int] = (0, 0, 0), max_blocks: int = 4) -> Landscape:
    found = Landscape()
    for site, count in zip(SITES, workers, strict=True):
        lane = found.lane(site, "default")
        lane.workers, lane.blocks, lane.max_blocks, lane.workers_per_block = count, count // 8, max_blocks, 8
    return found


def model(*waits_s: float) -> SiteModel:
    learned = SiteModel()
    for site, waited_s in zip(SITES, waits_s, strict=True):
        for _ in range(20):
            learned.queue_waits.started(site, "default", waited_s)
    return learned


def share(
    tasks: int, where: Landscape, waits: SiteModel, *, overcommit: float = 1.5, per_s: float = 0.0
) -> Apportionment:
    classes = [PlannedClass(1, "xpcs", tasks, 0, LANES, per_s=per_s)]
    return apportion(0.0, classes, where, waits, np.array([SECONDS]), overcommit=overcommit)


def test_a_large_backlog_is_for_everybody_and_is_bought_once() -> None:
    demand = share(1000, landscape(), model(60, 60, 60), overcommit=1.0).demand
    assert set(demand) == set(SITES)
    assert 1000 <= sum(each.tasks for each in demand.values()) <= 1003
    assert demand["cori"].tasks > 1.5 * demand["theta"].tasks  # twice as fast
    for site, seconds in zip(SITES, SECONDS, strict=True):
        told = demand[site].seconds
        assert told is not None and told == pytest.approx(demand[site].tasks * seconds, rel=0.05)
        assert demand[site].shapes["default"].tasks == demand[site].tasks


def test_it_is_overcommitted_as_told() -> None:
    once = sum(each.tasks for each in share(1000, landscape(), model(60, 60, 60), overcommit=1.0).demand.values())
    more = sum(each.tasks for each in share(1000, landscape(), model(60, 60, 60)).demand.values())
    assert more == pytest.approx(1.5 * once, rel=0.01)


def test_what_running_workers_will_do_in_time_nobody_gets_ready_for() -> None:
    assert share(8, landscape((0, 0, 32)), model(300, 300, 300)).demand == {}


def test_a_long_queue_gets_none_of_a_short_backlog() -> None:
    where = landscape((0, 0, 8))
    where.lane("theta", "default").queued = [QueuedBlock("b", 0.0, 8)]
    where.lane("theta", "default").blocks = 1
    told = share(24, where, model(5000, 30, 10))
    assert "theta" not in told.demand
    assert told.losing == {("theta", "default"): 1}
    assert told.demand["cori"].tasks > 0


def test_a_stream_counts_with_what_will_have_come_in() -> None:
    where = landscape((0, 0, 8))
    still = share(10, where, model(300, 300, 300)).demand
    stream = share(10, where, model(300, 300, 300), per_s=1.0).demand
    assert sum(each.tasks for each in stream.values()) > 100 + sum(each.tasks for each in still.values())


def test_of_unknown_run_time_everybody_that_may_run_it_is_told() -> None:
    classes = [PlannedClass(1, "new", 1, 0, LANES)]
    told = apportion(0.0, classes, landscape(), SiteModel(), np.full((1, 3), np.nan)).demand
    assert {site: (each.tasks, each.seconds) for site, each in told.items()} == dict.fromkeys(SITES, (1, None))


def test_nothing_waits_or_nobody_is_there() -> None:
    assert share(0, landscape(), SiteModel()) == Apportionment()
    assert apportion(0.0, [PlannedClass(1, "f", 3)], Landscape(), SiteModel(), np.empty((1, 0))) == Apportionment()


@given(
    st.integers(1, 2_000),
    st.tuples(*[st.integers(0, 4).map(lambda blocks: 8 * blocks)] * 3),
    st.tuples(*[st.floats(1, 5_000)] * 3),
)
def test_together_they_are_never_told_of_much_more_than_waits(
    tasks: int, workers: tuple[int, int, int], waits_s: tuple[float, float, float]
) -> None:
    told = share(tasks, landscape(workers), model(*waits_s)).demand
    assert sum(each.tasks for each in told.values()) <= 1.5 * tasks + len(SITES)
    # Somebody gets ready, or there are workers.
    assert told or any(workers)
