"""Wakes whoever waits for a change: long polls sleep on a condition, never on a clock.

A waiter listens *before* it looks, so a change between the look and the wait still wakes it. As a
notification from another replica can be lost, waiters look again every ``RECHECK_S`` as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from faas.patience import wait_a_while
from registry.changes import Changes

RECHECK_S = 5.0
WORK = "work"

T = TypeVar("T")


class Wakeups:
    """Waiters by topic: new work, the results of a group, the recalls of a session."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._closed = False

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wake waiters on this loop from now on."""
        self._loop = loop

    def publish(self, changes: Changes) -> None:
        """Tell of committed changes; safe from any thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake, changes)

    def close(self) -> None:
        """Let every waiter go, now and from now on: the service is stopping."""
        self._closed = True
        self._wake(Changes(everything=True))

    @contextmanager
    def listen(self, *topics: str) -> Iterator[asyncio.Event]:
        """An event that is set when one of the topics changes, from the moment of entering."""
        signal = asyncio.Event()
        for topic in topics:
            self._waiting.setdefault(topic, set()).add(signal)
        try:
            yield signal
        finally:
            for topic in topics:
                waiting = self._waiting[topic]
                waiting.discard(signal)
                if not waiting:
                    del self._waiting[topic]

    async def until(
        self,
        look: Callable[[], Awaitable[T | None]],
        wait_s: float,
        *topics: str,
        recheck_s: Callable[[], float] = lambda: RECHECK_S,
    ) -> T | None:
        """Look until there is something to see or the time is over.

        Args:
            look: returns what was waited for, or None.
            wait_s: how long to wait at most; 0 looks once.
            topics: when to look again.
            recheck_s: in how long to look again though nothing was heard; at most ``RECHECK_S``.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_s
        with self.listen(*topics) as signal:
            while True:
                seen = await look()
                remaining_s = deadline - loop.time()
                if seen is not None or remaining_s <= 0 or self._closed:
                    return seen
                await wait_a_while(signal, min(remaining_s, RECHECK_S, recheck_s()))
                signal.clear()

    def _wake(self, changes: Changes) -> None:
        if changes.everything:
            for waiting in self._waiting.values():
                for signal in waiting:
                    signal.set()
            return
        topics = [group(name) for name in changes.groups] + [session(name) for name in changes.sessions]
        if changes.work:
            topics.append(WORK)
        for topic in topics:
            for signal in self._waiting.get(topic, ()):
                signal.set()


def group(group_id: str) -> str:
    """The topic of a group's results."""
    return f"group {group_id}"


def session(session_id: str) -> str:
    """The topic of a session's recalls and of its end."""
    return f"session {session_id}"
