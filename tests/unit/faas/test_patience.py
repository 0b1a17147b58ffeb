"""Waiting for a while: for the event, for the time, and never past a cancellation."""

from __future__ import annotations

import asyncio

import pytest

from faas.patience import wait_a_while

pytestmark = pytest.mark.anyio


async def test_it_ends_with_the_event_or_the_time() -> None:
    event = asyncio.Event()
    await wait_a_while(event, 0.01)
    event.set()
    await wait_a_while(event, None)


async def test_a_cancellation_together_with_the_event_is_not_lost() -> None:
    event = asyncio.Event()
    waiting = asyncio.ensure_future(wait_a_while(event, 60))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    event.set()
    await asyncio.sleep(0)  # the event has reached the inner task, and not yet the waiting one
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
