"""What the experiment hands to the simulator: the streams as they were, and what was measured at the sites."""

from __future__ import annotations

import pytest
import yaml

from tests.experiments.light_sources import streams
from tests.experiments.machines import MACHINES, capacity_per_s
from tests.experiments.phase import Phase
from tests.experiments.reduction import Run
from tests.experiments.scenario import scenario
from tests.unit.experiments.test_reduction import block

RUN_S = {"xpcs": 3.0, "diagonalize": 1.0}


def phase() -> Phase:
    planned = streams(rate_per_s=4.0, length_s=20.0)
    runs = [
        Run("APS", function, site, "1", 0, 0, 0, RUN_S[function] * (1 + number / 10), 0)
        for function in RUN_S
        for site in MACHINES
        for number in (-1, 0, 1)
    ]
    blocks = {site: [block(0, 5, 7, 60), block(0, 6, 8, 60)] for site in MACHINES}
    return Phase("service", tuple(MACHINES), planned, 0.0, 0.0, 20.0, runs, blocks, 0.1)


def test_streams_come_at_the_rate_asked_for() -> None:
    planned = streams(rate_per_s=4.0, length_s=20.0)
    assert len({(stream.source, stream.function) for stream in planned}) == len(planned) == 4
    assert sum(stream.tasks for stream in planned) == 80
    assert max(stream.ends_s for stream in planned) < 20.0


def test_scenario_tells_what_was_submitted() -> None:
    told = yaml.safe_load(scenario(phase()))
    assert sum(load["tasks"] for load in told["workload"]) == 80
    load = next(load for load in told["workload"] if (load["identity"], load["function"]) == ("APS", "xpcs"))
    assert load == {
        "identity": "APS",
        "function": "xpcs",
        "tasks": 20,
        "from_s": 0.0,
        "every_s": 2.0,
        "batch": 2,
    }


def test_scenario_tells_what_was_measured() -> None:
    told = yaml.safe_load(scenario(phase()))
    assert set(told["sites"]) == set(MACHINES)
    theta = told["sites"]["theta"]
    assert (theta["max_blocks"], theta["workers_per_node"]) == (MACHINES["theta"].nodes, MACHINES["theta"].workers)
    assert theta["queue_wait"] == {"distribution": "lognormal", "median_s": 5.5, "sigma": 0.0912}
    assert theta["startup_s"] == 2.0
    assert told["functions"]["xpcs"]["at"] == dict.fromkeys(MACHINES, 3.0)
    assert 0.08 < told["functions"]["xpcs"]["spread"] < 0.09


def test_a_site_that_did_nothing_is_told_as_configured() -> None:
    nothing = phase()
    empty = Phase(
        **{**vars(nothing), "blocks": {site: [] for site in MACHINES}},
    )
    told = yaml.safe_load(scenario(empty))["sites"]["theta"]
    assert told["queue_wait"] == {"distribution": "fixed", "median_s": float(MACHINES["theta"].queue_wait_s)}


def test_capacity_adds_up_over_sites() -> None:
    each = [capacity_per_s((site,)) for site in MACHINES]
    assert capacity_per_s(tuple(MACHINES)) == pytest.approx(sum(each))
    assert capacity_per_s(("theta",), ("xpcs",)) == pytest.approx(MACHINES["theta"].all_workers / 5.1)
