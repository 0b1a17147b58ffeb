"""Jobs side by side: results in order, an error ends the rest, nothing goes on afterwards."""

from __future__ import annotations

import threading

import pytest

from faas.side_by_side import Check, SideBySide


def test_results_come_in_order() -> None:
    second_done = threading.Event()

    def first(check: Check) -> int:
        assert second_done.wait(60)
        return 1

    def second(check: Check) -> int:
        second_done.set()
        return 2

    with SideBySide([first, second], 2) as going:
        assert list(going) == [1, 2]


def test_an_error_is_raised_and_ends_the_others() -> None:
    begun: list[int] = []

    def wrong(check: Check) -> None:
        raise KeyError("wrong")

    def later(check: Check) -> None:
        begun.append(1)

    with pytest.raises(KeyError, match="wrong"), SideBySide([wrong, *[later] * 50], 1) as going:
        list(going)
    assert begun == []


def test_what_runs_is_told_to_give_up_when_another_failed() -> None:
    running = threading.Event()

    def patient(check: Check) -> None:
        running.set()
        while True:
            check()

    def wrong(check: Check) -> None:
        assert running.wait(60)
        raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"), SideBySide([patient, wrong], 2) as going:
        list(going)


def test_leaving_waits_for_what_runs() -> None:
    started, ended = threading.Event(), threading.Event()

    def job(check: Check) -> None:
        started.set()
        try:
            while True:
                check()
        finally:
            ended.set()

    with SideBySide([job], 1):
        assert started.wait(60)
    assert ended.is_set()
