"""Waiting for an event for a while, in a way that a cancellation always ends."""

from __future__ import annotations

import asyncio


async def wait_a_while(event: asyncio.Event, timeout_s: float | None) -> None:
    """Wait until an event is set, or for so long.

    ``asyncio.wait_for`` would do, but before Python 3.12 it swallows a cancellation that comes together with the event,
    and whoever cancelled then waits for ever.

    Args:
        event: what to wait for.
        timeout_s: how long at most; None for ever.
    """
    waiting = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait({waiting}, timeout=timeout_s)
    finally:
        waiting.cancel()
