"""What the agent hands to a worker and gets back: a chunk of tasks and their reports, as msgpack."""

from __future__ import annotations

import msgspec

from faas.models import LARGE_RESULT_BYTES, AttemptKey, FailureKind, Location


class ChunkTask(msgspec.Struct, omit_defaults=True, kw_only=True):
    """One attempt to run. Bytes over a few hundred kilobytes come as a file in the shared run directory."""

    attempt: AttemptKey
    task_id: str
    function_id: str
    payload: bytes = b""
    payload_file: str = ""
    values: dict[str, bytes] = {}
    """Packed values the arguments refer to, by task or object id."""
    value_files: dict[str, str] = {}
    """The same, as files; and files to read, by their names."""
    outputs: dict[str, str] = {}
    """Files to write, by their names: where they are to be in the end."""
    timeout_s: float | None = None
    ticket: str = ""
    """Leave to store its result, where that is large and there is a ``store``."""


class ResultStore(msgspec.Struct, kw_only=True):
    """Where a worker asks to store a large result by itself."""

    url: str
    """The service's."""


class Chunk(msgspec.Struct, omit_defaults=True, kw_only=True):
    """Tasks of one identity and one environment, run one after the other by one worker."""

    chunk_id: str
    owner_id: str
    tasks: list[ChunkTask]
    run_directory: str
    """Shared by agent and workers; holds ``code/``, ``journal/``, ``recalled/`` and ``results/``."""
    environment: str = "default"
    """The name of the environment, for messages."""
    interpreter: list[str] = []
    """Command that starts the runner's Python; empty for the worker's own."""
    setup: list[str] = []
    """Lines of shell to run before it."""
    variables: dict[str, str] = {}
    """Environment variables set for the runner on top of the worker's."""
    output_directory: str = ""
    """Where files with all that tasks print go; empty for nowhere."""
    output_bytes: int = 0
    """The size of one such file, at most."""
    large_result_bytes: int = LARGE_RESULT_BYTES
    """Results over this size come as files, or are stored by the worker."""
    store: ResultStore | None = None
    """None for results that all go by the agent."""


class TaskReport(msgspec.Struct, omit_defaults=True, kw_only=True):
    """What became of one attempt in a chunk."""

    attempt: AttemptKey
    state: str
    """``succeeded``, ``failed``, ``released`` (never started) or ``cancelled`` (recalled)."""
    result: bytes = b""
    """Packed value, or an encoded ``faas.models.Failure``."""
    result_file: str = ""
    """A large result, in ``results/`` of the run directory; ``result`` is then empty."""
    location: Location | None = None
    """Where the worker has stored a large result; there is then neither ``result`` nor a file."""
    kind: FailureKind | None = None
    message: str = ""
    started_at: float | None = None
    ended_at: float | None = None
    run_s: float | None = None
    stdout: str = ""
    stderr: str = ""
    peak_memory_bytes: int | None = None
    objects: tuple[str, ...] = ()
    """Ids of the objects that the result refers to."""


class ChunkReport(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A finished chunk, in the order of its tasks."""

    chunk_id: str
    host: str
    worker: str
    """``pid@host`` of the pilot's worker process."""
    python_version: str = ""
    """Of the runner."""
    node: str = ""
    """The node as its scheduler calls it."""
    job_id: str = ""
    block_id: str = ""
    runner: dict[str, str] = {}
    """What the runner said of itself, ``python``, ``packages`` and so on; only where that may be news."""
    broken: str = ""
    """Why the environment cannot run anything here; its tasks come back ``released``."""
    tasks: list[TaskReport]
