"""How long blocks wait in batch queues, learned from those that started and from those that still wait."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np
from numpy.typing import NDArray

_PRIOR_STARTS = 1.0
_PRIOR_S = 60.0
_KEEP = 0.85
"""What a start before the last one weighs: queues change, and about seven starts are remembered."""
STEPS = 5
"""As many equally likely waits stand for a distribution where one is summed up."""


@dataclass
class _Queue:
    starts: float = 0.0
    exposure_s: float = 0.0


@dataclass(frozen=True)
class WaitDistribution:
    """How much longer a block waits: a Lomax (Pareto II) distribution, heavy-tailed as queue waits are.

    Waits are exponential at a rate nobody knows; the rate's posterior after ``starts`` starts in ``exposure_s`` seconds
    of waiting is a gamma distribution, and what it predicts is Lomax. A block that waits still adds its age to the
    exposure and nothing to the starts: right-censored observations are exact here (Gelman et al., Bayesian Data
    Analysis, section 2.6). So the longer a block has waited, the longer it will.
    """

    starts: float
    exposure_s: float

    def quantile(self, probability: float) -> float:
        """Seconds from now within which the block starts with this probability.

        Example:
            >>> WaitDistribution(1.0, 60.0).quantile(0.5)
            60.0
        """
        return float(self.exposure_s * ((1.0 - probability) ** (-1.0 / self.starts) - 1.0))

    def chance(self, within_s: float) -> float:
        """Probability that the block starts within so many seconds."""
        return float(1.0 - (1.0 + max(0.0, within_s) / self.exposure_s) ** -self.starts)

    def steps(self) -> NDArray[np.float64]:
        """``STEPS`` equally likely waits."""
        middle = (np.arange(STEPS) + 0.5) / STEPS
        return np.asarray(self.exposure_s * ((1.0 - middle) ** (-1.0 / self.starts) - 1.0))


class QueueWaits:
    """Waits from a block's request to its first worker, by lane: endpoint and shape of worker.

    Example:
        >>> waits = QueueWaits()
        >>> for _ in range(20):
        ...     waits.started("theta", "default", 300.0)
        >>> 150 < waits.of("theta", "default").quantile(0.5) < 300
        True
    """

    def __init__(self) -> None:
        self._queues: dict[tuple[str, str], _Queue] = {}

    def started(self, endpoint_id: str, shape: str, waited_s: float) -> None:
        """A block got its first worker so long after its request."""
        if isfinite(waited_s) and waited_s >= 0:
            queue = self._queues.setdefault((endpoint_id, shape), _Queue())
            queue.starts = queue.starts * _KEEP + 1.0
            queue.exposure_s = queue.exposure_s * _KEEP + waited_s

    def cancelled(self, endpoint_id: str, shape: str, waited_s: float) -> None:
        """A block was cancelled, having waited so long for nothing."""
        if isfinite(waited_s) and waited_s >= 0:
            self._queues.setdefault((endpoint_id, shape), _Queue()).exposure_s += waited_s

    def of(self, endpoint_id: str, shape: str, waiting_s: Sequence[float] = ()) -> WaitDistribution:
        """How long a new block would wait, or how much longer one of those that wait.

        Args:
            endpoint_id: where.
            shape: of its workers.
            waiting_s: how long each block in the queue has waited.
        """
        queue = self._queues.get((endpoint_id, shape)) or _Queue()
        return WaitDistribution(
            _PRIOR_STARTS + queue.starts, max(1e-3, _PRIOR_S * _prior_weight(queue) + queue.exposure_s + sum(waiting_s))
        )

    def to_rows(self) -> list[tuple[str, str, float, float]]:
        """All that was learned: endpoint, shape, starts, seconds waited."""
        return [(*lane, queue.starts, queue.exposure_s) for lane, queue in self._queues.items()]

    @classmethod
    def from_rows(cls, rows: Sequence[tuple[str, str, float, float]]) -> QueueWaits:
        """Waits as ``to_rows`` told them."""
        waits = cls()
        for endpoint_id, shape, starts, exposure_s in rows:
            waits._queues[endpoint_id, shape] = _Queue(starts, exposure_s)
        return waits


def _prior_weight(queue: _Queue) -> float:
    """The prior start counts with the mean wait seen here, once there is one: it only keeps the tail heavy."""
    return 1.0 if queue.starts < 1 else queue.exposure_s / queue.starts / _PRIOR_S
