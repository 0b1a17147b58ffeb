"""Scenarios: sites and a workload, as a YAML file describes them."""

from __future__ import annotations

from importlib.resources import files
from math import inf
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from faas.errors import ConfigurationError

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Wait(_Part):
    """How long a site's batch queue lets a block wait."""

    distribution: Literal["fixed", "exponential", "lognormal", "pareto"] = "exponential"
    median_s: NotNegative = 60.0
    sigma: NotNegative = 1.0
    """Of the logarithm, for ``lognormal``: 0.5 is mild, 1.5 heavy-tailed."""
    alpha: Positive = 1.5
    """Tail index, for ``pareto``: below 2 the variance is infinite."""

    def draw(self, random: np.random.Generator) -> float:
        """One wait, in seconds."""
        match self.distribution:
            case "fixed":
                return self.median_s
            case "exponential":
                return float(random.exponential(self.median_s / np.log(2)))
            case "lognormal":
                return float(self.median_s * np.exp(self.sigma * random.standard_normal()))
            case "pareto":
                return float(self.median_s * (2 * random.random()) ** (-1 / self.alpha))


class Outage(_Part):
    """A time in which a site has no nodes: running blocks die, queued ones wait."""

    from_s: NotNegative
    for_s: Positive


class Failing(_Part):
    """A time in which tasks at a site fail."""

    from_s: NotNegative = 0.0
    until_s: Positive = inf
    rate: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the tasks that fail."""
    after_s: NotNegative = 1.0
    """How soon."""


class SimulatedSite(_Part):
    """A site as its endpoint's owner and its users see it."""

    nodes_per_block: Annotated[int, Field(ge=1)] = 1
    max_blocks: Annotated[int, Field(ge=1)] = 4
    workers_per_node: Annotated[int, Field(ge=1)] = 1
    speed: Positive = 1.0
    """How many times as fast as stated with the function."""
    queue_wait: Wait = Wait()
    startup_s: NotNegative = 5.0
    """From a block's start to its workers."""
    walltime_s: Positive = 7200.0
    drain_s: NotNegative = 60.0
    max_idletime_s: NotNegative = 30.0
    horizon_s: Positive = 30.0
    bandwidth_bytes_per_s: Positive = inf
    """From the store to each worker."""
    outages: tuple[Outage, ...] = ()
    failing: tuple[Failing, ...] = ()
    copies: Annotated[int, Field(ge=1)] = 1
    """As many sites like this one, numbered."""
    speed_spread: NotNegative = 0.0
    """Of the logarithm of their speeds."""


class SimulatedFunction(_Part):
    """A function, and how long it runs."""

    run_s: Positive
    """At a site of speed 1; mean."""
    at: dict[str, Positive] = {}
    """Site to what it takes there instead, whatever the site's speed."""
    spread: NotNegative = 0.05
    """Of the logarithm, from task to task."""
    input_bytes: NotNegative = 0.0
    """Mean size of a dataset."""


class Load(_Part):
    """Tasks that one identity submits."""

    identity: str
    function: str
    tasks: Annotated[int, Field(ge=1)]
    from_s: NotNegative = 0.0
    every_s: NotNegative = 0.0
    """Between two of them; 0 for all at once."""
    batch: Annotated[int, Field(ge=1)] = 1
    """So many at a time."""
    priority: Annotated[int, Field(ge=-100, le=100)] = 0


class Scenario(_Part):
    """Sites, functions, and who submits what when."""

    name: str = ""
    about: str
    sites: Annotated[dict[str, SimulatedSite], Field(min_length=1)]
    functions: Annotated[dict[str, SimulatedFunction], Field(min_length=1)]
    workload: Annotated[tuple[Load, ...], Field(min_length=1)]
    history: Annotated[int, Field(ge=0)] = 10
    """So many runs of each function and block starts at each site the router has seen before."""
    controller_s: Positive = 5.0
    """How often each site's pilot controller looks."""
    overcommit: Positive = 1.5
    max_attempts: Annotated[int, Field(ge=1)] = 3

    @model_validator(mode="after")
    def _names_exist(self) -> Scenario:
        for index, load in enumerate(self.workload):
            if load.function not in self.functions:
                known = ", ".join(self.functions)
                raise ValueError(f"workload.{index}.function: there is no {load.function!r}, only {known}")
        for name, function in self.functions.items():
            if strange := set(function.at) - set(self.sites):
                raise ValueError(f"functions.{name}.at: there is no site {', '.join(sorted(strange))}")
        return self


def scenario_names() -> dict[str, str]:
    """The scenarios that are shipped, each with what it is about."""
    folder = files("router.simulation") / "scenarios"
    found = sorted(path.name.removesuffix(".yaml") for path in folder.iterdir() if path.name.endswith(".yaml"))
    return {name: find_scenario(name).about for name in found}


def find_scenario(reference: str | Path) -> Scenario:
    """A scenario that is shipped, by its name, or one of your own, by its file.

    Raises:
        ConfigurationError: there is none, or something in it is wrong; the message names the field.

    Example:
        >>> find_scenario("reference-burst").sites["theta"].nodes_per_block
        8
    """
    text, name = _read(str(reference))
    try:
        told: Any = yaml.safe_load(text)
        if not isinstance(told, dict):
            raise ConfigurationError(f"{reference} holds no scenario: it must have `about`, `sites`, `functions`, …")
        return Scenario.model_validate({"name": name, **told})
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{reference} is not YAML: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise ConfigurationError(
            f"{reference}: {field + ': ' if field else ''}{first['msg'].removeprefix('Value error, ')}"
        ) from error


def _read(reference: str) -> tuple[str, str]:
    shipped = files("router.simulation") / "scenarios" / f"{reference}.yaml"
    path = Path(reference)
    try:
        if path.suffix in (".yaml", ".yml") or path.is_file():
            return path.read_text("utf-8"), path.stem
        return shipped.read_text("utf-8"), reference
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"There is no scenario {reference!r}: {getattr(error, 'strerror', None) or error}. "
            "`faas simulate --list` shows those that are shipped; a file of your own ends in .yaml."
        ) from error
