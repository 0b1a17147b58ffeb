"""The wire models: every body that crosses HTTP, in msgpack or JSON, and nothing else.

Field names ending in ``_s`` are seconds, in ``_bytes`` bytes; times are seconds since the
epoch, UTC. Unknown fields are ignored, absent ones take the default, so old and new
programs talk to each other. In JSON, ``bytes`` are base64.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

TaskState = Literal[
    "waiting",
    "queued",
    "leased",
    "running",
    "succeeded",
    "failed",
    "cancelled",
    "lost",
    "dependency_failed",
]
TERMINAL_STATES: frozenset[str] = frozenset({"succeeded", "failed", "cancelled", "lost", "dependency_failed"})
Scope = Literal["client", "submit", "endpoint", "admin"]
FailureKind = Literal[
    "exception",  # the function raised
    "timeout",  # killed after timeout_s
    "crash",  # its process ended: os._exit, a signal, a segfault
    "serialization",  # code, arguments or result could not be unpacked or packed
    "refused",  # the site's own configuration does not allow it
    "cancelled",
    "lost",
    "dependency",
]

INLINE_ARGUMENT_BYTES = 64 * 1024
"""Packed arguments up to this size travel in the task; larger ones become objects."""
HINT_BYTES = 32 * 1024
"""Results up to this size may be repeated in a report as a hint."""
MAX_BODY_BYTES = 32 * 1024 * 1024
"""A request body over this size is refused with 413."""
MAX_CODE_BYTES = 8 * 1024 * 1024
"""A function with its modules over this size is refused with 413."""
MAX_BATCH_TASKS = 5_000
"""Tasks in one submission, at most."""


class Model(msgspec.Struct, omit_defaults=True):
    """Base of all wire models: defaults are not sent."""


# Functions


class RegisterFunction(Model, kw_only=True):
    """Code to register. The id is UUIDv5(owner, sha256(serializer, code, modules))."""

    name: str
    serializer: str
    """Two-character identifier of the Globus Compute strategy: ``st``, ``sd`` or ``01``."""
    code: bytes
    modules: bytes = b""
    """A zip archive of the modules shipped by value; empty for none."""
    python_version: str = ""
    """Python that packed the code, ``3.11.7``; named when another cannot load it."""
    description: str = ""
    public: bool = False
    metadata: dict[str, Any] = {}


class Function(Model, kw_only=True):
    """What is known of a registered function; the code is fetched apart."""

    function_id: str
    owner: str
    name: str
    serializer: str
    code_bytes: int
    python_version: str = ""
    description: str = ""
    public: bool = False
    metadata: dict[str, Any] = {}
    registered_at: float = 0.0


class FunctionCode(Model, kw_only=True):
    """A function's code, as the agent fetches it; it recomputes the id from these fields."""

    function_id: str
    owner_id: str
    name: str
    serializer: str
    code: bytes
    modules: bytes = b""
    python_version: str = ""


# Identities and tokens


class WhoAmI(Model, kw_only=True):
    """The identity and scope behind a token."""

    identity_id: str
    identity: str
    scope: Scope
    token_id: str
    endpoint_id: str = ""


class CreateIdentity(Model, kw_only=True):
    """An identity to create."""

    name: str


class Identity(Model, kw_only=True):
    """A person, an instrument or a programme: who owns functions, tasks and endpoints."""

    identity_id: str
    name: str


class CreateToken(Model, kw_only=True):
    """A token to mint; ``identity`` (default: the caller's own) takes an admin."""

    scope: Scope = "client"
    label: str = ""
    identity: str = ""
    endpoint: str = ""
    """An endpoint-scoped token is bound to this endpoint."""
    expires_s: float | None = None
    """Life time; None for no end."""


class Token(Model, kw_only=True):
    """A token as listed; the secret is shown only once, when it is created."""

    token_id: str
    identity: str
    scope: Scope
    label: str = ""
    endpoint_id: str = ""
    created_at: float = 0.0
    expires_at: float | None = None
    revoked_at: float | None = None
    secret: str = ""


# Endpoints and pools


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


# Tasks, as clients send them


