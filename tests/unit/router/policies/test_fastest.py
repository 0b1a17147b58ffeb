"""Late binding by predicted completion: what is held back, for how long, and what never is."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from faas.models import Offer, RunPolicy
from registry.endpoints import Site
from registry.leases import QueuedClass, Share
from router.outlook import Outlook
from router.plan import Plan, PlannedClass, Workers
from router.policies import Capacity, Choice, Fastest, FirstFree, Holds, Waiting

SLOW, FAST = (Site(name, name, "ada", "ada", RunPolicy()) for name in ("slow", "fast"))
LANES = [("slow", "default"), ("fast", "default")]
EVERYWHERE = frozenset(LANES)
SLOW_S, FAST_S = 100.0, 50.0


def waiting(class_id: int = 1, *, queued: int = 1, priority: int = 0, head: int = 1, name: str = "f") -> QueuedClass:
    return QueuedClass(class_id, "ada", name, priority, head, queued)


def plan(classes: list[QueuedClass], fast_free_at: list[float], *, now: float = 0.0, slow: int = 1) -> Plan:
    """Idle workers at the slow site, and some at the fast one that are free later."""
    workers = Workers(
        np.array([0] * slow + [1] * len(fast_free_at)),
        np.array([now] * slow + fast_free_at),
        np.full(slow + len(fast_free_at), np.inf),
        np.ones(slow + len(fast_free_at)),
    )
    planned = [PlannedClass(one.class_id, one.function_id, one.queued, one.priority, EVERYWHERE) for one in classes]
    return Plan.of(now, planned, LANES, np.array([[SLOW_S, FAST_S]] * len(classes)), workers)


def ask(
    site: Site,
    classes: list[QueuedClass],
    foreseen: Plan | None,
    *,
    now: float = 0.0,
    idle: int = 1,
    holds: Holds | None = None,
    run_s: float = 75.0,
) -> Choice:
    offer = Offer(shape="default", workers=idle, idle_workers=idle)
    outlook = Outlook({"f": run_s}, now, lambda: foreseen)
    return Fastest().choose(
        site, Capacity({"default": offer}, 100), Waiting(classes), outlook, Holds() if holds is None else holds
    )


def test_the_last_task_waits_for_a_faster_worker_that_is_soon_free() -> None:
    choice = ask(SLOW, [waiting()], plan([waiting()], [10.0]))
    assert choice.shares == []
    (hold,) = choice.holds
    assert (hold.class_id, hold.head) == (1, 1)
    assert (hold.finish_here_s, round(hold.finish_there_s)) == (100.0, 60)
    # Later than it should start there, and sooner than waiting stops to pay.
    assert 10.0 < hold.until < SLOW_S - FAST_S


def test_it_does_not_wait_where_that_would_take_longer() -> None:
    assert ask(SLOW, [waiting()], plan([waiting()], [60.0])).shares == [Share(1, 1)]


def test_a_slow_worker_takes_its_part_of_a_long_backlog() -> None:
    long = waiting(queued=10)
    assert ask(SLOW, [long], plan([long], [0.0])).shares == [Share(1, 1)]


def test_the_fast_site_gets_what_is_held_back_from_the_slow_one() -> None:
    foreseen = plan([waiting()], [0.0])
    assert ask(SLOW, [waiting()], foreseen).shares == []
    assert ask(FAST, [waiting()], foreseen).shares == [Share(1, 1)]


def test_a_promise_is_kept_to_its_end_and_then_anybody_gets_the_task() -> None:
    holds = Holds()
    (hold,) = ask(SLOW, [waiting()], plan([waiting()], [10.0]), holds=holds).holds
    holds.promise(hold)
    # The faster worker is late, and the prediction with it: the promise is not prolonged.
    for now in (5.0, hold.until - 0.1):
        again = ask(SLOW, [waiting()], plan([waiting()], [now + 10], now=now), now=now, holds=holds)
        assert (again.shares, again.holds) == ([], [hold])
    late = ask(SLOW, [waiting()], plan([waiting()], [hold.until + 10], now=hold.until), now=hold.until, holds=holds)
    assert late.shares == [Share(1, 1)]


def test_the_end_of_one_promise_frees_one_task() -> None:
    holds = Holds()
    three = waiting(queued=3)
    busy = [5.0, 6.0, 7.0]
    (hold,) = ask(SLOW, [three], plan([three], busy, slow=3), idle=3, holds=holds).holds
    holds.promise(hold)
    now = hold.until
    late = ask(
        SLOW, [three], plan([three], [now + each for each in busy], now=now, slow=3), now=now, idle=3, holds=holds
    )
    assert late.shares == [Share(1, 1)]
    holds.moved(1, 2)
    assert holds.over(now) == []


def test_a_function_that_never_ran_is_tried_at_once() -> None:
    new = waiting(name="new")
    unknown = Plan.of(0.0, [PlannedClass(1, "new", 1, 0, EVERYWHERE)], LANES, np.full((1, 2), np.nan), Workers.none())
    assert ask(SLOW, [new], unknown).shares == [Share(1, 1)]


def test_short_tasks_come_in_advance_where_no_worker_is_idle() -> None:
    short = waiting(queued=50)
    offer = Offer(shape="default", workers=2, idle_workers=0)
    outlook = Outlook({"f": 0.1}, 0.0, lambda: plan([short], [0.0]))
    choice = Fastest().choose(SLOW, Capacity({"default": offer}, 100), Waiting([short]), outlook, Holds())
    assert choice.shares == [Share(1, 10)]


classes = st.lists(
    st.builds(
        waiting,
        class_id=st.integers(1, 200),
        queued=st.integers(1, 50),
        priority=st.integers(-2, 2),
        head=st.integers(1, 1_000),
        name=st.sampled_from(["f", "g", "unknown"]),
    ),
    min_size=1,
    max_size=40,
    unique_by=lambda one: one.class_id,
)


@given(classes, st.integers(0, 8), st.integers(0, 60), st.none() | st.floats(1, 500))
def test_without_a_plan_it_is_first_free(
    classes: list[QueuedClass], idle: int, max_tasks: int, longest_s: float | None
) -> None:
    offer = Offer(shape="default", workers=8, idle_workers=idle, longest_s=longest_s)
    asked = (SLOW, Capacity({"default": offer}, max_tasks), Waiting(classes), Outlook({"f": 0.1, "g": 75.0}), Holds())
    assert Fastest().choose(*asked) == FirstFree().choose(*asked)


@given(classes, st.integers(1, 30), st.lists(st.floats(0, 200), max_size=6))
def test_a_worker_stays_idle_only_for_a_promise_that_ends(
    classes: list[QueuedClass], idle: int, fast_free_at: list[float]
) -> None:
    foreseen = plan(classes, fast_free_at, slow=idle)
    choice = ask(SLOW, classes, foreseen, idle=idle)
    known = {one.class_id: one for one in classes}
    taken = {share.class_id: share.tasks for share in choice.shares}
    assert len(taken) == len(choice.shares)
    assert all(0 < tasks <= known[class_id].queued for class_id, tasks in taken.items())
    total = sum(taken.values())
    assert total <= idle
    available = sum(one.queued for one in classes)
    assert total == min(idle, available) or choice.holds
    for hold in choice.holds:
        # Only where waiting is predicted to win, and no longer than it could.
        assert hold.finish_there_s < hold.finish_here_s
        assert 0 < hold.until <= hold.finish_here_s - FAST_S
        assert hold.class_id not in taken or taken[hold.class_id] < known[hold.class_id].queued
    # Among what is taken: higher priority first, then who waits longest.
    order = [(-known[share.class_id].priority, known[share.class_id].head) for share in choice.shares]
    assert order == sorted(order)


@given(st.integers(0, 60), st.integers(0, 60))
def test_promises_that_are_over_are_found_among_many_classes(before: int, behind: int) -> None:
    ours = waiting(500, head=before + 1)
    # None of them is worth starting at the slow site: all are better off at the fast one.
    others = [waiting(number, head=number) for number in range(1, before + 1)]
    others += [waiting(600 + number, head=before + 2 + number) for number in range(behind)]
    classes = [*others, ours]
    fast_free_at = [1.0] * len(classes)
    holds = Holds()
    held = ask(SLOW, classes, plan(classes, fast_free_at), idle=100)
    assert held.shares == []
    hold = next((one for one in held.holds if one.class_id == 500), None)
    if hold is None:  # only so many are promised at once
        assert before >= len(held.holds)
        return
    holds.promise(hold)
    late = plan(classes, [hold.until + 1.0] * len(classes), now=hold.until)
    assert ask(SLOW, classes, late, now=hold.until, idle=100, holds=holds).shares == [Share(500, 1)]


def test_where_nothing_waits_nothing_is_chosen() -> None:
    choice = ask(SLOW, [], plan([waiting()], [10.0]))
    assert (choice.shares, choice.holds) == ([], [])
    assert Waiting([]).of_shape("default").dtype == bool  # to be combined with other conditions
