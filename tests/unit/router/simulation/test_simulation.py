"""The simulator: every task ends once, equal seeds give equal histories, and `fastest` keeps what it promises."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from faas.errors import ConfigurationError
from router.policies import POLICIES, find_policy
from router.simulation import Scenario, compare, find_controller, find_scenario, fluid_bound, scenario_names, simulate
from router.simulation.draws import Draws
from router.simulation.measures import measure

SMALL = Scenario.model_validate(
    {
        "about": "small",
        "sites": {
            "slow": {"max_blocks": 2, "nodes_per_block": 2, "queue_wait": {"median_s": 30}},
            "fast": {"max_blocks": 2, "nodes_per_block": 2, "speed": 2, "queue_wait": {"median_s": 60}},
        },
        "functions": {"fit": {"run_s": 60, "spread": 0.2}},
        "workload": [
            {"identity": "APS", "function": "fit", "tasks": 40},
            {"identity": "ALS", "function": "fit", "tasks": 20, "every_s": 10, "priority": 1},
        ],
    }
)


def with_sites(**changes: object) -> Scenario:
    """The small scenario with something else about its fast site."""
    told = SMALL.model_dump()
    told["sites"]["fast"].update(changes)
    return Scenario.model_validate(told)


@pytest.mark.parametrize("policy", [name for name in POLICIES if name != "pinned"])
def test_equal_seeds_give_equal_histories(policy: str) -> None:
    histories = [simulate(SMALL, find_policy(policy), policy, find_controller(), seed) for seed in (1, 1, 2)]
    assert histories[0] == histories[1]
    assert histories[0].tasks != histories[2].tasks


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from([name for name in POLICIES if name != "pinned"]),
    st.integers(0, 1_000),
    st.booleans(),
    st.booleans(),
    st.sampled_from([0, 10]),
)
def test_each_task_ends_once_whatever_happens(
    policy: str, seed: int, outage: bool, failing: bool, history: int
) -> None:
    scenario = with_sites(
        outages=[{"from_s": 150, "for_s": 300}] if outage else [],
        failing=[{"from_s": 100, "until_s": 400, "rate": 0.7}] if failing else [],
        walltime_s=600,
    ).model_copy(update={"history": history})
    told = simulate(scenario, find_policy(policy), policy, find_controller(), seed)
    assert len(told.tasks) == 60
    assert {task.state for task in told.tasks} <= {"succeeded", "failed"}  # ended twice is an AssertionError there
    for task in told.tasks:
        assert task.arrived_at <= task.started_at <= task.ended_at
        assert task.attempts <= scenario.max_attempts
    if not failing:
        assert all(task.state == "succeeded" for task in told.tasks)
    # No more ran at a site at any time than it has workers.
    for site in ("slow", "fast"):
        changes = sorted(
            change
            for task in told.tasks
            if task.site == site and task.state == "succeeded"
            for change in ((task.started_at, 1), (task.ended_at, -1))
        )
        running = 0
        for _, change in changes:
            running += change
            assert running <= 4


@pytest.mark.parametrize("name", ["reference-burst", "heavy-tails", "black-hole"])
def test_fastest_is_near_the_bound_and_buys_little_more_than_it_needs(name: str) -> None:
    result = compare(find_scenario(name), ["shortest_backlog", "fastest"], 2, find_controller())
    fastest, early = result.measures["fastest"], result.measures["shortest_backlog"]
    assert 1.0 <= fastest.over_bound < 1.12
    assert fastest.node_hours_by_work < 1.15
    assert fastest.failed == 0
    if name != "black-hole":  # where those bound to it fail fast
        assert fastest.makespan_s < early.makespan_s


@pytest.mark.parametrize("seed", range(3))
def test_the_bound_is_below_every_policy(seed: int) -> None:
    bound_s = fluid_bound(Draws(SMALL, seed))
    for policy in ("round_robin", "first_free", "fastest"):
        told = simulate(SMALL, find_policy(policy), policy, find_controller(), seed)
        assert measure(told, Draws(SMALL, seed), bound_s).over_bound >= 1.0


def test_the_scenarios_that_are_shipped_can_be_read() -> None:
    names = scenario_names()
    assert {"reference-burst", "reference-stream", "heavy-tails", "outage", "black-hole"} <= set(names)
    assert {"hundred-sites", "light-sources"} <= set(names)
    assert sum(site.copies for site in find_scenario("hundred-sites").sites.values()) == 100


def test_what_is_wrong_with_a_scenario_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no scenario 'refrence'.*--list"):
        find_scenario("refrence")
    file = tmp_path / "mine.yaml"
    for text, said in [
        ("{", "not YAML"),
        ("- a", "holds no scenario"),
        ("about: x\nsites: {}", "sites"),
        ("about: x\nsites: {a: {speed: -1}}\nfunctions: {f: {run_s: 1}}\nworkload: []", r"sites\.a\.speed"),
        (
            "about: x\nsites: {a: {}}\nfunctions: {f: {run_s: 1}}\nworkload: [{identity: i, function: g, tasks: 1}]",
            "there is no 'g', only f",
        ),
    ]:
        file.write_text(text)
        with pytest.raises(ConfigurationError, match=said):
            find_scenario(file)


def test_a_controller_that_is_not_there_is_said() -> None:
    with pytest.raises(ConfigurationError, match=r"no pilot controller 'other'.*standard"):
        find_controller("other")
