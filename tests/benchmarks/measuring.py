"""How everything here is measured: the same calls, the same statistics, for us and for the peers."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol


def no_op(_: int = 0) -> None:
    """Do nothing, as every peer does it."""


class Pool(Protocol):
    """What is measured: two workers behind calls that wait."""

    def call(self) -> Any:
        """Run one no-op and wait for its result."""

    def call_many(self, count: int) -> Any:
        """Run no-ops, all submitted at once, and wait for every result."""


def latency_ms(pool: Pool, count: int, warm_up: int) -> dict[str, float]:
    """Time single calls, one after the other.

    Args:
        pool: what is measured.
        count: calls that count.
        warm_up: calls before, that do not.

    Returns:
        The median (``p50``) and the 95th percentile (``p95``) in milliseconds.
    """
    for _ in range(warm_up):
        pool.call()
    times = []
    for _ in range(count):
        start = time.perf_counter()
        pool.call()
        times.append(1000 * (time.perf_counter() - start))
    return {"p50": statistics.median(times), "p95": statistics.quantiles(times, n=20)[-1]}


def rates(call_many: Callable[[int], Any], sizes: Iterable[int], repeats: int) -> dict[str, dict[str, Any]]:
    """Time many calls at once.

    Args:
        call_many: runs so many no-ops and waits for them.
        sizes: how many, in turn.
        repeats: how often each.

    Returns:
        For each size the ``median`` of tasks per second, and ``all`` of them.
    """
    found: dict[str, dict[str, Any]] = {}
    for size in sizes:
        measured = []
        for _ in range(repeats):
            start = time.perf_counter()
            call_many(size)
            measured.append(size / (time.perf_counter() - start))
        found[str(size)] = {"median": statistics.median(measured), "all": measured}
    return found


def measure(pool: Pool, *, calls: int, sizes: Iterable[int], repeats: int) -> dict[str, Any]:
    """Measure a pool: latency first, then throughput.

    Returns:
        ``latency_ms`` and ``per_s``.
    """
    latency = latency_ms(pool, calls, warm_up=max(20, calls // 5))
    return {"latency_ms": latency, "per_s": rates(pool.call_many, sizes, repeats)}
