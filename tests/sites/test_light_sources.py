"""The experiment with two light sources, as short as it can be: both workloads, from both, at all three clusters."""

from __future__ import annotations

import itertools
from pathlib import Path

import yaml

from tests.experiments.light_sources import DELIVERIES, KINDS
from tests.experiments.machines import MACHINES, PUBLISHED_S, SOURCES, facility
from tests.experiments.phase import run_phase
from tests.experiments.reduction import queue_waits_s, stages_by_route
from tests.experiments.routing import RoundRobin
from tests.experiments.scenario import scenario
from tests.experiments.streams import LightSource, Stream


def test_two_light_sources_get_right_answers_from_three_machines(tmp_path: Path) -> None:
    """That each sees its own alone is checked within the phase, which fails otherwise."""
    everywhere = tuple(MACHINES)
    planned = [Stream(source, function, 1, len(MACHINES), 1.0) for source, function in KINDS]
    quick = {function: dict.fromkeys(MACHINES, 0.3) for function in PUBLISHED_S}
    with facility(tmp_path / "f") as place:
        sources = {
            name: LightSource(name, client, quick, DELIVERIES["stored"]) for name, client in place.clients.items()
        }
        routings = {name: RoundRobin(everywhere) for name in SOURCES}
        phase = run_phase(place, sources, "short", everywhere, planned, routings, itertools.count(1))
    assert [run.complaint for run in phase.runs if run.complaint] == []
    routes = stages_by_route(phase.runs)
    assert {route: found["count"] for route, found in routes.items()} == {
        f"{source} to {site}": len(PUBLISHED_S) for source in SOURCES for site in MACHINES
    }
    assert all(found["run"]["median"] >= 0.3 for found in routes.values())
    for site, machine in MACHINES.items():
        waits, _ = queue_waits_s(phase.blocks[site])
        assert min(waits) >= machine.queue_wait_s - 1, "the scheduler counts whole seconds"
    told = yaml.safe_load(scenario(phase))
    assert sum(load["tasks"] for load in told["workload"]) == len(phase.runs)
