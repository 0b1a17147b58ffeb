"""Figures: drawn for any history, also an empty one; shown by notebooks; a missing matplotlib is named."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from faas import analytics
from faas.analytics import AttemptRecord, BlockRecord, History, TaskRecord


def ran(number: int, state: str = "succeeded") -> TaskRecord:
    start = 100.0 + number
    attempt = AttemptRecord(1, f"site{number % 2}", state, start + 1, start + 2, start + 5, 2.0)
    return TaskRecord(f"t{number}", "g", "APS", "xpcs", state, start, start + 5, {}, (attempt,))


WHOLE = History(
    [*map(ran, range(20)), ran(21, "failed")], [BlockRecord("site0", "b", 1, "running", 1, 4, 90.0, 95.0, 99.0)], 150.0
)
FIGURES: list[Callable[[History], Any]] = [
    analytics.figure_throughput,
    analytics.figure_backlog,
    analytics.figure_utilization,
    analytics.figure_stages,
    analytics.figure_timeline,
    analytics.figure_overview,
]


@pytest.mark.parametrize("draw", FIGURES, ids=lambda draw: draw.__name__)
def test_a_notebook_shows_every_figure(draw: Callable[[History], Any]) -> None:
    assert draw(WHOLE)._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize("draw", FIGURES[:-1], ids=lambda draw: draw.__name__)
def test_what_goes_on_and_what_is_empty_can_be_drawn(draw: Callable[[History], Any]) -> None:
    for history in (History(WHOLE.tasks, [], 110.0), History([], [], 5.0)):
        draw(history).draw_without_rendering()


def test_an_overview_has_all_four() -> None:
    titles = {axes.get_title() for axes in analytics.figure_overview(WHOLE).axes}
    assert titles == {"Throughput", "Backlog", "Utilization", "Latency by stage"}


def test_throughput_is_as_high_as_its_rows() -> None:
    [axes] = analytics.figure_throughput(WHOLE, 1.0).axes
    heights = axes.patches[0].get_data().values  # type: ignore[attr-defined]
    assert list(heights) == [row["per_s"] for row in analytics.throughput(WHOLE, 1.0)]


def test_a_missing_matplotlib_is_named() -> None:
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from faas import analytics, ConfigurationError\n"
        "try: analytics.figure_throughput(analytics.History())\n"
        "except ConfigurationError as error: print(error)\n"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert "pip install 'faas-federation[notebook]'" in told.stdout, told.stderr
