"""Who would finish what when: against a brute-force schedule, and by priority."""

from __future__ import annotations

import heapq
from math import inf

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from router.plan import Plan, PlannedClass, Workers, solve

LANES = [("theta", "default"), ("cori", "default"), ("summit", "default")]
EVERYWHERE = frozenset(LANES)


def workers(*free: tuple[int, float], ends_at: float = inf) -> Workers:
    count = len(free)
    return Workers(
        np.array([lane for lane, _ in free], dtype=np.intp),
        np.array([at for _, at in free], dtype=np.float64),
        np.full(count, ends_at),
        np.ones(count),
    )


def earliest_finish(tasks: int, free: list[tuple[int, float]], service_s: list[float]) -> float:
    """By always giving the next task to who would finish it first: optimal for equal tasks."""
    finishing = [(max(at, 0.0) + service_s[lane], lane) for lane, at in free]
    heapq.heapify(finishing)
    last = 0.0
    for _ in range(tasks):
        last, lane = heapq.heappop(finishing)
        heapq.heappush(finishing, (last + service_s[lane], lane))
    return last


@given(
    st.integers(1, 60),
    st.lists(st.tuples(st.integers(0, 2), st.floats(-50, 300)), min_size=1, max_size=12),
    st.lists(st.floats(1, 200), min_size=3, max_size=3),
)
def test_it_finds_the_earliest_finish(tasks: int, free: list[tuple[int, float]], service_s: list[float]) -> None:
    (group,) = solve(0.0, [PlannedClass(1, "f", tasks, 0, EVERYWHERE)], LANES, np.array([service_s]), workers(*free))
    best = earliest_finish(tasks, free, service_s)
    assert best - 1e-6 <= group.finish_at <= best * 1.003 + 0.1
    assert np.isclose(group.shares.sum(), tasks)


def test_higher_priority_is_planned_first_and_the_rest_behind_it() -> None:
    classes = [PlannedClass(1, "f", 4, 0, EVERYWHERE), PlannedClass(2, "f", 2, 1, EVERYWHERE)]
    plan = Plan.of(0.0, classes, LANES, np.full((2, 3), 10.0), workers((0, 0.0), (1, 0.0)))
    np.testing.assert_allclose(plan.finish_at, [30.0, 10.0], atol=0.2)


def test_what_can_run_at_one_place_only_is_planned_before_what_can_go_elsewhere() -> None:
    classes = [PlannedClass(1, "f", 2, 0, EVERYWHERE), PlannedClass(2, "f", 2, 0, frozenset({LANES[0]}))]
    plan = Plan.of(0.0, classes, LANES, np.full((2, 3), 10.0), workers((0, 0.0), (1, 0.0)))
    np.testing.assert_allclose(plan.finish_at, [20.0, 20.0], atol=0.2)


def test_what_fits_no_walltime_or_has_no_place_never_ends() -> None:
    classes = [PlannedClass(1, "f", 1, 0, EVERYWHERE), PlannedClass(2, "g", 1, 0, frozenset({("gone", "default")}))]
    plan = Plan.of(0.0, classes, LANES, np.full((2, 3), 10.0), workers((0, 0.0), ends_at=5.0))
    assert plan.finish_at.tolist() == [inf, inf]
    assert Plan.of(0.0, classes, LANES, np.full((2, 3), 10.0), Workers.none()).finish_at.tolist() == [inf, inf]


def test_workers_that_may_come_count_by_their_likelihood() -> None:
    half = Workers(np.array([0]), np.array([0.0]), np.array([inf]), np.array([0.5]))
    (group,) = solve(0.0, [PlannedClass(1, "f", 5, 0, EVERYWHERE)], LANES, np.full((1, 3), 10.0), half)
    assert abs(group.finish_at - 100.0) < 0.5
