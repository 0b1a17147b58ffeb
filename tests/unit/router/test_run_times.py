"""Measured run times: a mean that follows, and ignores what cannot be."""

from __future__ import annotations

import pytest

from router.run_times import RunTimes


def test_the_first_measurement_counts_whole() -> None:
    times = RunTimes()
    times.learn({"f": 2.0})
    assert times.seconds == {"f": 2.0}


def test_later_ones_move_the_mean_towards_them() -> None:
    times = RunTimes()
    times.learn({"f": 1.0})
    times.learn({"f": 2.0})
    assert 1.0 < times.seconds["f"] < 2.0
    for _ in range(100):
        times.learn({"f": 5.0})
    assert times.seconds["f"] == pytest.approx(5.0)


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf"), float("-inf")])
def test_impossible_ones_are_ignored(seconds: float) -> None:
    times = RunTimes()
    times.learn({"f": 1.0})
    times.learn({"f": seconds, "g": seconds})
    assert times.seconds == {"f": 1.0}


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.run_times._MAX_FUNCTIONS", 3)
    times = RunTimes()
    for number in range(10):
        times.learn({f"f{number}": 1.0})
    assert list(times.seconds) == ["f7", "f8", "f9"]
