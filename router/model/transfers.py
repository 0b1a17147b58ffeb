"""How fast data get from a store to an endpoint, and back."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, isfinite, log

_WEIGHT = 0.2
_SEEN = 20.0
_TOO_SMALL_BYTES = 100_000
"""Smaller transfers measure latency."""


class Transfers:
    """Bandwidth by (store, endpoint), as a running mean of logarithms; a pair never seen has its endpoint's mean.

    Example:
        >>> transfers = Transfers()
        >>> transfers.learn("s3", "cori", 1e9, 10.0)
        >>> round(transfers.seconds("s3", "cori", 2e9), 6)
        20.0
    """

    def __init__(self) -> None:
        self._rates: dict[tuple[str, str], tuple[float, float]] = {}

    def learn(self, store: str, endpoint_id: str, size_bytes: float, seconds: float) -> None:
        """Take in a transfer."""
        if not (size_bytes >= _TOO_SMALL_BYTES and isfinite(seconds) and seconds > 0):
            return
        rate = log(size_bytes / seconds)
        before, seen = self._rates.get((store, endpoint_id), (rate, 0.0))
        weight = max(_WEIGHT, 1.0 / (seen + 1.0))
        self._rates[store, endpoint_id] = (before + weight * (rate - before), min(seen + 1.0, _SEEN))

    def seconds(self, store: str, endpoint_id: str, size_bytes: float) -> float:
        """How long so much would take; 0 where nothing is known of the endpoint or any other."""
        known = self._rates.get((store, endpoint_id))
        if known is not None:
            return size_bytes / exp(known[0])
        alike = [rate for (_, there), (rate, _) in self._rates.items() if there == endpoint_id]
        alike = alike or [rate for (from_, _), (rate, _) in self._rates.items() if from_ == store]
        return size_bytes / exp(sum(alike) / len(alike)) if alike else 0.0

    def to_rows(self) -> list[tuple[str, str, float, float]]:
        """All that was learned: store, endpoint, logarithm of bytes a second, times seen."""
        return [(*pair, *known) for pair, known in self._rates.items()]

    @classmethod
    def from_rows(cls, rows: Sequence[tuple[str, str, float, float]]) -> Transfers:
        """Transfers as ``to_rows`` told them."""
        transfers = cls()
        for store, endpoint_id, rate, seen in rows:
            transfers._rates[store, endpoint_id] = (rate, seen)
        return transfers
