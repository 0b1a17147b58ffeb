"""From a task's end, as the service tells it, to a value or the right exception."""

from __future__ import annotations

from typing import Any

import msgspec

from faas.errors import (
    REFUSALS,
    DependencyFailed,
    RequestRefused,
    SerializationFailed,
    TaskCancelled,
    TaskFailed,
    TaskLost,
    TaskTimedOut,
)
from faas.models import Failure, Refusal
from faas.packing import unpack_value

_BY_STATE: dict[str, type[TaskFailed]] = {
    "cancelled": TaskCancelled,
    "lost": TaskLost,
    "dependency_failed": DependencyFailed,
}
_BY_KIND: dict[str, type[TaskFailed]] = {
    "timeout": TaskTimedOut,
    "cancelled": TaskCancelled,
    "lost": TaskLost,
    "dependency": DependencyFailed,
}
_failures = msgspec.msgpack.Decoder(Failure)


def failure(task_id: str, state: str, message: str, data: bytes | bytearray | None) -> TaskFailed:
    """The exception for a task that ended without a value.

    Args:
        task_id: the task.
        state: how it ended.
        message: what the service says of it.
        data: the encoded :class:`faas.models.Failure`, if there is one.

    Returns:
        The exception, its ``__cause__`` the one the function raised, where that unpickles here.
    """
    kind = _BY_STATE.get(state, TaskFailed)
    if data:
        try:
            told = _failures.decode(data)
        except msgspec.MsgspecError as error:
            return kind(f"{message or 'The task failed'} (its failure record is unreadable: {error})", task_id=task_id)
        kind = _BY_KIND.get(told.kind, kind)
        failed = kind(told.message or message, task_id=task_id, remote_traceback=told.traceback)
        failed.__cause__ = _original(told)
        return failed
    return kind(message or f"The task ended {state.replace('_', ' ')}.", task_id=task_id)


def _original(told: Failure) -> BaseException | None:
    if not told.exception:
        return None
    try:
        original = unpack_value(told.exception)
    except SerializationFailed:
        return None  # its class does not exist here; message and traceback say what it was
    return original if isinstance(original, BaseException) else None


def outcome(task_id: str, state: str, message: str, data: bytes | bytearray | None) -> Any:
    """The value of a task that has ended.

    Raises:
        TaskFailed: it ended without a value.
        SerializationFailed: the value does not unpack here.
    """
    if state == "succeeded" and data is not None:
        return unpack_value(data)
    raise failure(task_id, state, message, data)


def refusal_error(refusal: Refusal) -> RequestRefused:
    """The exception for a task the service did not accept."""
    error = REFUSALS.get(refusal.status, RequestRefused)(refusal.detail, fix=refusal.fix, field=refusal.field)
    error.status = refusal.status
    return error
