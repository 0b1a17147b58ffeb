"""The experiment as a scenario for the simulator: what was set, and what was measured besides."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import fmean, median
from typing import Any

import numpy
import yaml

from tests.experiments.machines import MACHINES
from tests.experiments.phase import Phase
from tests.experiments.reduction import Run, queue_waits_s


def scenario(phase: Phase, others: Iterable[Phase] = ()) -> str:
    """Describe a phase so that its makespan can be predicted.

    Args:
        phase: with the streams to predict.
        others: phases that tell how long blocks wait and functions run, too.

    Returns:
        YAML, as ``faas simulate`` reads it.
    """
    phases = [phase, *others]
    runs = [run for each in phases for run in each.runs]
    functions = sorted({stream.function for stream in phase.streams})
    described = {
        "about": f"Two light sources stream to theta, summit and cori; measured, as {phase.name}.",
        "controller_s": 1.0,
        "sites": {site: _site(site, phases) for site in MACHINES},
        "functions": {name: _function(name, runs) for name in functions},
        "workload": [
            {
                "identity": stream.source,
                "function": stream.function,
                "tasks": stream.tasks,
                "from_s": round(stream.from_s, 3),
                "every_s": round(stream.every_s, 4),
                "batch": stream.batch,
            }
            for stream in phase.streams
        ],
    }
    return yaml.safe_dump(described, sort_keys=False, width=120)


def _site(name: str, phases: Sequence[Phase]) -> dict[str, Any]:
    machine = MACHINES[name]
    waits, startups = queue_waits_s([block for phase in phases for block in phase.blocks[name]])
    return {
        "nodes_per_block": 1,
        "max_blocks": machine.nodes,
        "workers_per_node": machine.workers,
        "queue_wait": _wait(waits, machine.queue_wait_s),
        "startup_s": round(median(startups), 3) if startups else 2.0,
        "walltime_s": float(machine.walltime_s),
        "drain_s": machine.drain_s,
        "max_idletime_s": machine.max_idletime_s,
        "horizon_s": machine.horizon_s,
    }


def _wait(measured: Sequence[float], configured_s: float) -> dict[str, Any]:
    """The queue as it was: about the same for all, for these machines let each job wait for the same time."""
    if len(measured) < 2:
        return {"distribution": "fixed", "median_s": float(configured_s)}
    return {
        "distribution": "lognormal",
        "median_s": round(median(measured), 3),
        "sigma": round(float(numpy.std(numpy.log(numpy.maximum(measured, 0.1)))), 4),
    }


def _function(name: str, runs: Sequence[Run]) -> dict[str, Any]:
    measured = {
        site: [run.ended_at - run.started_at for run in runs if run.site == site and run.function == name]
        for site in MACHINES
    }
    means = {site: fmean(times) for site, times in measured.items() if times}
    apart = [numpy.log(time / means[site]) for site, times in measured.items() for time in times]
    return {
        "run_s": round(fmean(means.values()), 4),
        "at": {site: round(mean, 4) for site, mean in means.items()},
        "spread": round(float(numpy.std(apart)), 4),
    }
