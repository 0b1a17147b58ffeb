"""What an endpoint gets that asks for work: rules that hold for any backlog."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from faas.models import Offer, RunPolicy
from registry.endpoints import Site
from registry.leases import QueuedClass, Share
from router.policies import LOOKAHEAD_S, POLICIES, Capacity, FirstFree

SITE = Site("endpoint", "beamline", "ada", "ada", RunPolicy())
SHORT_S, LONG_S = 0.001, 60.0


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
    return FirstFree().choose(SITE, Capacity({"default": offer}, max_tasks), classes, run_s or {})


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
    ),
    max_size=8,
    unique_by=lambda waiting: waiting.class_id,
)
capacities = st.builds(
    lambda busy, idle, held_s, max_tasks: Capacity(busy + idle, idle, held_s, max_tasks),
    busy=st.integers(0, 64),
    idle=st.integers(0, 64),
    held_s=st.floats(0, 100),
    max_tasks=st.integers(0, 3_000),
)
run_times = st.fixed_dictionaries(
    {}, optional={"short": st.floats(0, 0.01), "medium": st.floats(0.01, 0.4), "long": st.floats(0.5, 1e6)}
)


@given(classes, capacities, run_times)
def test_rules_for_any_backlog(classes: list[QueuedClass], capacity: Capacity, run_s: dict[str, float]) -> None:
    shares = FirstFree().choose(SITE, capacity, classes, run_s)
    known = {each.class_id: each for each in classes}
    taken = {share.class_id: share.tasks for share in shares}
    assert len(taken) == len(shares)
    assert all(0 < tasks <= known[class_id].queued for class_id, tasks in taken.items())
    total = sum(taken.values())
    assert total <= max(0, capacity.max_tasks)
    # Long and unknown ones only where a worker is idle.
    at_once = sum(n for c, n in taken.items() if run_s.get(known[c].function_id, LOOKAHEAD_S) >= LOOKAHEAD_S)
    assert at_once <= capacity.idle_workers
    # Work-conserving: no worker stays idle while there is something for it.
    available = sum(each.queued for each in classes)
    assert total >= min(capacity.idle_workers, available, capacity.max_tasks)
    # Higher priority first; whoever waits longer first within it.
    order = [(-known[share.class_id].priority, known[share.class_id].head) for share in shares]
    assert order == sorted(order)


@given(classes, capacities, run_times)
def test_a_class_is_passed_over_only_for_want_of_room(
    classes: list[QueuedClass], capacity: Capacity, run_s: dict[str, float]
) -> None:
    shares = FirstFree().choose(SITE, capacity, classes, run_s)
    taken = {share.class_id: share.tasks for share in shares}
    before = [(-each.priority, each.head) for each in classes if taken.get(each.class_id, 0) < each.queued]
    if not before:
        return
    # What comes after the first class that is not emptied gets no idle worker that one could have used.
    after = sum(
        taken.get(each.class_id, 0)
        for each in classes
        if (-each.priority, each.head) > min(before) and run_s.get(each.function_id, LOOKAHEAD_S) >= LOOKAHEAD_S
    )
    assert after == 0
