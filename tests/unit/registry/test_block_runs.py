"""What reports on a block change: each run of its job is counted once, whatever order reports come in."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faas.models import Block
from registry.block_runs import Run, revise

NOW = 1_000.0


def told(state: str = "running", **fields: Any) -> Block:
    """A report on a block of two nodes that was asked for at 100."""
    given = {"block_id": "b", "state": state, "requested_at": 100.0, "nodes": 2, "walltime_s": 600.0, **fields}
    return msgspec.convert(given, Block)


class Told:
    """What is known of a block after the reports so far."""

    def __init__(self) -> None:
        self.runs: dict[int, Run] = {}
        self.writes = 0

    def __call__(self, block: Block, now: float = NOW, session: str = "s1") -> Run:
        for run in revise(self.last, block, "e", session, now):
            self.runs[run.run] = run
            self.writes += 1
        assert self.last is not None
        return self.last

    @property
    def last(self) -> Run | None:
        return self.runs[max(self.runs)] if self.runs else None

    @property
    def seconds(self) -> float:
        """How long the job ran, all runs together."""
        return sum(run.ended_at - run.started_at for run in self.runs.values() if run.ended_at and run.started_at)


@pytest.fixture
def tell() -> Told:
    return Told()


def test_a_report_that_says_nothing_new_writes_nothing(tell: Told) -> None:
    block = told(started_at=200.0, workers=4, idle_workers=4)
    tell(block)
    tell(block, NOW + 4)
    assert tell.writes == 1


def test_a_reported_end_is_final(tell: Told) -> None:
    tell(told(started_at=200.0))
    tell(told("ended", started_at=200.0, ended_at=500.0))
    run = tell(told("running", started_at=200.0))  # an older heartbeat
    assert (run.state, run.ended_at, tell.seconds) == ("ended", 500.0, 300.0)


def test_an_end_may_be_told_more_exactly(tell: Told) -> None:
    tell(told("ended", started_at=200.0, ended_at=500.0))
    tell(told("ended", started_at=201.0, ended_at=490.0, message="TIMEOUT"))
    assert tell.seconds == 289.0
    assert tell.last is not None and tell.last.message == "TIMEOUT"


def test_what_was_asked_for_stays(tell: Told) -> None:
    tell(told(started_at=200.0, shape="big"))
    run = tell(told("ended", nodes=1, walltime_s=0.0, requested_at=0.0, shape="default", ended_at=300.0), session="s2")
    assert (run.nodes, run.walltime_s, run.requested_at, run.shape) == (2, 600.0, 100.0, "big")
    assert (run.started_at, run.session_id) == (200.0, "s2")


def test_an_end_without_a_time_is_now(tell: Told) -> None:
    tell(told(started_at=200.0))
    assert tell(told("failed"), 450.0).ended_at == 450.0
    assert tell(told("failed"), 460.0).ended_at == 450.0


def test_an_end_before_the_start_costs_nothing(tell: Told) -> None:
    tell(told("ended", started_at=200.0, ended_at=100.0))
    assert tell.seconds == 0


def test_a_requeued_job_has_two_runs(tell: Told) -> None:
    tell(told(started_at=200.0, ready_at=210.0, workers=8), 220.0)
    again = tell(told("queued", message="(BeginTime)"), 400.0)
    assert (again.run, again.started_at, again.ready_at, again.most_workers) == (2, None, None, 0)
    assert again.message == "(BeginTime)"
    tell(told(started_at=450.0), 460.0)
    tell(told("ended", ended_at=500.0))
    assert tell.seconds == 200 + 50
    assert "queue" in tell.runs[1].message


def test_a_requeued_job_may_start_before_anybody_looks(tell: Told) -> None:
    tell(told(started_at=200.0), 220.0)
    tell(told(started_at=300.0), 310.0)
    tell(told("ended", started_at=300.0, ended_at=500.0))
    assert sorted(tell.runs) == [1, 2]
    assert tell.seconds == 300


def test_a_start_told_more_exactly_is_the_same_start(tell: Told) -> None:
    tell(told(started_at=203.0), 205.0)
    for started_at in (200.0, 208.0):
        assert tell(told(started_at=started_at), 210.0).started_at == started_at
    assert list(tell.runs) == [1]


def test_an_older_heartbeat_costs_nothing_twice(tell: Told) -> None:
    tell(told(started_at=200.0), 220.0)
    tell(told("queued"), 221.0)  # was sent before the job started
    tell(told(started_at=200.0), 224.0)
    tell(told("ended", started_at=200.0, ended_at=500.0))
    assert tell.seconds == 300


def test_idle_time_counts_from_when_all_workers_were_idle(tell: Told) -> None:
    assert tell(told(workers=4, idle_workers=3), 300.0).idle_since is None
    assert tell(told(workers=4, idle_workers=4), 310.0).idle_since == 310.0
    assert tell(told(workers=4, idle_workers=4), 320.0).idle_since == 310.0
    assert tell(told(workers=4, idle_workers=0), 330.0).idle_since is None
    assert tell(told(workers=0, idle_workers=0), 340.0).idle_since is None
    ended = tell(told("ended", workers=4, idle_workers=4), 350.0)
    assert (ended.workers, ended.idle_workers, ended.idle_since, ended.most_workers) == (0, 0, None, 4)


def test_a_presumed_end_gives_way_to_any_report(tell: Told) -> None:
    for state, ended_at in (("running", None), ("ended", 500.0)):
        presumed = Run(
            "e", "b", 1, "s1", "default", "7", "ended", 2, 600.0, 100.0, 200.0, ended_at=800.0, presumed=True
        )
        [run] = revise(presumed, told(state, ended_at=ended_at), "e", "s2", NOW)
        assert (run.presumed, run.ended_at, run.session_id) == (False, ended_at, "s2")


REPORTS = st.lists(
    st.builds(
        told,
        st.sampled_from(["requested", "queued", "running", "draining", "ended", "failed"]),
        started_at=st.none() | st.floats(100, 2_000),
        ready_at=st.none() | st.floats(100, 2_000),
        ended_at=st.none() | st.floats(100, 2_000),
        workers=st.integers(0, 8),
        idle_workers=st.integers(0, 8),
    ),
    min_size=1,
    max_size=8,
)


@given(reports=REPORTS)
def test_whatever_is_told_no_moment_is_counted_twice(reports: list[Block]) -> None:
    tell = Told()
    for seconds, report in enumerate(reports):
        tell(report, NOW + seconds)
    runs = [tell.runs[number] for number in sorted(tell.runs)]
    assert [run.run for run in runs] == list(range(1, len(runs) + 1))
    for run in runs:
        assert (run.ended_at is not None) == (run.state in ("ended", "failed"))
        assert run.ended_at is None or run.started_at is None or run.ended_at >= run.started_at
        assert run.most_workers >= run.workers >= 0
    for earlier, later in pairwise(runs):
        assert earlier.ended_at is not None
        assert later.started_at is None or later.started_at >= earlier.ended_at
    over = [report for report in reports if report.state in ("ended", "failed")]
    assert bool(over) == (runs[-1].ended_at is not None)
