"""What stands for data elsewhere, at any depth of arguments and results: how it is pickled, and how it is noticed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

Reduced = tuple[Callable[..., Any], tuple[Any, ...]]


class Reference:
    """Stands for a task's result, an object or a file: pickled by name, put in its place where the task runs.

    Its pickle is a call of :func:`resolve` with what :meth:`reference` gives: a kind, what it is a name of, details.
    """

    __slots__ = ()

    def reference(self) -> tuple[Any, ...]:
        """The arguments of :func:`resolve`: kind, identifier and details, all of them plain texts and numbers."""
        raise NotImplementedError

    def __reduce__(self) -> Reduced:
        return reduced(*self.reference())


class TaskReference(Reference):
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

    def reference(self) -> tuple[str, str]:
        """See :meth:`Reference.reference`."""
        return "task", self.task_id


class Marker:
    """Stands before an argument that may hold references: unpickled in order, it tells whose argument they are.

    Args:
        parameter: the place of a positional argument, the name of another.
    """

    __slots__ = ("parameter",)

    def __init__(self, parameter: int | str) -> None:
        self.parameter = parameter

    def __reduce__(self) -> Reduced:
        return resolve, ("argument", self.parameter)


class _Again(Reference):
    """The same reference once more: pickled by itself, for a pickle remembers the first one's value for both."""

    __slots__ = ("_reference",)

    def __init__(self, reference: tuple[Any, ...]) -> None:
        self._reference = reference

    def reference(self) -> tuple[Any, ...]:
        return self._reference


class _Collector(threading.local):
    found: list[tuple[str, str]] | None = None


_collector = _Collector()


def reduced(kind: str, identifier: str, *details: Any) -> Reduced:
    """What a reference pickles as; it is noted if someone is :func:`collecting`.

    Args:
        kind: ``task``, ``object``, ``file`` or ``output``.
        identifier: the task's or object's id, the file's name.
        details: what else its place needs to know of it.
    """
    if _collector.found is not None:
        _collector.found.append((kind, identifier))
    return resolve, (kind, identifier, *details)


def resolve(kind: str, identifier: str, *details: Any) -> Any:
    """Called by name when arguments or results are unpickled; a runner puts values and files in place of this call.

    Raises:
        ValueError: a kind of reference that this version does not know.
    """
    if kind == "task":
        return TaskReference(identifier)
    if kind == "object":
        from faas.objects import ObjectRef

        return ObjectRef(identifier, *details)
    if kind in ("file", "output"):
        from faas import files

        return files.OutputFile(identifier) if kind == "output" else files.file_named(identifier)
    if kind == "argument":
        return Marker(identifier)
    raise ValueError(f"A reference to a {kind!r} is not understood by this version of faas.")


def marked(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
    """Arguments with a marker before each; only those that hold references are packed like this.

    Args:
        args: positional arguments.
        kwargs: keyword arguments.

    Returns:
        The same as pairs of marker and argument.
    """
    seen: set[int] = set()

    def apart(value: Any) -> Any:
        if isinstance(value, Reference):
            if id(value) in seen:
                return _Again(value.reference())
            seen.add(id(value))
        return value

    return (
        tuple((Marker(place), apart(value)) for place, value in enumerate(args)),
        {name: (Marker(name), apart(value)) for name, value in kwargs.items()},
    )


class collecting:  # noqa: N801  # used like a function; a class, for it is entered for every single task
    """Note the references in what this thread pickles meanwhile, repeats included: kind and identifier of each.

    Example:
        >>> import pickle
        >>> with collecting() as found:
        ...     _ = pickle.dumps(TaskReference("a"))
        >>> found
        [('task', 'a')]
    """

    __slots__ = ("_before",)

    def __enter__(self) -> list[tuple[str, str]]:
        self._before = _collector.found
        found: list[tuple[str, str]] = []
        _collector.found = found
        return found

    def __exit__(self, *_: object) -> None:
        _collector.found = self._before
