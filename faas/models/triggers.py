"""Wire models of triggers: what starts a task when a file or an object has come."""

from __future__ import annotations

from typing import Literal

import msgspec

from .common import Count, Finite, Model, Whole

SourceKind = Literal["directory", "s3", "sqs", "push"]
EventState = Literal["task", "grouped", "complete", "waiting", "dead", "passed_over"]


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


class UploadEvents(Model, kw_only=True):
    """What a watcher has seen."""

    events: list[UploadEvent]


class TriggerSettings(Model, kw_only=True):
    """What a trigger takes, and what it makes of it."""

    prefix: str = ""
    suffix: str = ""
    arguments: dict[str, str] = {}
    """Parameter name to a text with ``{key}`` and the like in it; empty: the function's first argument is the file."""
    group_by: str = ""
    """A regular expression over keys: what its groups match names the dataset that a file belongs to."""
    complete_when: str = ""
    """When a dataset is complete: ``count=N``, ``marker=NAME`` or ``manifest=NAME``."""
    result_prefix: str = ""
    """Where results are written, beside the data; empty for nowhere."""
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
    """A directory's path, ``location:/folder``, ``s3://bucket/prefix``, ``sqs:URL`` or ``push``."""
    function: str
    target: str = "any"
    at: str = ""
    """The endpoint whose agent watches the directory; empty for the service, or whoever runs ``faas watch``."""
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
    at: str = ""
    settings: TriggerSettings = msgspec.field(default_factory=TriggerSettings)
    state: Literal["active", "paused"] = "active"
    reason: str = ""
    """Why it is paused."""
    created_at: float = 0.0
    counts: dict[str, int] = {}
    """Ledger entries by state."""
    secret: str = ""
    """For stores that push, told once, when the trigger is created."""


class TriggerEvent(Model, kw_only=True):
    """What became of an upload."""

    key: str
    state: EventState
    task_id: str = ""
    group: str = ""
    reason: str = ""
    seen_at: float = 0.0
