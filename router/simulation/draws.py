"""What chance decides in a simulation: drawn once for a seed, whatever the policy, so that policies can be compared."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from zlib import crc32

import numpy as np

from .scenario import Scenario, SimulatedFunction, SimulatedSite

STORE = "store"
"""Simulations have one."""


@dataclass(frozen=True)
class Arrival:
    """A task comes in."""

    at: float
    load: int
    """Which part of the workload it belongs to."""


class Draws:
    """Arrivals, run times, queue waits and failures of one seed.

    Args:
        scenario: what to draw for.
        seed: equal seeds draw equal numbers.
    """

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self.seed = seed
        self.scenario = scenario
        self.sites = dict(self._sites())
        self.arrivals = sorted(
            (
                Arrival(load.from_s + index // load.batch * load.every_s, number)
                for number, load in enumerate(scenario.workload)
                for index in range(load.tasks)
            ),
            key=lambda arrival: arrival.at,
        )
        spreads = np.array([self._function(index).spread for index in range(len(self.arrivals))])
        noise = self._random("tasks").standard_normal(len(self.arrivals))
        self.factors = np.exp(spreads * noise - spreads**2 / 2)
        """How much longer than the mean each task runs, wherever it does; its inputs are as much larger."""
        self._failures = self._random("failures").random(len(self.arrivals))
        self.wait_s = lru_cache(maxsize=None)(self._wait_s)
        """From site, slot and number of the request there, how long the block waits."""

    def _random(self, *names: object) -> np.random.Generator:
        return np.random.default_rng([self.seed, crc32("/".join(map(str, names)).encode())])

    def _sites(self) -> Iterator[tuple[str, SimulatedSite]]:
        for name, site in self.scenario.sites.items():
            speeds = np.exp(site.speed_spread * self._random("speed", name).standard_normal(site.copies)) * site.speed
            for number in range(site.copies):
                one = site.model_copy(update={"speed": float(speeds[number]), "copies": 1})
                yield (name if site.copies == 1 else f"{name}-{number + 1}", one)

    def _function(self, index: int) -> SimulatedFunction:
        return self.scenario.functions[self.scenario.workload[self.arrivals[index].load].function]

    def base_s(self, function: str, site: str) -> float:
        """Mean run time of a function at a site, inputs fetched before."""
        told = self.scenario.functions[function]
        return told.at.get(site, told.run_s / self.sites[site].speed)

    def mean_run_s(self, function: str) -> float:
        """Over all sites."""
        return float(np.mean([self.base_s(function, site) for site in self.sites]))

    def size_bytes(self, index: int) -> float:
        """A task's inputs."""
        return float(self._function(index).input_bytes * self.factors[index])

    def transfer_s(self, index: int, site: str) -> float:
        """How long a task's inputs take to a site."""
        return self.size_bytes(index) / self.sites[site].bandwidth_bytes_per_s

    def service_s(self, index: int, site: str, at: float, attempt: int) -> tuple[float, bool]:
        """For how long a task keeps a worker, and whether it fails."""
        for failing in self.sites[site].failing:
            if failing.from_s <= at < failing.until_s and (self._failures[index] + 0.618 * attempt) % 1 < failing.rate:
                return failing.after_s, True
        function = self.scenario.workload[self.arrivals[index].load].function
        return float(self.base_s(function, site) * self.factors[index]) + self.transfer_s(index, site), False

    def _wait_s(self, site: str, slot: int, number: int) -> float:
        return self.sites[site].queue_wait.draw(self._random("wait", site, slot, number))

    def past_runs(self, times: int) -> Iterator[tuple[str, str, float, float, float]]:
        """Runs before: function, site, seconds, seconds of transfer, bytes."""
        for name, function in self.scenario.functions.items():
            for site in self.sites:
                random = self._random("history", name, site)
                for factor in np.exp(function.spread * random.standard_normal(times) - function.spread**2 / 2):
                    size = float(function.input_bytes * factor)
                    seconds = float(self.base_s(name, site) * factor)
                    yield name, site, seconds, size / self.sites[site].bandwidth_bytes_per_s, size

    def past_waits(self, times: int) -> Iterator[tuple[str, float]]:
        """Blocks before: site, and how long each waited for its first worker."""
        for name, site in self.sites.items():
            random = self._random("past waits", name)
            for _ in range(times):
                yield name, site.queue_wait.draw(random) + site.startup_s
