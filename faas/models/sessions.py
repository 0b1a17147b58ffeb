"""Wire models of sessions: what an agent and the service say to each other."""

from __future__ import annotations

from typing import Literal

import msgspec

from .common import AttemptKey, FailureKind, Finite, Location, Model, Small, Whole
from .endpoints import Block, Mount, Port, RunPolicy, Shape, Spent
from .results import Grant, Input


class OpenSession(Model, kw_only=True):
    """An agent comes up."""

    nonce: str
    """Made by the agent and on disk before anything is started; repeated, it gets the same session."""
    host: str
    pid: Small
    version: str
    policy: RunPolicy = msgspec.field(default_factory=RunPolicy)
    labels: dict[str, str] = {}
    shapes: dict[str, Shape] = {}
    """The workers it has or can get, by name; empty for one ``default`` shape of one core."""
    environments: list[str] = []
    """The environments it offers; empty for ``default`` alone."""
    locations: dict[str, Mount] = {}
    """The locations it has on its own file systems, and who may use them there."""
    cached: dict[str, Whole] = {}
    """What its cache holds: digest to bytes."""
    replaces: str = ""
    """A session this agent knows to be dead (its process is gone from this host)."""
    takeover: bool = False
    """Replace a live session, because a person said so."""


class SessionOpened(Model, kw_only=True):
    """The session, and the rhythm the service expects."""

    session_id: str
    endpoint_id: str
    endpoint: str
    owner: str
    owner_id: str
    lease_timeout_s: float
    heartbeat_s: float


class Offer(Model, kw_only=True):
    """What an agent that asks for work has of one shape."""

    shape: str
    workers: Small
    """Workers alive."""
    idle_workers: Small
    """Workers with nothing to do, now or within a moment, and nothing waiting for them: each may get a task."""
    held_s: Finite = 0.0
    """Estimated seconds of work held and not yet running, over all workers."""
    longest_s: Finite | None = None
    """The longest run time that still fits before these workers have to go; None for any."""


class LeaseRequest(Model, kw_only=True):
    """Ask for work. The same ``number`` again gets the same answer."""

    number: Small
    """1, 2, 3, … within the session."""
    workers: Small
    """Workers alive, of all shapes."""
    idle_workers: Small
    """Workers with nothing to do, now or within a moment, and nothing waiting for them, of all shapes."""
    held_s: Finite = 0.0
    """Estimated seconds of work held and not yet running, over all workers."""
    offers: list[Offer] = []
    """The same by shape; empty where all workers are of the ``default`` shape."""
    wait_s: Finite = 20.0
    max_tasks: Small = 2_000
    segments: dict[str, Small] = {}
    """Owner id to the segment grants in stock; more come for owners with fewer than two."""


class LeasedTask(Model, kw_only=True):
    """A task as an agent gets it, with grants for exactly what it refers to."""

    attempt: AttemptKey
    task_id: str
    owner_id: str
    owner: str
    function_id: str
    payload: bytes = b""
    argument_object: Grant | None = None
    inputs: dict[str, Input] = {}
    """What its arguments refer to, by object id, and files by their names where they can be fetched."""
    files: list[str] = []
    """Files it reads, by their names: the site's own mount goes before what ``inputs`` gives leave to fetch."""
    outputs: list[str] = []
    """Files it writes, by their names."""
    output_grants: dict[str, Grant] = {}
    """Leave to store outputs, by their names, where the location is backed by a bucket."""
    dependencies: dict[str, Location] = {}
    """Task id to where its result lies; the grants are in ``dependency_grants``, but for those in ``values``."""
    dependency_grants: list[Grant] = []
    values: dict[str, bytes] = {}
    """Task id to its result, where that is small and at hand."""
    timeout_s: float | None = None
    idempotent: bool = True
    losses: int = 0
    shape: str = ""
    """The smallest shape of the endpoint that has what the task asks for: its workers are to run it."""
    environment: str = ""
    """The environment to run it in."""


class GrantsWanted(Model, kw_only=True):
    """Ask for grants anew: those that came with a leased task have expired."""

    attempt: AttemptKey
    names: list[str]
    """Of its inputs and outputs, as they were leased: object ids, and files by their names."""


class GrantsGiven(Model, kw_only=True):
    """Fresh grants, by the names asked for."""

    grants: dict[str, Grant]


