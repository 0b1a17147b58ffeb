"""Wire models of endpoints and pools."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from .common import Finite, Model, Small

BlockState = Literal["requested", "queued", "running", "draining", "ended", "failed"]
Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]


class AllowedFunctions(Model, kw_only=True):
    """What one identity may run at an endpoint; None stands for any function."""

    functions: list[str] | None = None


class RunPolicy(Model, kw_only=True):
    """Who besides the owner may run at an endpoint: identity name to what it may run."""

    identities: dict[str, AllowedFunctions] = {}


class RegisterEndpoint(Model, kw_only=True):
    """An endpoint to create, or (same owner and name) to update."""

    name: str
    labels: dict[str, str] = {}
    description: str = ""


class Block(Model, kw_only=True):
    """One batch allocation of an endpoint and the pilot workers in it."""

    block_id: str
    """The batch job's name, with the session's nonce in it."""
    shape: str = "default"
    job_id: str = ""
    """The scheduler's; empty until it has accepted the job."""
    state: BlockState = "requested"
    """``failed``: its workers never came up. ``ended``: they did, and the job is over."""
    nodes: Small = 1
    workers: Small = 0
    idle_workers: Small = 0
    walltime_s: Finite = 0.0
    """How long the job may run; 0 for without end."""
    requested_at: Finite | None = None
    started_at: Finite | None = None
    """When the scheduler first called it running."""
    ready_at: Finite | None = None
    """When its first workers registered."""
    ended_at: Finite | None = None
    idle_s: Finite = 0.0
    """For how long none of its workers has had anything to do."""
    message: str = ""
    """What it waits for, or why it ended; in the scheduler's own words where there are any."""


class Spent(Model, kw_only=True):
    """Node-hours of an endpoint's blocks: what ended ones used, and what live ones may use at most.

    An agent is not told of the blocks its own session has live: it knows those better.
    """

    day_node_hours: float = 0.0
    """Of this UTC day."""
    total_node_hours: float = 0.0
    reserved_node_hours: float = 0.0
    """Of the total, what is reserved by live blocks."""


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
    environments: dict[str, dict[str, str]] = {}
    """Environment name to what its runners reported: ``python``, ``platform``, …"""
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
