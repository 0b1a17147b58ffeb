"""What an endpoint gets that asks for work: rules that hold for any backlog."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from faas.models import LeaseRequest, Offer, RunPolicy
from registry.endpoints import Site
from registry.leases import QueuedClass, Share
from router.outlook import Outlook
from router.policies import LOOKAHEAD_S, POLICIES, Capacity, FirstFree, Holds, Waiting

SITE = Site("endpoint", "beamline", "ada", "ada", RunPolicy())


def first_free(capacity: Capacity, classes: list[QueuedClass], run_s: dict[str, float]) -> list[Share]:
    return FirstFree().choose(SITE, capacity, Waiting(classes), Outlook(run_s=run_s), Holds()).shares


SHORT_S, LONG_S = 0.001, 60.0
SHAPES = ["default", "small", "big"]


def waiting(class_id: int, *, queued: int = 10, priority: int = 0, head: int | None = None) -> QueuedClass:
    return QueuedClass(class_id, "ada", f"f{class_id}", priority, class_id if head is None else head, queued)


def choose(
    classes: list[QueuedClass],
    run_s: dict[str, float] | None = None,
    *,
    workers: int = 4,
    idle: int = 4,
    held_s: float = 0.0,
    max_tasks: int = 2_000,
) -> list[Share]:
    offer = Offer(shape="default", workers=workers, idle_workers=idle, held_s=held_s)
    return first_free(Capacity({"default": offer}, max_tasks), classes, run_s or {})


def test_unknown_run_times_go_to_idle_workers_one_each() -> None:
    assert choose([waiting(1)], idle=3) == [Share(1, 3)]
    assert choose([waiting(1)], idle=0) == []


def test_long_tasks_go_to_idle_workers_one_each() -> None:
    assert choose([waiting(1)], {"f1": LONG_S}, idle=3) == [Share(1, 3)]


def test_two_classes_share_the_idle_workers() -> None:
    assert choose([waiting(1, queued=1), waiting(2, queued=9)], idle=3) == [Share(1, 1), Share(2, 2)]


def test_short_tasks_come_in_advance_up_to_the_lookahead() -> None:
    (share,) = choose([waiting(1, queued=100_000)], {"f1": SHORT_S}, workers=2, idle=0, max_tasks=100_000)
    assert share.tasks == 2 * LOOKAHEAD_S / SHORT_S


def test_work_held_already_counts_against_the_lookahead() -> None:
    held_s = 4 * LOOKAHEAD_S
    assert choose([waiting(1)], {"f1": SHORT_S}, idle=0, held_s=held_s) == []
    assert choose([waiting(1)], {"f1": SHORT_S}, idle=1, held_s=held_s) == [Share(1, 1)]


def test_the_longest_waiting_comes_first_within_a_priority() -> None:
    shares = choose([waiting(1, head=7, queued=1), waiting(2, head=3, queued=1), waiting(3, priority=1, queued=1)])
    assert [share.class_id for share in shares] == [3, 2, 1]


def offered(*offers: Offer) -> Capacity:
    return Capacity({offer.shape: offer for offer in offers}, 100)


def test_each_shape_is_filled_with_what_it_is_there_for() -> None:
    small, big = (Offer(shape=shape, workers=2, idle_workers=2) for shape in ("small", "big"))
    classes = [replace(waiting(1), shape="big"), replace(waiting(2, queued=1), shape="small"), waiting(3)]
    assert first_free(offered(small, big), classes, {}) == [Share(1, 2), Share(2, 1)]


def test_tasks_that_outlive_the_workers_wait_for_others() -> None:
    offer = Offer(shape="default", workers=2, idle_workers=2, longest_s=LONG_S - 1)
    run_s = {"f1": LONG_S, "f2": LONG_S - 2}
    assert first_free(offered(offer), [waiting(1), waiting(2)], run_s) == [Share(2, 2)]
    assert first_free(offered(offer), [waiting(3)], run_s) == [Share(3, 2)]  # unknown: worth a try
    over = Offer(shape="default", workers=2, idle_workers=2, longest_s=0)
    assert first_free(offered(over), [waiting(3)], run_s) == []


def test_a_request_without_offers_has_workers_of_the_default_shape() -> None:
    request = LeaseRequest(number=1, workers=3, idle_workers=2, held_s=1.5, max_tasks=7)
    offer = Offer(shape="default", workers=3, idle_workers=2, held_s=1.5)
    assert Capacity.of(request) == Capacity({"default": offer}, 7)
    request.offers = [Offer(shape="big", workers=1, idle_workers=1)]
    assert Capacity.of(request) == Capacity({"big": request.offers[0]}, 7)


def test_nothing_waiting_is_nothing_to_do() -> None:
    assert choose([]) == []


def test_the_policy_in_use_can_be_named() -> None:
    assert isinstance(POLICIES["first_free"], FirstFree)


classes = st.lists(
    st.builds(
        QueuedClass,
        class_id=st.integers(1, 50),
        owner_id=st.just("ada"),
        function_id=st.sampled_from(["short", "medium", "long", "unknown"]),
        priority=st.integers(-2, 2),
        head=st.integers(1, 1_000),
        queued=st.integers(1, 5_000),
        shape=st.sampled_from(SHAPES),
    ),
    max_size=8,
    unique_by=lambda waiting: waiting.class_id,
)
offers = st.lists(
    st.builds(
        lambda shape, busy, idle, held_s, longest_s: Offer(
            shape=shape, workers=busy + idle, idle_workers=idle, held_s=held_s, longest_s=longest_s
        ),
        shape=st.sampled_from(SHAPES),
        busy=st.integers(0, 64),
        idle=st.integers(0, 64),
        held_s=st.floats(0, 100),
        longest_s=st.none() | st.floats(-10, 100),
    ),
    max_size=3,
    unique_by=lambda offer: offer.shape,
)
capacities = st.builds(
    lambda offers, max_tasks: Capacity({offer.shape: offer for offer in offers}, max_tasks),
    offers=offers,
    max_tasks=st.integers(0, 3_000),
)
run_times = st.fixed_dictionaries(
    {}, optional={"short": st.floats(0, 0.01), "medium": st.floats(0.01, 0.4), "long": st.floats(0.5, 1e6)}
)


@given(classes, capacities, run_times)
def test_rules_for_any_backlog(classes: list[QueuedClass], capacity: Capacity, run_s: dict[str, float]) -> None:
    shares = first_free(capacity, classes, run_s)
    known = {each.class_id: each for each in classes}
    taken = {share.class_id: share.tasks for share in shares}
    assert len(taken) == len(shares)
    assert all(0 < tasks <= known[class_id].queued for class_id, tasks in taken.items())
    total = sum(taken.values())
    assert total <= max(0, capacity.max_tasks)
    for class_id in taken:  # only where there are workers of its shape, and none that its tasks outlive
        longest_s = capacity.offers[known[class_id].shape].longest_s
        assert longest_s is None or longest_s >= run_s.get(known[class_id].function_id, 0.0)
    for shape, offer in capacity.offers.items():
        here = {class_id: tasks for class_id, tasks in taken.items() if known[class_id].shape == shape}
        # Long and unknown ones only where a worker is idle.
        at_once = sum(n for c, n in here.items() if run_s.get(known[c].function_id, LOOKAHEAD_S) >= LOOKAHEAD_S)
        assert at_once <= offer.idle_workers
        # Work-conserving: no worker stays idle while there is something for it.
        available = sum(each.queued for each in classes if each.shape == shape and capacity.takes(each, run_s))
        assert sum(here.values()) >= min(offer.idle_workers, available) or total >= capacity.max_tasks
    # Higher priority first; whoever waits longer first within it.
    order = [(-known[share.class_id].priority, known[share.class_id].head) for share in shares]
    assert order == sorted(order)


@given(classes, capacities, run_times)
def test_a_class_is_passed_over_only_for_want_of_room(
    classes: list[QueuedClass], capacity: Capacity, run_s: dict[str, float]
) -> None:
    shares = first_free(capacity, classes, run_s)
    taken = {share.class_id: share.tasks for share in shares}
    for shape in capacity.offers:
        here = [each for each in classes if each.shape == shape and capacity.takes(each, run_s)]
        before = [(-each.priority, each.head) for each in here if taken.get(each.class_id, 0) < each.queued]
        if not before:
            continue
        # What comes after the first class that is not emptied gets no idle worker that one could have used.
        after = sum(
            taken.get(each.class_id, 0)
            for each in here
            if (-each.priority, each.head) > min(before) and run_s.get(each.function_id, LOOKAHEAD_S) >= LOOKAHEAD_S
        )
        assert after == 0
