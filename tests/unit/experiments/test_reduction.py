"""From records to figures: on histories whose figures can be told by hand."""

from __future__ import annotations

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faas.models import Block
from tests.experiments.reduction import (
    STAGES,
    Run,
    busy_share,
    node_seconds,
    queue_waits_s,
    running,
    stages_by_route,
    throughput_per_s,
    turnaround,
)


def run(began: float, ended: float, source: str = "APS", site: str = "theta", function: str = "xpcs") -> Run:
    return Run(source, function, site, "1", began - 3, began - 1, began, ended, ended + 0.5)


def block(requested: float, started: float | None, ready: float | None, ended: float | None, nodes: int = 1) -> Block:
    return Block(
        block_id="b",
        state="running",
        job_id="1",
        nodes=nodes,
        requested_at=requested,
        started_at=started,
        ready_at=ready,
        ended_at=ended,
    )


INTERVALS = st.lists(st.tuples(st.floats(0, 50), st.floats(0.1, 20)), min_size=1, max_size=20)


def test_stages_add_up_to_the_whole_way() -> None:
    stages = dict(zip(STAGES, run(10, 14).stages_s, strict=True))
    assert stages == {
        "submit to leased": 2,
        "leased to started": 1,
        "run": 4,
        "ended to seen": 0.5,
        "submit to seen": 7.5,
    }


def test_routes_and_functions_are_told_apart() -> None:
    runs = [run(10, 14), run(20, 22), run(10, 11, source="ALS"), run(10, 19, function="diagonalize")]
    routes = stages_by_route(runs, "xpcs")
    assert {route: found["count"] for route, found in routes.items()} == {"ALS to theta": 1, "APS to theta": 2}
    assert routes["APS to theta"]["run"]["median"] == 3
    assert stages_by_route(runs)["APS to theta"]["count"] == 3


def test_turnaround_is_from_submission_to_the_result() -> None:
    runs = [run(10, 11 + number) for number in range(21)]
    assert turnaround(runs) == {"median": pytest.approx(14.5), "p95": pytest.approx(23.5)}


@given(intervals=INTERVALS)
def test_throughput_counts_each_dataset_once(intervals: list[tuple[float, float]]) -> None:
    runs = [run(began, began + length) for began, length in intervals]
    whole = throughput_per_s(runs, 0, 100) * 100
    assert whole == pytest.approx(len(runs))
    assert throughput_per_s(runs, 0, 35) * 35 + throughput_per_s(runs, 35, 100) * 65 == pytest.approx(whole)


@given(intervals=INTERVALS)
def test_running_is_what_runs(intervals: list[tuple[float, float]]) -> None:
    runs = [run(began, began + length) for began, length in intervals]
    moments = numpy.arange(0, 80, 0.7)
    by_hand = [sum(each.started_at <= moment < each.ended_at for each in runs) for moment in moments]
    assert running(runs, moments).tolist() == by_hand


def test_workers_without_work_are_seen() -> None:
    assert busy_share([run(0, 10)], [block(-5, -2, 0, None)], workers=2, until=10) == pytest.approx(0.5)


def test_blocks_that_never_came_tell_no_wait_and_cost_nothing() -> None:
    blocks = [block(0, 4, 6, 20), block(1, None, None, 9), block(2, 9, None, 12, nodes=2)]
    assert queue_waits_s(blocks) == ([4], [2])
    assert node_seconds(blocks, until=15) == (15 - 4) + 2 * (12 - 9)
