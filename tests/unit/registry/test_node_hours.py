"""The arithmetic of cost: reservations, settlement, and shares that add up."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.block_runs import Run
from registry.node_hours import Amount, Use, Worked, attribute, node_seconds, share_out

NOW = 10_000.0
TIME = st.floats(0, NOW)


def run(
    started_at: float | None = None,
    ended_at: float | None = None,
    *,
    name: str = "b",
    number: int = 1,
    nodes: int = 2,
    walltime_s: float = 600.0,
    ready_at: float | None = None,
    most_workers: int = 0,
) -> Run:
    return Run(
        endpoint_id="e",
        block_id=name,
        run=number,
        session_id="s",
        shape="default",
        job_id="1",
        state="running" if ended_at is None else "ended",
        nodes=nodes,
        walltime_s=walltime_s,
        requested_at=0.0,
        started_at=started_at,
        ready_at=ready_at,
        ended_at=ended_at,
        most_workers=most_workers,
    )


def cost(of: Run, since: float = 0.0) -> tuple[float, float]:
    amount = node_seconds(of, since, NOW)
    return amount.settled_s, amount.reserved_s


def test_submitted_is_reserved_in_full() -> None:
    assert cost(run()) == cost(run(NOW - 100)) == (0, 1_200)


def test_ended_is_what_it_ran() -> None:
    assert cost(run(9_000, 9_100)) == (200, 0)
    assert cost(run(None, 9_100)) == (0, 0)


def test_over_its_walltime_it_costs_what_it_has_run() -> None:
    assert cost(run(NOW - 700)) == (0, 1_400)
    assert cost(run(NOW - 700, walltime_s=0.0)) == (0, 1_400)


def test_what_was_used_before_does_not_count() -> None:
    assert cost(run(9_000, 9_100), since=9_050) == (100, 0)
    assert cost(run(9_000, 9_100), since=9_200) == (0, 0)
    assert cost(run(NOW - 100), since=NOW - 40) == (0, 1_080)
    assert cost(run(), since=NOW - 40) == (0, 1_200)


def test_workers_count_from_the_first_one_on() -> None:
    assert node_seconds(run(9_000, 9_100, ready_at=9_010, most_workers=8), 0, NOW).registered_s == 720
    assert node_seconds(run(9_900, ready_at=9_910, most_workers=8), 9_950, NOW).registered_s == 400


@given(started_at=TIME, length_s=TIME, cuts=st.lists(TIME, max_size=3))
def test_days_add_up_to_the_whole(started_at: float, length_s: float, cuts: list[float]) -> None:
    ended = run(started_at, started_at + length_s)
    edges = [0.0, *sorted(cuts), 2 * NOW]
    parts = [cost(ended, begin)[0] - cost(ended, end)[0] for begin, end in pairwise(edges)]
    assert all(part >= 0 for part in parts)
    assert math.isclose(sum(parts), cost(ended)[0], abs_tol=1e-6)


@given(started_at=TIME, ran_s=st.floats(0, 600), since=TIME)
def test_a_reservation_is_never_less_than_what_it_settles_at(started_at: float, ran_s: float, since: float) -> None:
    live = node_seconds(run(started_at), since, started_at + ran_s / 2)
    ended = node_seconds(run(started_at, started_at + ran_s), since, started_at + ran_s)
    assert live.reserved_s >= ended.settled_s - 1e-6


USES = st.dictionaries(
    st.builds(Use, st.just("e"), st.sampled_from("abc"), st.sampled_from("fg")), st.floats(0, 1e6), max_size=6
)


@given(worker_s=USES, settled_s=st.floats(0, 1e6), reserved_s=st.floats(0, 1e6))
def test_shares_add_up(worker_s: dict[Use, float], settled_s: float, reserved_s: float) -> None:
    shares = share_out(Amount(settled_s, reserved_s, registered_s=100.0), worker_s, Use("e"))
    assert math.isclose(sum(one.settled_s for one in shares.values()), settled_s, rel_tol=1e-9, abs_tol=1e-9)
    assert math.isclose(sum(one.reserved_s for one in shares.values()), reserved_s, rel_tol=1e-9, abs_tol=1e-9)
    assert math.isclose(sum(one.registered_s for one in shares.values()), 100.0, rel_tol=1e-9)


def test_idle_time_falls_to_those_who_used_the_block() -> None:
    shares = share_out(Amount(1_200), {Use("e", "ada", "f"): 30.0, Use("e", "bob", "f"): 10.0}, Use("e"))
    assert {use.owner_id: share.settled_s for use, share in shares.items()} == {"ada": 900, "bob": 300}


def test_what_nobody_used_is_nobodys() -> None:
    assert share_out(Amount(1_200), {}, Use("e")) == {Use("e"): Amount(1_200)}


# Who used which block

ADA, BOB = Use("e", "ada", "f"), Use("e", "bob", "f")


def test_work_counts_in_the_block_it_names() -> None:
    runs = [run(100, 200, name="b"), run(100, 200, name="c"), run(300, None, name="c", number=2)]
    worked = [Worked(ADA, "b", 150, 160, 10), Worked(BOB, "c", 190, 310, 60), Worked(ADA, "gone", 150, 160, 10)]
    assert attribute(worked, runs, NOW) == {
        ("e", "b", 1): {ADA: 10},
        ("e", "c", 1): {BOB: 5},
        ("e", "c", 2): {BOB: 5},
    }


def test_work_that_names_no_block_counts_in_each_there_was() -> None:
    runs = [run(100, 200, name="b"), run(150, None, name="c"), run(None, None, name="waiting")]
    worked = [
        Worked(ADA, "", 50, 90, 40),
        Worked(ADA, "", 140, 180, 40),
        Worked(Use("elsewhere", "ada", "f"), "", 140, 180, 40),
    ]
    assert attribute(worked, runs, NOW) == {("e", "b", 1): {ADA: 40}, ("e", "c", 1): {ADA: 30}}


RUNS = st.lists(st.tuples(st.integers(0, 50), st.none() | st.integers(0, 50)), max_size=5)
WORKED = st.lists(st.tuples(st.sampled_from([ADA, BOB]), st.integers(0, 100), st.integers(0, 50)), max_size=8)


@given(spans=RUNS, work=WORKED, named=st.booleans())
def test_every_overlap_is_found_whatever_the_order(
    spans: list[tuple[int, int | None]], work: list[tuple[Use, int, int]], named: bool
) -> None:
    names = "a" if named else "abcde"
    runs = [
        run(begin, None if length is None else begin + length, name=names[number % len(names)], number=number)
        for number, (begin, length) in enumerate(spans)
    ]
    worked = [Worked(use, "a" if named else "", begin, begin + length, length) for use, begin, length in work]
    expected: dict[tuple[str, str, int], dict[Use, float]] = {}
    for one in runs:
        for each in worked:
            end = 120.0 if one.ended_at is None else one.ended_at
            shared_s = min(end, each.end) - max(one.started_at or 0.0, each.begin)
            if shared_s > 0:
                uses = expected.setdefault(one.key, {})
                uses[each.use] = uses.get(each.use, 0.0) + shared_s
    found = attribute(worked, runs, now=120.0)
    assert found.keys() == expected.keys()
    for key, uses in expected.items():
        assert found[key] == {use: pytest.approx(seconds) for use, seconds in uses.items()}
