"""The same as figures. Each function makes a new matplotlib figure, or draws on axes it is given."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from faas.analytics.curves import Steps, backlog, busy_workers, registered_workers, throughput, utilization_over_time
from faas.analytics.records import History
from faas.analytics.stages import STAGES, stage_table
from faas.errors import ConfigurationError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH_IN = 8.0
_HEIGHT_IN = 3.2
_LANES = 5_000
"""A timeline of more tasks than this shows that many of them, evenly chosen: there are fewer dots on a page."""
_STAGE_COLOURS = {"wait": "#c9ced6", "start": "#f0b43c", "run": "#2f6fb5", "return": "#63b07a"}


def figure_throughput(history: History, bin_s: float | None = None, axes: Axes | None = None) -> Figure:
    """Tasks that ended, per second, over time.

    Args:
        history: the tasks.
        bin_s: the length of a bin in seconds; see :func:`faas.analytics.throughput`.
        axes: where to draw; by default a figure of its own.

    Raises:
        ConfigurationError: matplotlib is missing.
    """

    def draw(on: Axes) -> None:
        rows = throughput(history, bin_s)
        if rows:
            edges = [row["begin"] - history.begin for row in rows] + [rows[-1]["end"] - history.begin]
            on.stairs([row["per_s"] for row in rows], edges, fill=True, color="#2f6fb5", alpha=0.8)
        on.set_ylabel("tasks ended per s")

    return _over_time(draw, axes, "Throughput")


def figure_backlog(history: History, axes: Axes | None = None) -> Figure:
    """Tasks that no endpoint had in hand, over time; for the arguments see :func:`figure_throughput`."""

    def draw(on: Axes) -> None:
        _steps(on, backlog(history), history, color="#8a5fb0", label="waiting")
        on.set_ylabel("tasks waiting")

    return _over_time(draw, axes, "Backlog")


def figure_utilization(history: History, bin_s: float | None = None, axes: Axes | None = None) -> Figure:
    """The part of each endpoint's workers that was busy, over time; where there are no blocks, the busy workers.

    For the arguments see :func:`figure_throughput`.
    """

    def draw(on: Axes) -> None:
        told = [name for name in history.endpoints if registered_workers(history, name).peak()]
        for name in told:
            rows = utilization_over_time(history, name, bin_s)
            middle = [(row["begin"] + row["end"]) / 2 - history.begin for row in rows]
            on.plot(middle, [100 * (row["utilization"] or 0.0) for row in rows], label=name)
        if told:
            on.set_ylabel("workers busy (%)")
            on.set_ylim(bottom=0)
        else:
            for name in history.endpoints:
                _steps(on, busy_workers(history, name), history, label=name)
            on.set_ylabel("busy workers")
        if history.endpoints:
            on.legend(fontsize="small")

    return _over_time(draw, axes, "Utilization")


def figure_stages(history: History, by: tuple[str, ...] = ("owner", "endpoint"), axes: Axes | None = None) -> Figure:
    """Median latency of each stage for each route, as bars; for ``by`` see :func:`faas.analytics.stage_table`."""

    def draw(on: Axes) -> None:
        rows = stage_table(history, by)
        labels = [" → ".join(row[name] for name in by) + f" ({row['tasks']})" for row in rows]
        left = [0.0] * len(rows)
        for stage in STAGES[:-1]:
            widths = [max(0.0, row[f"{stage}_median_s"] or 0.0) for row in rows]
            on.barh(labels, widths, left=left, color=_STAGE_COLOURS[stage], label=stage)
            left = [done + width for done, width in zip(left, widths, strict=True)]
        on.invert_yaxis()
        on.set_xlabel("median seconds")
        if rows:
            on.legend(fontsize="small", ncols=4, loc="lower right")

    return _drawn(draw, axes, "Latency by stage")


def figure_timeline(history: History, axes: Axes | None = None) -> Figure:
    """A line for each task: grey while it waited, coloured by endpoint while it ran, a dot in red where it failed.

    For the arguments see :func:`figure_throughput`.
    """

    def draw(on: Axes) -> None:
        stride = max(1, -(-len(history.tasks) // _LANES))
        shown = list(enumerate(history.tasks))[::stride]
        zero = history.begin
        waits = [(lane, span) for lane, task in shown for span in task.waits(history.until)]
        on.hlines(
            [lane for lane, _ in waits],
            [span[0] - zero for _, span in waits],
            [span[1] - zero for _, span in waits],
            colors=_STAGE_COLOURS["wait"],
        )
        for number, name in enumerate(history.endpoints):
            ran = [
                (lane, span)
                for lane, task in shown
                for attempt in task.attempts
                if attempt.endpoint == name and (span := attempt.busy(history.until))
            ]
            on.hlines(
                [lane for lane, _ in ran],
                [span[0] - zero for _, span in ran],
                [span[1] - zero for _, span in ran],
                colors=f"C{number % 10}",
                label=name,
            )
        bad = [
            (lane, task.ended_at - zero)
            for lane, task in shown
            if task.ended_at is not None and task.state != "succeeded"
        ]
        if bad:
            on.plot([at for _, at in bad], [lane for lane, _ in bad], ".", color="#c0392b", label="not succeeded")
        on.set_ylabel("task")
        on.invert_yaxis()
        if history.endpoints or bad:
            on.legend(fontsize="small")

    return _over_time(draw, axes, "Timeline")


def figure_overview(history: History, bin_s: float | None = None) -> Figure:
    """Throughput, backlog, utilization and stages on one page; for the arguments see :func:`figure_throughput`."""
    page = _new_figure(2 * _HEIGHT_IN)
    grid = page.subplots(2, 2)
    figure_throughput(history, bin_s, grid[0][0])
    figure_backlog(history, grid[0][1])
    figure_utilization(history, bin_s, grid[1][0])
    figure_stages(history, axes=grid[1][1])
    return page


def _steps(on: Axes, steps: Steps, history: History, **style: Any) -> None:
    times = [time - history.begin for time in steps.times]
    if times:
        on.step([*times, history.end - history.begin], [*steps.values, steps.values[-1]], where="post", **style)


def _over_time(draw: Callable[[Axes], None], axes: Axes | None, title: str) -> Figure:
    def with_time(on: Axes) -> None:
        draw(on)
        on.set_xlabel("seconds since the first submission")

    return _drawn(with_time, axes, title)


def _drawn(draw: Callable[[Axes], None], axes: Axes | None, title: str) -> Figure:
    on = _new_figure(_HEIGHT_IN).subplots() if axes is None else axes
    draw(on)
    on.set_title(title, fontsize="medium")
    figure = on.get_figure(root=True)
    assert figure is not None
    return figure


def _new_figure(height_in: float) -> Figure:
    try:
        from faas.analytics.drawing import new_figure
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("matplotlib"):
            raise
        raise ConfigurationError(
            "Figures need matplotlib, which is missing. Install it with: pip install 'faas-federation[notebook]'"
        ) from error
    return new_figure(_WIDTH_IN, height_in)
