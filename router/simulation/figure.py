"""A simulation as a picture: what was done when, and what ran where."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .comparison import Comparison

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .world import History

_POINTS = 400


def draw(comparison: Comparison, path: Path) -> None:
    """Write a figure of the first seed: tasks done by policy, and busy workers by site for the last policy named.

    Args:
        comparison: what to show.
        path: the file; its ending says the format, such as ``.png`` or ``.svg``.

    Raises:
        ImportError: Matplotlib is not installed.
        ValueError: Matplotlib knows no such format.
        OSError: the file cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 7), layout="constrained")
    done, busy = figure.subplots(2, 1, sharex=True)
    for name, history in comparison.first.items():
        ends = np.sort([task.ended_at for task in history.tasks if task.state == "succeeded"])
        done.step(ends, np.arange(1, len(ends) + 1), where="post", label=name)
    bound_s = next(iter(comparison.measures.values())).bound_s
    done.axvline(bound_s, color="black", linestyle=":", label="bound (mean)")
    done.set_ylabel("tasks done")
    done.set_title(comparison.scenario)
    done.legend()
    name, history = list(comparison.first.items())[-1]
    _busy(busy, history)
    busy.set_ylabel(f"busy workers ({name})")
    busy.set_xlabel("seconds")
    figure.savefig(path, dpi=150)


def _busy(axes: Axes, history: History) -> None:
    tasks = [task for task in history.tasks if task.state == "succeeded"]
    sites = sorted({task.site for task in tasks})
    shown = sites if len(sites) <= 8 else ["all sites"]
    times = np.linspace(0, max(task.ended_at for task in tasks), _POINTS)
    for site in shown:
        mine = [task for task in tasks if task.site == site or len(shown) < len(sites)]
        starts = np.sort([task.started_at for task in mine])
        ends = np.sort([task.ended_at for task in mine])
        axes.plot(times, np.searchsorted(starts, times, "right") - np.searchsorted(ends, times, "right"), label=site)
    axes.legend()
