"""Wire models of results and of objects in the store."""

from __future__ import annotations

from typing import Literal

from .common import Location, Model, TaskState, Whole


class Grant(Model, kw_only=True):
    """Leave to do one thing to one object for some minutes."""

    object_id: str
    verb: Literal["GET", "PUT"]
    url: str
    headers: dict[str, str] = {}
    expires_at: float = 0.0
    sha256: str = ""
    """Of the whole object, in hexadecimal, where it is known: for whoever downloads it."""
    inline: bool = False
    """The service carries this store's bytes itself, so small ones may as well come with the report on them."""


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


ContentKind = Literal["value", "bytes"]
"""What an object holds: a packed value, see ``faas.packing``, or bytes as they are."""


class CreateObject(Model, kw_only=True):
    """An object to upload: large arguments, for instance."""

    size_bytes: Whole
    sha256: str = ""
    """Of its bytes, in hexadecimal, where it is known beforehand."""
    content: ContentKind = "value"
    name: str = ""
    """The name of the file it is a copy of, so that a copy of it elsewhere has the same ending."""
    keep: bool = False
    """Whether it stays when no task refers to it, once it is complete."""
    kind: Literal["argument", "object"] = "argument"
    """``object``: people refer to it; it is listed among theirs."""


class Upload(Model, kw_only=True):
    """An object on its way up: as one PUT, or in parts that may come in any order and be repeated."""

    object_id: str
    size_bytes: Whole
    part_bytes: Whole = 0
    """The size of every part but the last; 0 where ``grants`` has one for the whole."""
    grants: list[Grant] = []
    """One for the whole, or one for each part asked for, in that order."""
    stored: dict[int, str] = {}
    """Parts that the store has already, by number from 1, with what the store calls them."""


class WantParts(Model, kw_only=True):
    """Ask for grants for parts of an upload; also when those in hand have expired."""

    numbers: list[int]


class CompleteUpload(Model, kw_only=True):
    """Every part is stored."""

    parts: dict[int, str] = {}
    """Part number to what the store answered with, its ``ETag``."""
    sha256: str = ""
    """Of the whole, where it was not known when the upload began."""


class ObjectInfo(Model, kw_only=True):
    """An object as shown."""

    object_id: str
    size_bytes: int
    sha256: str = ""
    content: ContentKind = "value"
    name: str = ""
    kept: bool = False
    unfinished: bool = False
    """Its upload in parts is not complete: it can be gone on with, see ``Upload``."""
    created_at: float = 0.0
    expires_at: float | None = None
    """When it is deleted unless something comes to refer to it; None while something does."""
    location_key: str = ""
    """Its place in the store, for people who look for it there."""


class ObjectPage(Model, kw_only=True):
    """Objects of the caller's, the newest first."""

    objects: list[ObjectInfo]
    next_before: str = ""
    """What to give as ``before`` for the next page; empty on the last."""


class Input(Model, kw_only=True):
    """Something a leased task refers to, with leave to fetch it."""

    grant: Grant
    size_bytes: int = -1
    """-1 where it is not known."""
    sha256: str = ""
    """Empty where it is not known: of files in buckets."""
    content: ContentKind = "bytes"
    name: str = ""
    etag: str = ""
    """Of files in buckets: changes with what they hold."""
