"""How fast tasks of a class come in, where they come as a stream and not in bursts."""

from __future__ import annotations

from statistics import median

_BIN_S = 10.0
_BINS = 12
_LEAST = 3


class Arrivals:
    """Counts over the last two minutes, in bins of ten seconds; the rate is their median.

    A median, for what comes once in a while is no stream: of a burst of any size it makes nothing.

    Example:
        >>> stream, burst = Arrivals(), Arrivals()
        >>> burst.came(1000, 0.0)
        >>> for second in range(60):
        ...     stream.came(2, float(second))
        >>> stream.per_s(60.0), burst.per_s(60.0)
        (2.0, 0.0)
    """

    def __init__(self) -> None:
        self._bins: dict[int, int] = {}
        self._first: int | None = None

    def came(self, tasks: int, now: float) -> None:
        """Tasks came in."""
        at = int(now // _BIN_S)
        if self._first is None:
            self._first = at
        self._bins[at] = self._bins.get(at, 0) + tasks
        for old in [each for each in self._bins if each < at - _BINS]:
            del self._bins[old]

    def per_s(self, now: float) -> float:
        """Tasks a second, over whole bins that are past; 0 until there are a few."""
        if self._first is None:
            return 0.0
        current = int(now // _BIN_S)
        past = range(max(self._first, current - _BINS), current)
        if len(past) < _LEAST:
            return 0.0
        return median(self._bins.get(each, 0) for each in past) / _BIN_S
