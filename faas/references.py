"""A task's result as an argument of another task: what is pickled in its place, and how it is noticed."""

from __future__ import annotations

import threading
from collections.abc import Callable

Reduced = tuple[Callable[[str, str], "TaskReference"], tuple[str, str]]


class TaskReference:
    """Stands for the result of a task, anywhere in another task's arguments.

    The other task waits for this one, and gets the value where it runs; nothing passes through the client.

    Args:
        task_id: a task submitted before, by anyone whose tasks the caller may see.

    Example:
        >>> batch.add(total, args=([TaskReference(a), TaskReference(b)],))    # doctest: +SKIP
    """

    __slots__ = ("task_id",)

    def __init__(self, task_id: str) -> None:
        self.task_id = task_id

    def __repr__(self) -> str:
        return f"TaskReference({self.task_id!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TaskReference) and other.task_id == self.task_id

    def __hash__(self) -> int:
        return hash(self.task_id)

    def __reduce__(self) -> Reduced:
        return reduced(self.task_id)


class _Collector(threading.local):
    found: list[str] | None = None


_collector = _Collector()


def reduced(task_id: str) -> Reduced:
    """What a reference pickles as; the id is noted if someone is :func:`collecting`."""
    if _collector.found is not None:
        _collector.found.append(task_id)
    return resolve, ("task", task_id)


def resolve(kind: str, identifier: str) -> TaskReference:
    """Called by name when arguments are unpickled; the runner puts the task's value in place of this call."""
    if kind != "task":
        raise ValueError(f"A reference to a {kind!r} is not understood by this version of faas.")
    return TaskReference(identifier)


class collecting:  # noqa: N801  # used like a function; a class, for it is entered for every single task
    """Note the ids of tasks referred to by what this thread pickles meanwhile, repeats included.

    Example:
        >>> import pickle
        >>> with collecting() as found:
        ...     _ = pickle.dumps(TaskReference("a"))
        >>> found
        ['a']
    """

    __slots__ = ("_before",)

    def __enter__(self) -> list[str]:
        self._before = _collector.found
        found: list[str] = []
        _collector.found = found
        return found

    def __exit__(self, *_: object) -> None:
        _collector.found = self._before
