"""Measured run times by function: an exponentially weighted mean of what agents report."""

from __future__ import annotations

_WEIGHT = 0.3
_MAX_FUNCTIONS = 10_000


class RunTimes:
    """Mean run time of each function, in seconds, in memory: relearned within moments of a restart."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def learn(self, measured: dict[str, float]) -> None:
        """Take in a report's mean run times."""
        for function_id, seconds in measured.items():
            if not 0 <= seconds < float("inf"):
                continue
            known = self.seconds.get(function_id)
            self.seconds[function_id] = seconds if known is None else known + _WEIGHT * (seconds - known)
        while len(self.seconds) > _MAX_FUNCTIONS:  # those first heard of longest ago
            del self.seconds[next(iter(self.seconds))]
