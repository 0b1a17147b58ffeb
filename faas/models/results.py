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


class CreateObject(Model, kw_only=True):
    """An object to upload: large arguments, for instance."""

    size_bytes: Whole
    sha256: str = ""
