"""The pilot controller's judgement: examples of each rule, and what holds in any situation."""

from __future__ import annotations

from dataclasses import replace
from math import inf

from hypothesis import given
from hypothesis import strategies as st

from endpoints.pilots import (
    CALM_S,
    Backlog,
    Budget,
    Decision,
    Failures,
    Limits,
    PilotBlock,
    Verdict,
    blocks_wanted,
    decide,
    retry_pause_s,
)
from faas.models import BlockState

LIMITS = Limits(max_blocks=4, workers_per_block=2, node_hours_per_block=0.5, fresh_s=1740)
NOTHING = Backlog()
STATES: list[BlockState] = ["requested", "queued", "running", "draining"]
MUCH = Backlog(tasks=1000, seconds=1000.0)


def running(name: str = "b", *, busy: int = 0, idle_s: float = 0.0, fits_s: float = 1700.0) -> PilotBlock:
    return PilotBlock(name, "running", ready=True, busy=busy, idle_s=idle_s, running_s=60, fits_s=fits_s)


def queued(name: str = "q") -> PilotBlock:
    return PilotBlock(name, "queued")


def the(verdict: Verdict) -> Decision:
    (decision,) = verdict.decisions
    assert decision.why
    return decision


def test_nothing_waits_and_nothing_is_there() -> None:
    assert decide(NOTHING, [], LIMITS) == Verdict()


def test_unknown_run_times_get_one_block_and_no_more() -> None:
    waiting = Backlog(tasks=1000, seconds=None)
    assert the(decide(waiting, [], LIMITS)).count == 1
    assert decide(waiting, [running(busy=2)], LIMITS).decisions == ()
    assert decide(waiting, [queued()], LIMITS).decisions == ()


def test_tasks_that_are_still_running_after_a_while_tell_of_their_run_time() -> None:
    waiting = Backlog(tasks=6, seconds=None, busy_workers=2, at_least_s=60.0)
    assert the(decide(waiting, [running(busy=2)], LIMITS)).count == 3


def test_known_work_gets_all_its_blocks_at_once() -> None:
    assert the(decide(Backlog(tasks=100, seconds=100.0), [], LIMITS)).count == 2
    assert the(decide(MUCH, [], LIMITS)).count == 4
    assert the(decide(MUCH, [running(busy=2), queued()], LIMITS)).count == 2


def test_there_are_never_more_workers_than_tasks() -> None:
    assert the(decide(Backlog(tasks=3, seconds=3e6), [], LIMITS)).count == 2


def test_long_tasks_do_not_wait_for_workers_that_are_busy_with_long_tasks() -> None:
    waiting = Backlog(tasks=4, seconds=2400.0, busy_workers=2)
    assert the(decide(waiting, [running(busy=2)], LIMITS)).count == 2


def test_a_lost_block_is_replaced_at_once_while_there_is_work() -> None:
    assert the(decide(MUCH, [running(str(n), busy=2) for n in range(3)], LIMITS)).count == 1


def test_draining_blocks_count_as_there_but_not_as_capacity() -> None:
    draining = [PilotBlock(str(n), "draining", ready=True, busy=1) for n in range(3)]
    assert the(decide(MUCH, draining, LIMITS)).count == 1
    verdict = decide(MUCH, [*draining, PilotBlock("x", "draining", ready=True)], LIMITS)
    assert verdict.decisions == () and "max_blocks" in verdict.waiting


def test_idle_blocks_are_given_back_and_busy_ones_never() -> None:
    blocks = [running("busy", busy=1, idle_s=0), running("new", idle_s=5), running("old", idle_s=31)]
    decision = the(decide(NOTHING, blocks, LIMITS))
    assert (decision.action, decision.block_ids) == ("drain", ("old",))


def test_min_blocks_are_kept_and_started() -> None:
    limits = replace(LIMITS, min_blocks=1)
    assert the(decide(NOTHING, [], limits)).count == 1
    assert decide(NOTHING, [running(idle_s=1e6)], limits).decisions == ()


