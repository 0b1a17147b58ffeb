"""Blocking calls made from the event loop, each with a time limit and none able to keep the process alive."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def in_thread(call: Callable[[], T], *, timeout_s: float | None = None, name: str = "blocking-call") -> T:
    """Run a blocking call in a daemon thread and await it.

    The loop's own thread pool is not used: its threads are joined at exit, so one call that never
    returns (a dead interchange answers nothing) would keep the agent from ending.

    Args:
        call: what to run.
        timeout_s: when to stop waiting; the thread itself cannot be stopped and is left behind.
        name: of the thread.

    Raises:
        asyncio.TimeoutError: no result in time.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[T] = loop.create_future()

    def settle(value: T | None, error: BaseException | None) -> None:
        if outcome.done():
            return
        if error is not None:
            outcome.set_exception(error)
        else:
            outcome.set_result(value)  # type: ignore[arg-type]

    def run() -> None:
        value: T | None = None
        failure: BaseException | None = None
        try:
            value = call()
        except BaseException as error:  # carried over to the waiting side
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop has closed meanwhile; nobody waits
            loop.call_soon_threadsafe(settle, value, failure)

    threading.Thread(target=run, name=name, daemon=True).start()
    return await asyncio.wait_for(outcome, timeout_s)
