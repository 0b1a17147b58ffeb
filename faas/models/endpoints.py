"""Wire models of endpoints and pools."""

from __future__ import annotations

from typing import Literal

import msgspec

from .common import Amount, Model


class AllowedFunctions(Model, kw_only=True):
    """What one identity may run at an endpoint; None stands for any function."""

    functions: list[str] | None = None


class RunPolicy(Model, kw_only=True):
    """Who besides the owner may run at an endpoint: identity name to what it may run."""

    identities: dict[str, AllowedFunctions] = {}


class Shape(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True, gc=False):
    """What one worker has to run a task with."""

    cores: Amount = 1.0
    gpus: Amount = 0.0
    memory_gb: Amount | None = None
    """None where the site does not say; a task that asks for memory is then not promised it."""


DEFAULT_SHAPE = "default"
"""The one shape of an endpoint that names none."""
DEFAULT_ENVIRONMENT = "default"
"""The environment of tasks that name none."""


class RegisterEndpoint(Model, kw_only=True):
    """An endpoint to create, or (same owner and name) to update."""

    name: str
    labels: dict[str, str] = {}
    description: str = ""


class Endpoint(Model, kw_only=True):
    """An endpoint as listed."""

    endpoint_id: str
    name: str
    owner: str
    status: Literal["online", "offline"] = "offline"
    labels: dict[str, str] = {}
    description: str = ""
    workers: int = 0
    idle_workers: int = 0
    held_tasks: int = 0
    queued_tasks: int = 0
    last_seen_at: float | None = None
    host: str = ""
    pid: int = 0
    shapes: dict[str, Shape] = {}
    """The workers it has or can get, by name; as its last session told, empty before the first."""
    environments: dict[str, dict[str, str]] = {}
    """Environment name to what its runners reported: ``python``, ``platform``, …; empty where none has yet."""


class EndpointCreated(Model, kw_only=True):
    """The new endpoint and the token its agent will hold, shown once."""

    endpoint_id: str
    name: str
    token: str = ""


class Pool(Model, kw_only=True):
    """A named selector over endpoints the owner may use: listed ones, and those with all labels."""

    name: str
    endpoints: list[str] = []
    labels: dict[str, str] = {}
    owner: str = ""
