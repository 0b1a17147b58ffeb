"""Wire models of triggers: what starts a task when a file or an object has come."""

from __future__ import annotations

from typing import Literal

import msgspec

from .common import Count, Finite, Model, Whole

SourceKind = Literal["directory", "s3", "sqs", "push"]
EventState = Literal["waiting", "task", "ended", "grouped", "complete", "dead", "passed_over"]
"""Waiting for a cap, a task that has not ended, one that has, a file of a dataset that is not complete, of one that
is, what could not become a task, and what is not meant to."""


class UploadEvent(Model, kw_only=True):
    """One version of an object or a file that has come."""

    bucket: str
    """The bucket; for files the directory that is watched."""
    key: str
    """Below the bucket or the directory, with ``/``."""
    size_bytes: Whole = 0
    etag: str = ""
    version_id: str = ""
    """Where the bucket keeps versions."""
    mtime_ns: Whole | None = None
    """Of files: when it was last changed."""
    sequencer: str = ""
    """Orders events of one object; never tells them apart."""
    event_time: Finite | None = None
    object_id: str = ""
    """The object that holds a copy of the file, where no site can reach the file itself."""
    sha256: str = ""
    """Of that object."""


class UploadEvents(Model, kw_only=True):
    """What a watcher has seen."""

    events: list[UploadEvent]


class TriggerSettings(Model, kw_only=True):
    """What a trigger takes, and what it makes of it."""

    prefix: str = ""
    suffix: str = ""
    arguments: dict[str, str] = {}
    """Parameter name to a text with ``{key}`` and the like in it; ``{file}`` by itself is the file, and ``{event}`` all
    that is known of it. Empty: the function's first argument is the file."""
    outputs: dict[str, str] = {}
    """Parameter name to the file that the task writes: ``location:/folder/{stem}.json``."""
    location: str = ""
    """What sites call the watched directory: ``location:/folder``. Empty: the function gets its path, as text."""
    group_by: str = ""
    """A regular expression over keys: what its groups match names the dataset that a file belongs to."""
    complete_when: str = ""
    """When a dataset is complete: ``count=N``, ``marker=NAME`` or ``manifest=NAME``."""
    listing: str = ""
    """``s3://bucket/prefix`` that is listed for what no event told of; of an ``s3`` source that is its source."""
    reconcile_s: Finite = 600.0
    """Between listings."""
    hourly_cap: Count = 1_000
    """Tasks in any hour, at most; what comes beyond waits."""
    concurrency_cap: Count = 100
    """Tasks that have not ended, at most; what comes beyond waits."""
    settle_s: Finite = 2.0
    """A file that nobody was seen to close is complete after this long without a change."""
    max_depth: Count = 5
    """How many triggers may have led to a file, one after the other."""
    tags: dict[str, str] = {}


class CreateTrigger(Model, kw_only=True):
    """A trigger to create."""

    name: str
    source: str
    """A directory's path on the service's machine, ``s3://bucket/prefix``, ``sqs:URL`` or ``push``."""
    function: str
    target: str = "any"
    settings: TriggerSettings = msgspec.field(default_factory=TriggerSettings)
    backfill: bool = False
    """Whether what is there already counts."""


class Trigger(Model, kw_only=True):
    """A trigger as shown."""

    trigger_id: str
    name: str
    owner: str
    source: str
    kind: SourceKind
    function: str
    target: str
    group_id: str = ""
    """Of all its tasks."""
    settings: TriggerSettings = msgspec.field(default_factory=TriggerSettings)
    state: Literal["active", "paused"] = "active"
    reason: str = ""
    """Why it is paused."""
    created_at: float = 0.0
    counts: dict[str, int] = {}
    """Ledger entries by state."""
    secret: str = ""
    """The path that stores post to, told once, when the trigger is created."""
    failures: int = 0
    """Tasks in a row that failed."""
    listed_at: float | None = None


class TriggerEvent(Model, kw_only=True):
    """What became of an upload."""

    key: str
    state: EventState
    task_id: str = ""
    dataset: str = ""
    reason: str = ""
    seen_at: float = 0.0


class Dataset(Model, kw_only=True):
    """A dataset that is not complete."""

    name: str
    files: int
    missing: str
    """In words."""


class Taken(Model, kw_only=True):
    """What became of a delivery."""

    new: int = 0
    """Uploads that no one had told of before."""
    repeats: int = 0
    passed_over: int = 0
    """Uploads that the trigger does not take."""


class TriggerTrial(Model, kw_only=True):
    """What a trigger would do with what is there already."""

    matching: int
    """How many; counting ends at 100,000."""
    sample: list[str]
    """Keys of the first."""
    run_s: float | None = None
    """What a task of the function took of late; None where none has run."""
    node_hours: float | None = None
    """Of all of them, with one task to a node."""
