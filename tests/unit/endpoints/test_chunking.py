"""Chunks: short tasks of one identity together, everything else alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from endpoints.chunking import (
    CHUNK_BYTES,
    FORESEEN,
    OVERHEAD_S,
    Candidate,
    RunTimes,
    chunk_length,
    likely_free,
    share,
)
from endpoints.ledger import Held, Ledger
from faas.models import AttemptKey, LeasedTask

candidates = st.lists(
    st.builds(
        Candidate,
        run_s=st.one_of(st.none(), st.floats(0, 1)),
        alone=st.booleans(),
        size_bytes=st.integers(0, CHUNK_BYTES),
    ),
    max_size=50,
)


@given(candidates, st.integers(1, 20), st.floats(0.001, 0.5))
def test_a_chunk_is_never_empty_nor_too_large(queue: list[Candidate], at_most: int, target_s: float) -> None:
    length = chunk_length(queue, at_most=at_most, target_s=target_s)
    assert length <= min(at_most, len(queue))
    assert (length == 0) == (not queue)
    if length > 1:
        chunk = queue[:length]
        assert all(each.run_s is not None and each.run_s < target_s and not each.alone for each in chunk)
        assert sum((each.run_s or 0) + OVERHEAD_S for each in chunk) <= target_s
        assert sum(each.size_bytes for each in chunk) <= CHUNK_BYTES


@given(candidates, st.integers(1, 20), st.floats(0.001, 0.5))
def test_a_chunk_ends_only_for_a_reason(queue: list[Candidate], at_most: int, target_s: float) -> None:
    length = chunk_length(queue, at_most=at_most, target_s=target_s)
    if 0 < length < min(at_most, len(queue)):
        chunk, following = queue[:length], queue[length]
        full = sum((each.run_s or 0) + OVERHEAD_S for each in [*chunk, following]) > target_s
        heavy = sum(each.size_bytes for each in [*chunk, following]) > CHUNK_BYTES
        apart = any(each.run_s is None or each.alone or each.run_s >= target_s for each in [chunk[0], following])
        assert full or heavy or apart


def test_a_task_of_unknown_length_goes_alone() -> None:
    assert chunk_length([Candidate(None)] * 5, at_most=64, target_s=0.05) == 1


def test_a_lost_task_is_not_overtaken_by_those_behind_it() -> None:
    queue = [Candidate(0.001), Candidate(0.001), Candidate(0.001, alone=True), Candidate(0.001)]
    assert chunk_length(queue, at_most=64, target_s=0.05) == 2
    assert chunk_length(queue[2:], at_most=64, target_s=0.05) == 1


@given(st.integers(0, 10_000), st.integers(0, 64), st.integers(1, 64))
def test_shares_reach_every_idle_worker(waiting: int, idle: int, workers: int) -> None:
    size = share(waiting, idle, workers)
    takers = idle or workers
    assert size >= 1
    # A larger share would leave a worker without work that could have had some.
    assert size == 1 or (size - 1) * takers < waiting


def held(sequence: int, owner: str, function: str) -> Held:
    task = LeasedTask(
        attempt=AttemptKey(sequence, 1), task_id=str(sequence), owner_id=owner, owner=owner, function_id=function
    )
    return Held(task)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("fgh")), max_size=60), st.integers(1, 10))
def test_identities_never_share_a_chunk_and_each_is_served_in_order(tasks: list[tuple[str, str]], at_most: int) -> None:
    run_times = RunTimes()
    run_times.told({"f": 0.001, "g": 0.02})
    ledger = Ledger(run_times, unknown_s=1.0)
    for sequence, (owner, function) in enumerate(tasks):
        each = held(sequence, owner, function)
        ledger.add(each)
        ledger.enqueue(each, (owner, "default", ""))
    seen: dict[str, list[int]] = {}
    while chunk := ledger.waiting["default"].next_chunk(idle_workers=2, workers=2, target_s=0.05, at_most=at_most):
        assert len({each.task.owner_id for each in chunk}) == 1
        assert len(chunk) <= at_most
        seen.setdefault(chunk[0].task.owner_id, []).extend(each.task.attempt.sequence for each in chunk)
    assert len(ledger.waiting["default"]) == 0
    for owner, order in seen.items():
        assert order == [sequence for sequence, (whose, _) in enumerate(tasks) if whose == owner]
    assert sum(map(len, seen.values())) == len(tasks)


def test_identities_take_turns() -> None:
    run_times = RunTimes()
    ledger = Ledger(run_times, unknown_s=1.0)
    for sequence, owner in enumerate(["a", "a", "a", "b"]):
        ledger.enqueue(held(sequence, owner, "f"), (owner, "default", ""))
    owners = [
        ledger.waiting["default"].next_chunk(idle_workers=1, workers=1, target_s=0.05, at_most=64)[0].task.owner_id
        for _ in range(4)
    ]
    assert owners == ["a", "b", "a", "a"]


def test_withdrawn_tasks_do_not_count_as_waiting() -> None:
    ledger = Ledger(RunTimes(), unknown_s=2.0)
    for sequence in range(4):
        ledger.enqueue(held(sequence, "a", "f"), ("a", "default", ""))
    withdrawn = ledger.withdraw(lambda each: each.task.attempt.sequence < 3)
    assert len(withdrawn) == 3
    assert len(ledger.waiting["default"]) == 1
    assert ledger.waiting["default"].seconds == 2.0


def test_run_times_rise_at_once_and_fall_slowly() -> None:
    run_times = RunTimes()
    assert run_times.get("f") is None
    run_times.told({"f": 5.0})
    run_times.measured("f", 0.1)
    assert run_times.get("f") == 0.1  # its own first measurement replaces what it was told
    run_times.told({"f": 5.0})
    assert run_times.get("f") == 0.1
    run_times.measured("f", 1.0)
    assert run_times.get("f") == 1.0
    run_times.measured("f", 0.0)
    assert 0.5 < (run_times.get("f") or 0) < 1.0


@given(st.floats(0, 100), st.floats(0, 1_000), st.floats(0.01, 10))
def test_a_worker_is_likelier_to_be_free_the_longer_it_runs_until_nothing_can_be_told(
    run_s: float, running_s: float, within_s: float
) -> None:
    likely = likely_free(run_s, running_s, within_s=within_s)
    assert 0 <= likely <= 1
    if running_s >= 2 * max(run_s, within_s) or run_s > FORESEEN * within_s:
        assert likely == 0
    else:
        assert likely >= likely_free(run_s, running_s / 2, within_s=within_s) > 0
        assert (likely == 1) == (run_s - running_s <= within_s)


@given(st.floats(0, 1e6), st.floats(0.01, 10))
def test_of_unknown_run_times_nothing_is_foreseen(running_s: float, within_s: float) -> None:
    assert likely_free(None, running_s, within_s=within_s) == 0
