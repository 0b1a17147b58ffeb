"""Wire models of endpoints and pools."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from .common import Amount, Count, Finite, Model

BlockState = Literal["requested", "queued", "running", "draining", "ended", "failed"]
Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]


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


class Mount(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True, gc=False):
    """A location that a site has on its own file systems; its owner may use it in any case."""

    readers: tuple[str, ...] = ()
    """Names of other identities whose tasks may read there; ``*`` for all that may run at the endpoint."""
    writers: tuple[str, ...] = ()
    """Names of other identities whose tasks may write there."""


DEFAULT_SHAPE = "default"
"""The one shape of an endpoint that names none."""
DEFAULT_ENVIRONMENT = "default"
"""The environment of tasks that name none."""


class RegisterEndpoint(Model, kw_only=True):
    """An endpoint to create, or (same owner and name) to update."""

    name: str
    labels: dict[str, str] = {}
    description: str = ""


class Block(Model, kw_only=True):
    """A batch allocation holding pilot workers, as the agent that asked for it sees it."""

    block_id: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    """The batch job's name: carries the session's nonce, and is on disk before the job is submitted."""
    state: BlockState
    shape: str = "default"
    job_id: str = ""
    """The scheduler's; empty until it has given one."""
    nodes: Count = 1
    workers: Count = 0
    """Workers registered now."""
    idle_workers: Count = 0
    walltime_s: Annotated[float, msgspec.Meta(ge=0, le=1e12)] = 0.0
    """What was asked for; 0 where there is no limit."""
    requested_at: Finite
    started_at: Finite | None = None
    """When the scheduler started the job: cost counts from here."""
    ready_at: Finite | None = None
    """When its first worker registered."""
    ended_at: Finite | None = None
    message: str = ""
    """The scheduler's own words on why it waits or failed."""
    idle_since: Finite | None = None
    """Since when all of its workers have been idle; the service fills this in."""


class Spent(Model, kw_only=True):
    """Node-hours of an endpoint's blocks: those of ended ones, and what live ones may yet use."""

    day_node_hours: float = 0.0
    """Of this day, UTC."""
    total_node_hours: float = 0.0
    reserved_node_hours: float = 0.0
    """Of the total, what live blocks may yet use."""


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
    """Environment name to what its runners reported: ``python``, ``platform``, ``packages``, …; empty where none has
    yet. ``problem`` says why nothing can be run in it now."""
    problem: str = ""
    """Why it cannot run anything now; empty when well, and when offline."""
    blocks: list[Block] = []
    """Live ones, and those that ended in the last minutes."""
    ports: list[Port] = []
    """Where its engines listen, on the cluster's internal interface."""
    spent: Spent | None = None
    """Told to its owner."""

    @property
    def standing(self) -> str:
        """Its status in one word: ``online``, ``broken`` (the agent is there, but nothing can run) or ``offline``."""
        return "broken" if self.status == "online" and self.problem else self.status


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