class Demand(Model, kw_only=True):
    """This endpoint's share of the eligible backlog."""

    tasks: int = 0
    seconds: float | None = None
    """Estimated worker-seconds; None while no run time is known."""
    shapes: dict[str, Demand] = {}
    """The same by the shape of worker it waits for; shapes that nothing waits for are left out."""


class LeaseResponse(Model, kw_only=True):
    """Work, grants for the segments its results go to, and what is still waiting."""

    number: int
    tasks: list[LeasedTask] = []
    segments: dict[str, list[Grant]] = {}
    """Owner id to PUT grants for that owner's next segments."""
    run_s: dict[str, float] = {}
    """Function id to the run time the service has measured, where it has."""
    demand: Demand = msgspec.field(default_factory=Demand)


class Outcome(Model, kw_only=True):
    """What became of an attempt."""

    attempt: AttemptKey
    state: Literal["started", "succeeded", "failed", "released", "lost", "cancelled"]
    """``released``: never started, not charged. ``lost``: gone with its worker."""
    location: Location | None = None
    hint: bytes | None = None
    kind: FailureKind | None = None
    message: str = ""
    started_at: Finite | None = None
    ended_at: Finite | None = None
    run_s: Finite | None = None
    host: str = ""
    worker: str = ""
    python_version: str = ""
    stdout: str = ""
    stderr: str = ""
    node: str = ""
    """The node as its scheduler calls it."""
    job_id: str = ""
    block_id: str = ""
    environment: str = ""
    peak_memory_bytes: Whole | None = None
    """Of tasks that take long enough to be measured."""
    objects: list[str] = []
    """Every object that its result refers to."""


class ReportRequest(Model, kw_only=True):
    """Outcomes; may name attempts of this endpoint's earlier sessions (its spool)."""

    outcomes: list[Outcome]
    run_s: dict[str, float] = {}
    """Function id to the mean run time of these outcomes' calls."""
    segments: dict[str, bytes] = {}
    """Object id to its bytes, for small segments whose grant is ``inline``: stored before the outcomes are counted."""
    owners: list[str] = []
    """Owner ids for which one more segment grant each is wanted."""


class ReportResponse(Model, kw_only=True):
    """Every outcome is dealt with: counted, or dropped because the task had ended."""

    dropped: int = 0
    segments: dict[str, list[Grant]] = {}
    recalled: list[AttemptKey] = []


class Heartbeat(Model, kw_only=True):
    """A sign of life with an inventory; answered at once if an attempt is recalled."""

    lease_number: Small
    """The last lease answer the agent has taken in; later ones are not reconciled."""
    held: list[AttemptKey]
    started: dict[str, Finite] = {}
    """``"sequence.number"`` of held attempts to when they started."""
    workers: Small = 0
    idle_workers: Small = 0
    environments: dict[str, dict[str, str]] = {}
    """Where there is news: every environment, with what its runners said, or the ``problem`` that it has now."""
    delivering: list[str] = []
    """Ids of the requests for output that it is working on; others are asked again."""
    blocks: list[Block] = []
    """Live ones, and ended ones until a heartbeat that told of their end was answered."""
    problem: str = ""
    """Why the endpoint cannot run anything now; empty when well."""
    cached: dict[str, Whole] = {}
    """What its cache has come to hold since the last answered heartbeat: digest to bytes."""
    uncached: list[str] = []
    """What its cache has dropped since."""
    ports: list[Port] = []
    """Where its engines listen."""
    known_demand: Small = 0
    """Tasks of the last demand heard of: an agent without workers is told at once when there come to be some."""
    wait_s: Finite = 0.0


class LogRequest(Model, kw_only=True):
    """Somebody wants to see all that an attempt printed."""

    request_id: str
    attempt: AttemptKey
    task_id: str
    stream: Literal["stdout", "stderr"]
    grant: Grant
    """To store the file."""


class LogFound(Model, kw_only=True):
    """What an agent did about a request for output."""

    request_id: str
    size_bytes: Whole | None = None
    """As stored; None if there is no such file."""


class HeartbeatResponse(Model, kw_only=True):
    """What the agent is to do."""

    recalled: list[AttemptKey] = []
    """Attempts to stop and drop: their task has ended."""
    logs_wanted: list[LogRequest] = []
    """Output to store."""
    demand: Demand = msgspec.field(default_factory=Demand)
    spent: Spent = msgspec.field(default_factory=Spent)
