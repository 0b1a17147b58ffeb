"""What all wire models share: their base, states, limits, and the smallest bodies."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

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
TASK_STATES: frozenset[str] = frozenset(get_args(TaskState))
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
INLINE_SEGMENT_BYTES = 256 * 1024
"""Segments up to this size may travel in the report, where their grant says so."""
LARGE_RESULT_BYTES = 1024 * 1024
"""Results over this size are objects of their own, unless the endpoint says otherwise."""
PART_BYTES = 64 * 1024 * 1024
"""Objects over this size travel in parts of it, or of more where there would be too many."""
MAX_PARTS = 10_000
"""Parts of one object, at most."""
MAX_BODY_BYTES = 32 * 1024 * 1024
"""A request body over this size is refused with 413."""
MAX_CODE_BYTES = 8 * 1024 * 1024
"""A function with its modules over this size is refused with 413."""
MAX_BATCH_TASKS = 5_000
"""Tasks in one submission, at most."""


Small = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
"""A whole number that an INTEGER column of any database holds."""
Whole = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
"""A whole number that any database holds."""
Finite = Annotated[float, msgspec.Meta(ge=-1e12, le=1e12)]
"""A number to reckon with: neither NaN nor infinite."""
MAX_AMOUNT = 1_000_000
"""Cores, GPUs or gigabytes that a worker can have or a task can ask for, at most."""
Amount = Annotated[float, msgspec.Meta(ge=0, le=MAX_AMOUNT)]
"""How much of something a worker has."""
Count = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
"""How many there are of something."""


class Model(msgspec.Struct, omit_defaults=True, gc=False):
    """Base of all wire models: defaults are not sent."""


class Location(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Where result bytes lie: an object and a range in it."""

    object_id: str
    offset: Whole
    length_bytes: Whole


class AttemptKey(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Names an attempt: the task's sequence number in the service, and which try it is."""

    sequence: Whole
    number: Small


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
