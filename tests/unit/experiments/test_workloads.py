"""The experiment's functions give the known answers, and a wrong one is noticed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.experiments.workloads import FUNCTIONS, Dataset

WRONG: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "xpcs": lambda answer: {"diffusion": answer["diffusion"] * 1.3},
    "diagonalize": lambda answer: {"eigenvalues": [answer["eigenvalues"][0] + 1e-6, *answer["eigenvalues"][1:]]},
}


def as_they_are(frames: Any) -> Any:
    return frames


@pytest.mark.parametrize("deliver", [None, as_they_are])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_answers_are_the_known_ones(function: str, deliver: Callable[[Any], Any] | None) -> None:
    for seed in (1, 2):
        dataset = Dataset(function, seed)
        answer = FUNCTIONS[function](*dataset.arguments({}, deliver))
        assert dataset.complaint(answer) == ""
        assert dataset.complaint(WRONG[function](answer)) != ""


def test_a_task_lasts_as_long_as_its_site_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    monkeypatch.setenv("SLURM_CLUSTER_NAME", "theta")
    dataset = Dataset("diagonalize", 3)
    answer = FUNCTIONS["diagonalize"](*dataset.arguments({"theta": 300.0, "cori": 1.0}))
    assert slept == [pytest.approx(300.0 - answer["needed_s"])]
    assert answer["site"] == "theta"


def test_frames_made_at_the_site_are_those_passed() -> None:
    dataset = Dataset("xpcs", 4)
    here, there = (FUNCTIONS["xpcs"](*dataset.arguments({}, deliver)) for deliver in (as_they_are, None))
    assert here["diffusion"] == there["diffusion"]