def test_queued_blocks_are_cancelled_when_the_backlog_has_gone_for_good() -> None:
    blocks = [queued("1"), queued("2"), queued("3")]
    assert decide(NOTHING, blocks, LIMITS, surplus_s=CALM_S / 2).decisions == ()
    assert the(decide(NOTHING, blocks, LIMITS, surplus_s=CALM_S)).block_ids == ("1", "2", "3")
    few = Backlog(tasks=2, seconds=2.0)
    assert the(decide(few, blocks, LIMITS, surplus_s=CALM_S)).block_ids == ("2", "3")


def test_an_idle_block_near_its_end_makes_way_for_one_that_fits_what_waits() -> None:
    waiting = Backlog(tasks=1, seconds=1200.0)
    fresh, old = running(idle_s=60, fits_s=1700), running("old", idle_s=60, fits_s=300)
    assert decide(waiting, [fresh], LIMITS).decisions == ()
    decision = the(decide(waiting, [old], LIMITS))
    assert (decision.action, decision.block_ids) == ("drain", ("old",))


def test_a_block_that_is_too_near_its_end_for_what_is_held_makes_way_at_once() -> None:
    waiting = Backlog(tasks=1, seconds=1200.0, longest_s=1200.0)
    assert the(decide(waiting, [running(fits_s=1100)], LIMITS)).action == "drain"
    assert decide(waiting, [running(fits_s=1100, busy=1)], LIMITS).decisions == ()
    assert decide(replace(waiting, longest_s=9000.0), [running(fits_s=1100)], LIMITS).decisions == ()


def test_a_block_whose_workers_never_come_is_given_up() -> None:
    mute = PilotBlock("mute", "running", running_s=301)
    verdict = decide(MUCH, [mute], replace(LIMITS, max_blocks=1))
    assert the(verdict).action == "give_up"


def test_failures_slow_requests_down_and_then_make_the_endpoint_broken() -> None:
    once = Failures(1, since_s=0.5, words="sbatch: error: Invalid account")
    assert decide(MUCH, [], LIMITS, failures=once).decisions == ()
    assert decide(MUCH, [], LIMITS, failures=once).problem == ""
    assert the(decide(MUCH, [], LIMITS, failures=replace(once, since_s=1.5))).count == 1
    broken = replace(once, in_a_row=3)
    assert "Invalid account" in decide(MUCH, [], LIMITS, failures=broken).problem
    assert decide(MUCH, [], LIMITS, failures=replace(broken, since_s=4.9)).decisions == ()
    probing = decide(MUCH, [], LIMITS, failures=replace(broken, since_s=5.1))
    assert the(probing).count == 1
    assert "Invalid account" in probing.problem
    assert decide(MUCH, [queued()], LIMITS, failures=replace(broken, since_s=60)).decisions == ()


def test_a_used_up_budget_is_a_problem_only_without_blocks() -> None:
    budget = Budget(0.4, "max_node_hours per_day is 10, and 9.6 are used")
    verdict = decide(MUCH, [], LIMITS, budget=budget)
    assert verdict.decisions == () and "per_day" in verdict.problem
    verdict = decide(MUCH, [running(busy=2)], LIMITS, budget=budget)
    assert verdict.problem == "" and "per_day" in verdict.waiting
    assert the(decide(MUCH, [], LIMITS, budget=replace(budget, left=1.2))).count == 2


# What holds in any situation

backlogs = st.builds(
    Backlog,
    tasks=st.integers(0, 5000),
    seconds=st.none() | st.floats(0, 1e6),
    busy_workers=st.integers(0, 50),
    longest_s=st.floats(0, 1e5),
    at_least_s=st.sampled_from([0.0, 40.0, 4000.0]),
)
some_limits = st.builds(
    Limits,
    min_blocks=st.integers(0, 2),
    max_blocks=st.integers(2, 8),
    workers_per_block=st.integers(1, 64),
    node_hours_per_block=st.floats(0.01, 10),
    fresh_s=st.floats(30, 1e5),
    max_idletime_s=st.floats(0, 100),
    horizon_s=st.floats(1, 300),
    max_failed_blocks=st.integers(1, 4),
)
some_failures = st.builds(Failures, in_a_row=st.integers(0, 12), since_s=st.floats(0, 1000), words=st.just("no"))


