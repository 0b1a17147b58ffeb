"""The future of a task that runs at some site."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Generator
from concurrent.futures import Future
from typing import Any, Protocol

from faas.references import Reference


class Canceller(Protocol):
    """Whoever sent the task and can take it back."""

    def cancel(self, future: TaskFuture) -> bool:
        """Cancel the future's task unless it runs; True if it is cancelled."""

    def cancel_later(self, future: TaskFuture) -> None:
        """The same in the background."""


class TaskFuture(Reference, Future[Any]):
    """A ``concurrent.futures.Future`` with a task id; it can also be awaited, or given to another task as argument.

    ``result()`` raises :class:`faas.TaskFailed` (or a subclass) when the task ended without a value;
    ``cancel()`` takes the task back while no site runs it.

    Example:
        >>> total = executor.submit(add, executor.submit(f, 1), executor.submit(f, 2))    # doctest: +SKIP
        >>> await total                                                                   # doctest: +SKIP
    """

    def __init__(self, task_id: str, canceller: Canceller) -> None:
        super().__init__()
        self.task_id = task_id
        self.cancelling = False
        """Someone waits for the service's answer whether the task could be cancelled."""
        self._canceller = canceller

    def __repr__(self) -> str:
        return f"<TaskFuture {self.task_id} {self._state.lower()}>"

    def reference(self) -> tuple[str, str]:
        """As an argument of another task it stands for its value: the task waits for this one."""
        return "task", self.task_id

    def cancel(self) -> bool:
        """Take the task back, unless it runs or has ended.

        Returns:
            True if the task will not run (any more); False if it is too late.
        """
        if self.done():
            return self.cancelled()
        return self._canceller.cancel(self)

    def end_cancelled(self) -> None:
        """Mark it cancelled and tell everyone who waits."""
        if super().cancel():
            self.set_running_or_notify_cancel()

    def __await__(self) -> Generator[Any, None, Any]:
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()

        def wake() -> None:
            if not waiter.done():
                waiter.set_result(None)

        def ended(_: Future[Any]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has closed: nobody waits any more
                loop.call_soon_threadsafe(wake)

        self.add_done_callback(ended)
        try:
            yield from waiter.__await__()
        except asyncio.CancelledError:
            self._canceller.cancel_later(self)  # as asyncio does with what it awaits, without stopping the loop
            raise
        return self.result()
