"""What tasks need and what endpoints offer: which shape of worker is to run what. Pure functions, no SQL."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import msgspec

from faas.errors import InvalidRequest
from faas.models import DEFAULT_ENVIRONMENT, DEFAULT_SHAPE, Mount, OpenSession, Shape
from faas.requirements import name_problem, resources_problem

EVERYBODY = "*"
"""Among names of identities: all of them."""
_MAX_NAMES = 100
"""Shapes, environments or locations that one endpoint can have."""


class Requirements(msgspec.Struct, frozen=True, gc=False):
    """What a task needs of its worker. To need 0 of something and not to name it are the same."""

    cores: float = 0.0
    gpus: float = 0.0
    memory_gb: float = 0.0
    environment: str = ""
    """Empty for the default environment."""
    reads: tuple[str, ...] = ()
    """Locations that its files to read are in, in order."""
    writes: tuple[str, ...] = ()
    """Locations that its files to write are in, in order."""
    bulky: bool = False
    """Whether it refers to so much data that it matters where a copy of that is."""

    @property
    def resources(self) -> dict[str, float]:
        """As in a submission."""
        amounts = {"cores": self.cores, "gpus": self.gpus, "memory_gb": self.memory_gb}
        return {name: float(amount) for name, amount in amounts.items() if amount}

    @property
    def text(self) -> str | None:
        """As kept in the database: the same text for the same needs, None for none."""
        named: dict[str, object] = {**self.resources}
        if self.environment:
            named["environment"] = self.environment
        if self.reads:
            named["reads"] = self.reads
        if self.writes:
            named["writes"] = self.writes
        if self.bulky:
            named["bulky"] = True
        return msgspec.json.encode(named).decode() if named else None


NO_REQUIREMENTS = Requirements()


class Offering(msgspec.Struct, frozen=True):
    """What an endpoint has to run tasks with, as its agent told when it opened its session."""

    shapes: dict[str, Shape]
    environments: list[str]
    locations: dict[str, Mount] = {}
    """What it has on its own file systems."""

    @property
    def text(self) -> str:
        """As kept in the database."""
        return msgspec.json.encode(self).decode()

    def shape_for(self, needed: Requirements) -> str | None:
        """The shape of worker that is to run a task; None where it cannot run."""
        if (needed.environment or DEFAULT_ENVIRONMENT) not in self.environments:
            return None
        return smallest(self.shapes, needed)

    def lacks(self, needed: Requirements) -> tuple[str, str]:
        """Why a task cannot run here: the field of a submission that asks for too much, and what there is instead.

        Example:
            >>> Offering({"default": Shape(cores=2)}, ["default"]).lacks(Requirements(gpus=1))
            ('resources', 'no worker has 1 GPU, only: default (2 cores)')
        """
        environment = needed.environment or DEFAULT_ENVIRONMENT
        if environment not in self.environments:
            return "environment", f"there is no environment {environment!r}, only {', '.join(self.environments)}"
        if smallest(self.shapes, needed) is None:
            unstated = "memory not stated" if needed.memory_gb else ""
            has = "; ".join(f"{name} ({_described(shape, unstated)})" for name, shape in self.shapes.items())
            asked = Shape(cores=needed.cores, gpus=needed.gpus, memory_gb=needed.memory_gb)
            return "resources", f"no worker has {_described(asked)}, only: {has}"
        return "", ""


UNTOLD = Offering({DEFAULT_SHAPE: Shape()}, [DEFAULT_ENVIRONMENT])
"""What an endpoint is taken to have whose agent names neither shapes nor environments."""


def fits(shape: Shape, needed: Requirements) -> bool:
    """Whether a worker of this shape has what is needed. Memory that a site does not state it does not promise."""
    return (
        shape.cores >= needed.cores
        and shape.gpus >= needed.gpus
        and (not needed.memory_gb or (shape.memory_gb is not None and shape.memory_gb >= needed.memory_gb))
    )


def smallest(shapes: Mapping[str, Shape], needed: Requirements) -> str | None:
    """The name of the smallest shape that fits: fewest GPUs, then cores, then memory; None if none does."""
    fitting = [name for name, shape in shapes.items() if fits(shape, needed)]
    return min(fitting, key=lambda name: (*_size(shapes[name]), name), default=None)


def stated(resources: Mapping[str, float], environment: str) -> None:
    """Check what a submission or a function says it needs.

    Raises:
        InvalidRequest: an unknown resource, an impossible amount, or no name for an environment.
    """
    if resources and (problem := resources_problem(resources)):
        raise InvalidRequest(problem, field="resources")
    if environment and (problem := name_problem(environment, "environment")):
        raise InvalidRequest(problem, field="environment")


def effective(default: Requirements, resources: Mapping[str, float], environment: str) -> Requirements:
    """What a task needs: what its submission says, and for the rest what its function does."""
    if not resources and not environment:
        return default
    return Requirements(
        cores=resources.get("cores", default.cores),
        gpus=resources.get("gpus", default.gpus),
        memory_gb=resources.get("memory_gb", default.memory_gb),
        environment="" if environment == DEFAULT_ENVIRONMENT else environment or default.environment,
    )


def offered(request: OpenSession) -> Offering:
    """What an agent says its endpoint has.

    Raises:
        InvalidRequest: there are too many shapes, environments or locations, or a name is none.
    """
    for field, what, names in (
        ("shapes", "shape", list(request.shapes)),
        ("environments", "environment", request.environments),
        ("locations", "location", list(request.locations)),
    ):
        if len(names) > _MAX_NAMES:
            raise InvalidRequest(f"An endpoint has at most {_MAX_NAMES} {field}.", field=field)
        for name in names:
            if problem := name_problem(name, what):
                raise InvalidRequest(problem, field=field)
    return Offering(
        request.shapes or UNTOLD.shapes,
        list(dict.fromkeys(request.environments)) or UNTOLD.environments,
        request.locations,
    )


@lru_cache(maxsize=10_000)
def requirements_of(text: str | None) -> Requirements:
    """The requirements kept as this text."""
    return msgspec.json.decode(text, type=Requirements) if text else NO_REQUIREMENTS


@lru_cache(maxsize=1_000)
def offering_of(text: str | None) -> Offering | None:
    """The offering kept as this text; None before an endpoint's first session."""
    return msgspec.json.decode(text, type=Offering) if text else None


def _size(shape: Shape) -> tuple[float, float, float]:
    # Unstated memory is the most there may be, so that it is not taken where a stated amount will do.
    return shape.gpus, shape.cores, float("inf") if shape.memory_gb is None else shape.memory_gb


def _described(shape: Shape, unstated: str = "") -> str:
    amounts = [
        (shape.cores, "core" if shape.cores == 1 else "cores"),
        (shape.gpus, "GPU" if shape.gpus == 1 else "GPUs"),
        (shape.memory_gb, "GB of memory"),
    ]
    told = [f"{amount:.10g} {unit}" for amount, unit in amounts if amount]
    return ", ".join([*told, unstated] if shape.memory_gb is None and unstated else told)
