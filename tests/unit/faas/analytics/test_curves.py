"""Curves and stages: what is below them is what went into them, whatever the history."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faas import analytics
from faas.analytics import AttemptRecord, BlockRecord, History, Steps, TaskRecord
from tests.unit.faas.analytics.histories import UNTIL, histories, moments

in_any_time = settings(deadline=None, max_examples=60)


@in_any_time
@given(histories())
def test_a_backlog_integrates_to_the_time_waited(history: History) -> None:
    waited = math.fsum(end - begin for task in history.tasks for begin, end in task.waits(history.until))
    steps = analytics.backlog(history)
    assert steps.integral() == pytest.approx(waited, abs=1e-6)
    assert min(steps.values, default=0.0) >= 0
    assert not steps.values or steps.values[-1] == 0


@in_any_time
@given(histories())
def test_a_task_waits_until_it_is_taken(history: History) -> None:
    steps = analytics.backlog(history)
    for task in history.tasks:
        spans = list(task.waits(history.until))
        assert all(begin < end for begin, end in spans)
        assert all(steps.at((begin + end) / 2) >= 1 for begin, end in spans if begin < (begin + end) / 2 < end)
        if not task.attempts:
            end = history.until if task.ended_at is None else task.ended_at
            assert spans == ([(task.submitted_at, end)] if end > task.submitted_at else [])


@in_any_time
@given(histories(), st.floats(5, 500))
def test_throughput_counts_every_end_once(history: History, bin_s: float) -> None:
    rows = analytics.throughput(history, bin_s)
    ended = [task for task in history.tasks if task.ended_at is not None]
    assert sum(row["tasks"] for row in rows) == len(ended)
    assert sum(row["succeeded"] for row in rows) == sum(task.state == "succeeded" for task in ended)
    assert math.fsum(row["per_s"] * bin_s for row in rows) == pytest.approx(len(ended))


@in_any_time
@given(histories())
def test_endpoints_add_up_to_the_whole(history: History) -> None:
    whole = analytics.busy_workers(history).integral(history.begin, history.end)
    rows = analytics.utilization(history)
    assert math.fsum(row["busy_worker_s"] for row in rows) == pytest.approx(whole, abs=1e-6)


@in_any_time
@given(histories(), st.floats(5, 500))
def test_bins_of_utilization_add_up_to_the_whole(history: History, bin_s: float) -> None:
    for row in analytics.utilization(history):
        bins = analytics.utilization_over_time(history, row["endpoint"], bin_s)
        busy_s = math.fsum(each["busy_workers"] * (each["end"] - each["begin"]) for each in bins)
        worker_s = math.fsum(each["workers"] * (each["end"] - each["begin"]) for each in bins)
        assert busy_s == pytest.approx(row["busy_worker_s"], abs=1e-6)
        assert worker_s == pytest.approx(row["worker_s"], abs=1e-6)


@in_any_time
@given(histories())
def test_stages_add_up_to_the_total(history: History) -> None:
    for task in history.tasks:
        stages = analytics.stages_of(task)
        parts = [stages[name] for name in ("wait", "start", "run", "return")]
        if stages["return"] is not None:
            assert sum(part for part in parts if part is not None) == pytest.approx(stages["total"], abs=1e-6)


@in_any_time
@given(histories())
def test_a_table_of_stages_holds_every_success_once(history: History) -> None:
    succeeded = sum(task.state == "succeeded" for task in history.tasks)
    for by in (("owner", "endpoint"), ("function",), ()):
        rows = analytics.stage_table(history, by)
        assert sum(row["tasks"] for row in rows) == succeeded
        for row in rows:
            assert row["total_median_s"] <= row["total_p95_s"]


@in_any_time
@given(st.lists(moments, min_size=1), st.floats(0, 1))
def test_a_quantile_lies_between_its_neighbours(values: list[float], fraction: float) -> None:
    found = analytics.quantile(values, fraction)
    assert min(values) <= found <= max(values)
    assert analytics.quantile(values, 0) == min(values)
    assert analytics.quantile(values, 1) == max(values)


def test_a_run_is_busy_by_its_run_time_not_until_its_report() -> None:
    attempt = AttemptRecord(1, "theta", "succeeded", 10.0, 12.0, 30.0, 5.0)
    assert attempt.busy(UNTIL) == (12.0, 17.0)
    assert AttemptRecord(1, "theta", "started", 10.0, 12.0).busy(20.0) == (12.0, 20.0)
    assert AttemptRecord(1, "theta", "leased", 10.0).busy(20.0) is None


def test_two_routes_in_a_table() -> None:
    def task(owner: str, endpoint: str, run_s: float) -> TaskRecord:
        attempt = AttemptRecord(1, endpoint, "succeeded", 11.0, 11.5, 12.0 + run_s, run_s)
        return TaskRecord("t", "g", owner, "xpcs", "succeeded", 10.0, 12.0 + run_s, {}, (attempt,))

    tasks = [task("APS", "theta", 100.0), task("APS", "theta", 104.0), task("ALS", "cori", 50.0)]
    rows = analytics.stage_table(History(tasks, [], 200.0))
    assert [(row["owner"], row["endpoint"], row["tasks"]) for row in rows] == [("ALS", "cori", 1), ("APS", "theta", 2)]
    assert (rows[1]["run_median_s"], rows[1]["wait_median_s"], rows[1]["start_median_s"]) == (102.0, 1.0, 0.5)
    assert rows[1]["return_median_s"] == pytest.approx(0.5)
    with pytest.raises(ValueError, match="no route by 'colour'"):
        analytics.stage_table(History(tasks), by=("colour",))


def test_utilization_is_busy_of_registered() -> None:
    attempt = AttemptRecord(1, "theta", "succeeded", 0.0, 10.0, 16.0, 5.0, "b")
    task = TaskRecord("t", "g", "APS", "xpcs", "succeeded", 0.0, 20.0, {}, (attempt,))
    block = BlockRecord("theta", "b", 1, "running", 1, 2, 0.0, 5.0, 10.0)
    [row] = analytics.utilization(History([task], [block], 100.0))
    assert (row["busy_worker_s"], row["worker_s"], row["utilization"], row["blocks"]) == (5.0, 20.0, 0.25, 1)


def test_what_endpoints_did_since_a_moment() -> None:
    def task(end: float, state: str = "succeeded") -> TaskRecord:
        attempt = AttemptRecord(1, "theta", state, end - 3, end - 2, end, 2.0)
        return TaskRecord("t", "g", "APS", "xpcs", state, end - 4, end, {}, (attempt,))

    block = BlockRecord("cori", "b", 1, "running", 1, 2, 900.0, 950.0, 960.0)
    history = History([task(100.0), task(950.0), task(970.0, "failed")], [block], 1000.0)
    cori, theta = analytics.endpoint_table(history, since=940.0)
    assert (theta["tasks"], theta["failed"], theta["per_min"]) == (2, 1, 2.0)
    assert (theta["run_median_s"], theta["wait_median_s"], theta["utilization"]) == (2.0, 1.0, None)
    assert (cori["tasks"], cori["block_wait_median_s"], cori["utilization"]) == (0, 60.0, 0.0)


@pytest.mark.parametrize("bin_s", [0.0, -1.0, math.inf, math.nan])
def test_a_bin_has_a_length(bin_s: float) -> None:
    with pytest.raises(ValueError, match="bin_s"):
        analytics.throughput(History(), bin_s)


def test_steps_between_times() -> None:
    steps = Steps.of([(0.0, 10.0, 2.0), (5.0, 10.0, 1.0)])
    assert (steps.at(-1), steps.at(0), steps.at(7), steps.at(10), steps.peak()) == (0, 2, 3, 0, 3)
    assert steps.integral(4, 6) == 5
    assert steps.integral(6, 7) == 3
    assert (steps.integral(-9, 0), steps.integral(10, 99), steps.integral(-9, 99)) == (0, 0, 25)
    assert Steps([], []).integral() == 0
