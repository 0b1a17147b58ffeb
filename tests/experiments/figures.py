"""The experiment's figures: throughput, utilization, stages by route, and policies side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy

from tests.experiments.machines import MACHINES, SOURCES
from tests.experiments.phase import Phase
from tests.experiments.reduction import STAGES, running

matplotlib.use("agg")

from matplotlib import pyplot
from matplotlib.axes import Axes

_COLOURS = {"theta": "tab:blue", "summit": "tab:green", "cori": "tab:orange"}
_STAGE_COLOURS = ("tab:gray", "tab:purple", "tab:cyan", "tab:red")
_WINDOW_S = 5.0


def draw(directory: Path, alone: Mapping[str, Phase], federated: Phase, policies: Mapping[str, Phase]) -> list[Path]:
    """Draw everything.

    Args:
        directory: for the PNG files.
        alone: each site by itself.
        federated: all sites at once.
        policies: one stream under each policy.

    Returns:
        The files.
    """
    phases = {**{f"{name} alone": phase for name, phase in alone.items()}, "federated": federated}
    shown = list(policies.values()) or [federated]
    return [
        _throughput(directory / "throughput.png", phases),
        _utilization(directory / "utilization.png", [federated, *policies.values()]),
        _stages(directory / "stages.png", shown[0]),
        _policies(directory / "policies.png", policies),
    ]


def _throughput(path: Path, phases: Mapping[str, Phase]) -> Path:
    """Datasets a second: each site alone, all together by site, and all together by source."""
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4), sharey=True)
    together = phases["federated"]
    for name, phase in phases.items():
        site = phase.sites[0] if len(phase.sites) == 1 else ""
        _curve(left, phase, [run.ended_at for run in phase.runs], name, _COLOURS.get(site, "black"), "-")
        if site:
            there = [run.ended_at for run in together.runs if run.site == site]
            _curve(left, together, there, f"{site} in the federation", _COLOURS[site], "--")
    for source in SOURCES:
        _curve(right, together, [run.seen_at for run in together.runs if run.source == source], source, None, "-")
    for axes, title in ((left, "done at the sites"), (right, "results at the light sources, federated")):
        axes.set(title=title, xlabel="time (s)", ylabel=f"datasets/s, over {_WINDOW_S:g} s")
        axes.legend(fontsize="small")
    return _save(figure, path)


def _curve(axes: Axes, phase: Phase, ends: Sequence[float], label: str, colour: str | None, style: str) -> None:
    moments = numpy.arange(0, phase.until - phase.began_at, 0.5)
    after = numpy.sort(numpy.array(ends) - phase.began_at)
    counts = numpy.searchsorted(after, moments) - numpy.searchsorted(after, moments - _WINDOW_S)
    axes.plot(moments, counts / _WINDOW_S, style, color=colour, label=label)


def _utilization(path: Path, phases: Sequence[Phase]) -> Path:
    """Workers that are there, and those that work, by site."""
    figure, rows = pyplot.subplots(len(MACHINES), len(phases), figsize=(4 * len(phases), 6), squeeze=False)
    for column, phase in enumerate(phases):
        last = max(run.ended_at for run in phase.runs)
        moments = numpy.arange(phase.began_at, last + 1, 0.1)
        for row, (site, machine) in enumerate(MACHINES.items()):
            axes = rows[row][column]
            workers = sum(
                machine.workers * ((moments >= block.ready_at) & (moments < (block.ended_at or last + 1)))
                for block in phase.blocks[site]
                if block.ready_at is not None
            ) + numpy.zeros_like(moments)
            busy = running([run for run in phase.runs if run.site == site], moments)
            axes.fill_between(moments - phase.began_at, workers, color="0.85", label="workers")
            axes.fill_between(moments - phase.began_at, busy, color=_COLOURS[site], alpha=0.8, label="busy")
            axes.set(ylim=(0, machine.all_workers * 1.1), ylabel=site if column == 0 else "")
            if row == 0:
                axes.set_title(phase.name)
            if row == len(MACHINES) - 1:
                axes.set_xlabel("time (s)")
    rows[0][0].legend(fontsize="small")
    return _save(figure, path)


def _stages(path: Path, phase: Phase) -> Path:
    """Where the time goes, stage by stage, for each route."""
    from tests.experiments.reduction import stages_by_route

    routes = stages_by_route(phase.runs, "xpcs")
    figure, axes = pyplot.subplots(figsize=(8, 0.5 * len(routes) + 1.5))
    left = numpy.zeros(len(routes))
    for stage, colour in zip(STAGES[:-1], _STAGE_COLOURS, strict=True):
        medians = numpy.array([max(0.0, route[stage]["median"]) for route in routes.values()])
        axes.barh(list(routes), medians, left=left, label=stage, color=colour)
        left += medians
    axes.set(xlabel="median (s)", title=f"Photon correlation, {phase.name}")
    axes.invert_yaxis()
    axes.legend(fontsize="small")
    return _save(figure, path)


def _policies(path: Path, policies: Mapping[str, Phase]) -> Path:
    """How many results the light sources had at which time, under each policy."""
    figure, axes = pyplot.subplots(figsize=(7, 4))
    submitted: Phase | None = None
    for name, phase in policies.items():
        seen = numpy.sort([run.seen_at - phase.began_at for run in phase.runs])
        axes.step(seen, numpy.arange(1, len(seen) + 1), where="post", label=name)
        submitted = phase
    if submitted is not None:
        sent = numpy.sort([run.sent_at - submitted.began_at for run in submitted.runs])
        axes.step(sent, numpy.arange(1, len(sent) + 1), where="post", color="0.6", label="submitted")
        axes.legend(fontsize="small")
    axes.set(xlabel="time (s)", ylabel="datasets", title="Results at the light sources, the same stream each time")
    return _save(figure, path)


def _save(figure: Any, path: Path) -> Path:
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
    return path
