"""Wire models of tasks: as submitted, as shown, as searched, as cancelled."""

from __future__ import annotations

from typing import Literal

import msgspec

from .common import FailureKind, Finite, Location, Model, Small, TaskState, Whole
from .results import Grant


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
    files: list[str] = []
    """Every file the arguments refer to: ``location:/path`` or ``s3://bucket/key``."""
    outputs: list[str] = []
    """Every file the task is to write: ``location:/path``."""
    dependencies: list[str] = []
    """Every task whose result the arguments refer to; the task waits for them."""
    target: str = "any"
    """Endpoint id or name, pool name, or ``any``."""
    timeout_s: Finite | None = None
    max_attempts: Small = 1
    """Started attempts that may fail by themselves before the task does."""
    max_losses: Small = 3
    """Attempts that may be lost with their worker before the task is."""
    priority: Small = 0
    """Higher runs first, within one identity."""
    idempotent: bool = True
    """False: never run again once started; a loss ends the task ``lost``."""
    resources: dict[str, float] = {}
    """What its worker must have: ``cores``, ``gpus``, ``memory_gb``; what is not named is as its function says."""
    environment: str = ""
    """The environment to run in, ``default`` being one; empty for what its function says."""
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
    node: str = ""
    """The node as its scheduler calls it."""
    job_id: str = ""
    """The batch job the worker ran in; empty outside of one."""
    block_id: str = ""
    environment: str = ""
    peak_memory_bytes: int | None = None
    """The most memory the task had, where it took more than a few hundredths of a second."""


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
    resources: dict[str, float] = {}
    """What its worker must have, by its submission and its function."""
    environment: str = ""
    """Where it runs; empty for the default environment."""
    tags: dict[str, str] = {}
    retry_of: str = ""
    dependencies: list[str] = []
    location: Location | None = None
    location_key: str = ""
    """The result object's place in the store, for people who look for it there."""
    attempts: list[Attempt] = []


class LogQuery(Model, kw_only=True):
    """Ask for all that an attempt printed."""

    stream: Literal["stdout", "stderr"] = "stdout"
    attempt: Small | None = None
    """Its number; None for the last one."""
    wait_s: Finite = 20.0
    """How long its site may take, 25 at most."""


class TaskLog(Model, kw_only=True):
    """Where the output of an attempt is to be had."""

    attempt: int
    state: Literal["stored", "absent", "offline", "pending"]
    """``absent``: it printed nothing, or its site has not kept it. ``pending``: ask again."""
    grant: Grant | None = None
    size_bytes: int = 0


class TaskQuery(Model, kw_only=True):
    """A search; newest first, ``before`` pages on."""

    state: list[str] = []
    function: str = ""
    endpoint: str = ""
    group_id: str = ""
    tags: dict[str, str] = {}
    since: Finite | None = None
    until: Finite | None = None
    before: Whole | None = None
    limit: Small = 100


class TaskPage(Model, kw_only=True):
    """One page of a search; ``next_before`` is None on the last."""

    tasks: list[Task]
    next_before: int | None = None


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


class Group(Model, kw_only=True):
    """A task group with its tasks counted by state."""

    group_id: str
    created_at: float
    states: dict[str, int]
    cursor: int = 0


class Candidate(Model, kw_only=True):
    """An endpoint that a task's owner may use, as far as one task is concerned."""

    endpoint_id: str
    endpoint: str
    online: bool
    workers: int = 0
    reason: str = ""
    """Why the task cannot run there now; empty where it can."""
    run_s: float | None = None
    """For how long it would run, as predicted; None where nothing is known, or the policy predicts nothing."""
    wait_s: float | None = None
    """Until a worker would be free, as predicted; None where there is none, and none is coming."""
    chosen: bool = False
    """Whether its last attempt went there."""


class Explanation(Model, kw_only=True):
    """Why a task runs where it does, by what is known now."""

    task_id: str
    state: str
    policy: str
    target: str
    """As it was submitted."""
    bound_to: str = ""
    """The endpoint it can run at alone: named by its submitter, or chosen at once by a policy that binds early."""
    candidates: list[Candidate] = []
    endpoint: str = ""
    """Where its last attempt went."""
    leased_at: float | None = None
    """When that was decided."""
    waited_s: float | None = None
    """From its submission until then."""
    run_s: float | None = None
    """For how long it ran there, if it has."""
    best: str = ""
    """Where it would run shortest, as predicted now."""
    regret_s: float | None = None
    """By how much it ran longer than predicted for the best candidate, in hindsight; negative where it was quicker."""
