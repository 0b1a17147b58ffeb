"""Going on for a while when the service is away: a restart or a network outage loses nothing."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from faas.errors import ServiceUnavailable

R = TypeVar("R")
_LONGEST_PAUSE_S = 5.0


def persist(call: Callable[[], R], for_s: float, give_up: threading.Event | None = None) -> R:
    """Call until the service answers, for a while.

    Args:
        call: a request that may be sent twice.
        for_s: how long the service may be away.
        give_up: set it to end this early.

    Returns:
        What the call returned.

    Raises:
        ServiceUnavailable: it was away for longer.
    """
    deadline = time.monotonic() + for_s
    pause_s = 0.25
    waiting = give_up or threading.Event()
    while True:
        try:
            return call()
        except ServiceUnavailable:
            if time.monotonic() >= deadline or waiting.wait(random.uniform(0, pause_s)):
                raise
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