class Submission(Model, kw_only=True):
    """One task in a batch. The client makes the id, so a request may be sent twice."""

    task_id: str
    function: str
    """Function id, or the name of one of the caller's functions."""
    payload: bytes = b""
    """Packed (args, kwargs), see ``faas.packing``; empty for none, or when ``argument_object`` is set."""
    argument_object: str = ""
    """The object holding the packed arguments when they are over ``INLINE_ARGUMENT_BYTES``."""
    objects: list[str] = []
    """Every further object the arguments refer to; only these are granted."""
    dependencies: list[str] = []
    """Every task whose result the arguments refer to; the task waits for them."""
    target: str = "any"
    """Endpoint id or name, pool name, or ``any``."""
    timeout_s: float | None = None
    max_attempts: int = 1
    """Started attempts that may fail by themselves before the task does."""
    max_losses: int = 3
    """Attempts that may be lost with their worker before the task is."""
    priority: int = 0
    """Higher runs first, within one identity."""
    idempotent: bool = True
    """False: never run again once started; a loss ends the task ``lost``."""
    tags: dict[str, str] = {}
    retry_of: str = ""


class SubmitRequest(Model, kw_only=True):
    """A batch; items are decoded one by one, so that a bad one is refused alone."""

    group_id: str
    tasks: list[msgspec.Raw]


class Refusal(Model, kw_only=True):
    """Why one item of a batch was not accepted."""

    index: int
    status: int
    detail: str
    task_id: str = ""
    fix: str = ""
    field: str = ""


class SubmitResponse(Model, kw_only=True):
    """What became of a batch: ``accepted`` counts new tasks and exact repeats alike."""

    group_id: str
    accepted: int
    refused: list[Refusal] = []
    functions: dict[str, str] = {}
    """Function names in the batch, to the ids they stood for."""


class Location(msgspec.Struct, frozen=True, array_like=True):
    """Where result bytes lie: an object and a range in it."""

    object_id: str
    offset: int
    length_bytes: int


class Failure(Model, kw_only=True):
    """Why an attempt gave no value. Stored, msgpack-encoded, as the result of a failed task."""

    kind: FailureKind
    message: str
    exception_type: str = ""
    traceback: str = ""
    exception: bytes = b""
    """The packed exception, where it could be packed."""


class Attempt(Model, kw_only=True):
    """One try of a task at one endpoint."""

    number: int
    endpoint_id: str
    endpoint: str
    state: str
    leased_at: float
    started_at: float | None = None
    ended_at: float | None = None
    run_s: float | None = None
    message: str = ""
    host: str = ""
    worker: str = ""
    python_version: str = ""
    stdout: str = ""
    """The last few kilobytes."""
    stderr: str = ""


class Task(Model, kw_only=True):
    """A task as shown."""

    task_id: str
    group_id: str
    function_id: str
    function: str
    owner: str
    state: TaskState
    target: str
    submitted_at: float
    endpoint_id: str = ""
    endpoint: str = ""
    started_at: float | None = None
    ended_at: float | None = None
    message: str = ""
    priority: int = 0
    timeout_s: float | None = None
    max_attempts: int = 1
    max_losses: int = 3
    losses: int = 0
    idempotent: bool = True
    tags: dict[str, str] = {}
    retry_of: str = ""
    dependencies: list[str] = []
    location: Location | None = None
    location_key: str = ""
    """The result object's place in the store, for people who look for it there."""
    attempts: list[Attempt] = []


class TaskQuery(Model, kw_only=True):
    """A search; newest first, ``before`` pages on."""

    state: list[str] = []
    function: str = ""
    endpoint: str = ""
    group_id: str = ""
    tags: dict[str, str] = {}
    since: float | None = None
    until: float | None = None
    before: int | None = None
    limit: int = 100


class TaskPage(Model, kw_only=True):
    """One page of a search; ``next_before`` is None on the last."""

    tasks: list[Task]
    next_before: int | None = None


class TaskIds(Model, kw_only=True):
    """Tasks named by id."""

    task_ids: list[str] = []


class CancelRequest(Model, kw_only=True):
    """Tasks to cancel: by id, or a whole group."""

    task_ids: list[str] = []
    group_id: str = ""
    running: bool = True
    """False leaves tasks alone that already run."""


class CancelResponse(Model, kw_only=True):
    """``cancelled`` ended now (or had been cancelled before); the others are named with their state."""

    cancelled: list[str]
    not_cancelled: dict[str, str] = {}


class Grant(Model, kw_only=True):
    """Leave to do one thing to one object for some minutes."""

    object_id: str
    verb: Literal["GET", "PUT"]
    url: str
    headers: dict[str, str] = {}
    expires_at: float = 0.0