@st.composite
def some_blocks(draw: st.DrawFn) -> list[PilotBlock]:
    blocks = []
    for n in range(draw(st.integers(0, 8))):
        state: BlockState = draw(st.sampled_from(STATES))
        ready = state == "draining" or (state == "running" and draw(st.booleans()))
        busy = draw(st.integers(0, 4)) if ready else 0
        blocks.append(
            PilotBlock(
                str(n),
                state,
                ready=ready,
                busy=busy,
                idle_s=draw(st.floats(0, 200)) if ready and not busy else 0.0,
                running_s=draw(st.floats(0, 1000)) if state == "running" else 0.0,
                fits_s=draw(st.floats(0, 1e5) | st.just(inf)),
            )
        )
    return blocks


@given(backlogs, some_blocks(), some_limits, some_failures, st.floats(0, 100), st.floats(0, 20))
def test_limits_hold_and_busy_blocks_are_never_touched(
    backlog: Backlog,
    blocks: list[PilotBlock],
    limits: Limits,
    failures: Failures,
    left: float,
    surplus_s: float,
) -> None:
    verdict = decide(backlog, blocks, limits, failures=failures, budget=Budget(left, "used up"), surplus_s=surplus_s)
    requested = sum(decision.count for decision in verdict.decisions)
    known = {block.block_id: block for block in blocks}
    assert requested == 0 or len(blocks) + requested <= limits.max_blocks
    assert requested * limits.node_hours_per_block <= left + 1e-6
    touched = [block_id for decision in verdict.decisions for block_id in decision.block_ids]
    assert len(touched) == len(set(touched))
    for decision in verdict.decisions:
        assert decision.why
        for block_id in decision.block_ids:
            block = known[block_id]
            assert not block.busy
            assert block.state == ("queued" if decision.action == "cancel" else "running")
    assert not (requested and any(decision.action == "cancel" for decision in verdict.decisions))
    if failures.in_a_row:
        assert requested <= 1
        assert requested == 0 or failures.since_s >= retry_pause_s(failures, limits)
    if failures.in_a_row >= limits.max_failed_blocks and not any(block.accepting and block.ready for block in blocks):
        assert verdict.problem


@given(some_limits, st.integers(1, 5000), st.floats(0.001, 1e4), st.integers(1, 10), st.integers(0, 50))
def test_more_work_of_a_kind_never_wants_fewer_blocks(
    limits: Limits, tasks: int, run_s: float, times: int, busy: int
) -> None:
    some = blocks_wanted(Backlog(tasks, tasks * run_s, busy), limits)
    more = blocks_wanted(Backlog(tasks * times, tasks * times * run_s, busy), limits)
    assert more >= some
    assert limits.min_blocks <= some <= limits.max_blocks


@given(some_blocks(), some_limits)
def test_without_work_everything_that_is_idle_goes(blocks: list[PilotBlock], limits: Limits) -> None:
    limits = replace(limits, min_blocks=0)
    verdict = decide(NOTHING, blocks, limits, surplus_s=CALM_S)
    gone = {block_id for decision in verdict.decisions for block_id in decision.block_ids}
    for block in blocks:
        if block.state == "queued" or (
            block.state == "running" and block.ready and not block.busy and block.idle_s >= limits.max_idletime_s
        ):
            assert block.block_id in gone


@given(backlogs, some_blocks(), some_limits)
def test_what_was_done_is_not_undone_in_the_same_situation(
    backlog: Backlog, blocks: list[PilotBlock], limits: Limits
) -> None:
    """No oscillation: after a decision is carried out, the same backlog asks for nothing opposite."""
    first = decide(backlog, blocks, limits, surplus_s=CALM_S)
    requested = [
        PilotBlock(f"new{d}-{n}", "queued") for d, decision in enumerate(first.decisions) for n in range(decision.count)
    ]
    gone = {block_id for decision in first.decisions if decision.action != "drain" for block_id in decision.block_ids}
    draining = {
        block_id for decision in first.decisions if decision.action == "drain" for block_id in decision.block_ids
    }
    after = [
        replace(block, state="draining") if block.block_id in draining else block
        for block in blocks
        if block.block_id not in gone
    ] + requested
    second = decide(backlog, after, limits, surplus_s=CALM_S)
    if requested:
        assert not any(decision.action == "cancel" for decision in second.decisions)
    if any(decision.action == "cancel" for decision in first.decisions):
        assert not any(decision.action == "request" for decision in second.decisions)
