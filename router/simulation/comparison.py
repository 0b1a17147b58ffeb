"""Policies side by side, over the same draws of chance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from router.policies import find_policy

from .bound import fluid_bound
from .controllers import PilotController
from .draws import Draws
from .measures import Measures, mean_of, measure
from .scenario import Scenario
from .world import History, simulate


@dataclass(frozen=True)
class Comparison:
    """A scenario under several policies."""

    scenario: str
    about: str
    seeds: int
    measures: dict[str, Measures] = field(default_factory=dict)
    """Means over the seeds, by policy."""
    first: dict[str, History] = field(default_factory=dict)
    """What happened with the first seed, by policy."""


def compare(
    scenario: Scenario,
    policies: Sequence[str],
    seeds: int,
    controller: PilotController,
    progress: Callable[[str, int], None] = lambda policy, seed: None,
) -> Comparison:
    """Simulate a scenario under each policy, with the same waits, run times and failures.

    Args:
        scenario: what to simulate.
        policies: their names.
        seeds: how many times; chance differs from one to the next.
        controller: judges blocks.
        progress: called before each simulation.

    Raises:
        ConfigurationError: there is no policy of one of the names.
    """
    chosen = {name: find_policy(name) for name in policies}
    found: dict[str, list[Measures]] = {name: [] for name in chosen}
    first: dict[str, History] = {}
    for seed in range(seeds):
        draws = Draws(scenario, seed)
        bound_s = fluid_bound(draws)
        for name, policy in chosen.items():
            progress(name, seed)
            history = simulate(scenario, policy, name, controller, seed)
            first.setdefault(name, history)
            found[name].append(measure(history, draws, bound_s))
    means = {name: mean_of(measures) for name, measures in found.items()}
    return Comparison(scenario.name, scenario.about, seeds, means, first)