class GroupResult(Model, kw_only=True):
    """A task that ended; its bytes are in ``hint`` or at ``location``."""

    task_id: str
    state: TaskState
    cursor: int
    function_id: str = ""
    endpoint_id: str = ""
    message: str = ""
    location: Location | None = None
    hint: bytes | None = None


class GroupResults(Model, kw_only=True):
    """Tasks of a group that ended after a cursor, in cursor order, none skipped."""

    results: list[GroupResult]
    cursor: int
    """Ask from here next time."""
    grants: list[Grant] = []
    """One GET grant for each object named by a result without a hint."""


class TaskResult(Model, kw_only=True):
    """One task's result, or its state while it has none."""

    task_id: str
    state: TaskState
    message: str = ""
    location: Location | None = None
    hint: bytes | None = None
    grant: Grant | None = None
    endpoint_id: str = ""


class CreateObject(Model, kw_only=True):
    """An object to upload: large arguments, for instance."""

    size_bytes: int
    sha256: str = ""


class Group(Model, kw_only=True):
    """A task group with its tasks counted by state."""

    group_id: str
    created_at: float
    states: dict[str, int]
    cursor: int = 0


# Sessions: what an agent and the service say to each other


class AttemptKey(msgspec.Struct, frozen=True, array_like=True):
    """Names an attempt: the task's sequence number in the service, and which try it is."""

    sequence: int
    number: int


class OpenSession(Model, kw_only=True):
    """An agent comes up."""

    nonce: str
    """Made by the agent and on disk before anything is started; repeated, it gets the same session."""
    host: str
    pid: int
    version: str
    policy: RunPolicy = msgspec.field(default_factory=RunPolicy)
    labels: dict[str, str] = {}
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


class LeaseRequest(Model, kw_only=True):
    """Ask for work. The same ``number`` again gets the same answer."""

    number: int
    """1, 2, 3, … within the session."""
    workers: int
    """Workers alive."""
    idle_workers: int
    """Workers with nothing to do and nothing waiting for them."""
    held_s: float = 0.0
    """Estimated seconds of work held and not yet running, over all workers."""
    wait_s: float = 20.0
    max_tasks: int = 2_000
    segments: dict[str, int] = {}
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
    objects: list[Grant] = []
    dependencies: dict[str, Location] = {}
    """Task id to where its result lies; the grants are in ``dependency_grants``."""
    dependency_grants: list[Grant] = []
    timeout_s: float | None = None
    idempotent: bool = True
    losses: int = 0


class Demand(Model, kw_only=True):
    """This endpoint's share of the eligible backlog."""

    tasks: int = 0
    seconds: float | None = None
    """Estimated worker-seconds; None while no run time is known."""


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
    started_at: float | None = None
    ended_at: float | None = None
    run_s: float | None = None
    host: str = ""
    worker: str = ""
    python_version: str = ""
    stdout: str = ""
    stderr: str = ""


class ReportRequest(Model, kw_only=True):
    """Outcomes; may name attempts of this endpoint's earlier sessions (its spool)."""

    outcomes: list[Outcome]
    run_s: dict[str, float] = {}
    """Function id to the mean run time of these outcomes' calls."""
    owners: list[str] = []
    """Owner ids for which one more segment grant each is wanted."""


class ReportResponse(Model, kw_only=True):
    """Every outcome is dealt with: counted, or dropped because the task had ended."""

    dropped: int = 0
    segments: dict[str, list[Grant]] = {}
    recalled: list[AttemptKey] = []


class Heartbeat(Model, kw_only=True):
    """A sign of life with an inventory; answered at once if an attempt is recalled."""

    lease_number: int
    """The last lease answer the agent has taken in; later ones are not reconciled."""
    held: list[AttemptKey]
    started: dict[str, float] = {}
    """``"sequence.number"`` of held attempts to when they started."""
    workers: int = 0
    idle_workers: int = 0
    environments: dict[str, dict[str, str]] = {}
    wait_s: float = 0.0


class HeartbeatResponse(Model, kw_only=True):
    """Attempts to stop and drop: their task has ended."""

    recalled: list[AttemptKey] = []
    demand: Demand = msgspec.field(default_factory=Demand)


class Nothing(Model):
    """The answer where there is nothing to say."""


class Problem(Model, kw_only=True):
    """``application/problem+json`` (RFC 9457)."""

    title: str
    status: int
    detail: str
    type: str = "about:blank"
    fix: str = ""
    field: str = ""


class Health(Model, kw_only=True):
    """The service is up."""

    status: str
    version: str
