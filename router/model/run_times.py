"""How long tasks run where: function x endpoint x size, learned online in log space, with what is not known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, isfinite, log, sqrt

import numpy as np
from numpy.typing import NDArray

_SHORTEST_S = 1e-6
_PRIOR_FUNCTION = 100.0
_PRIOR_SITE = 0.5**2
_PRIOR_PAIR = 0.25**2
_PRIOR_SIZE = 0.5**2
"""Variances of logarithms: nothing is known of a new function; sites differ by a factor of about 1.6, a function's own
advantage at one site by 1.3; without evidence run times do not grow with size."""
_PRIOR_NOISE = 0.2**2
_LEAST_NOISE = 0.01**2
_DRIFT = 0.008**2
"""What is known ages by this variance with each observation, so that a site that changes is noticed."""
_NOISE_WEIGHT = 0.1
_CHANGED = 3
_PRIOR_CHANGE = 1.0
"""After so many outliers in a row, a function at a site is as good as unknown: this is its variance."""
_OUTLIER = 3.0
"""Surprises count up to this many standard deviations: one hung task does not move the mean."""


@dataclass
class _Effect:
    mean: float
    variance: float

    def take(self, gain: float, surprise: float) -> None:
        self.mean += self.variance * gain * surprise
        self.variance = self.variance * (1.0 - self.variance * gain) + _DRIFT


@dataclass
class _Function:
    level: _Effect
    size: _Effect
    noise: float
    centre: float
    """Logarithm of the size about which the level is told."""
    seen: int = 0


@dataclass
class _Pair:
    effect: _Effect
    seen: int = 0
    outliers: int = 0
    """In a row."""


@dataclass(frozen=True)
class Prediction:
    """A predicted time and how sure it is."""

    seconds: float
    spread: float
    """Standard deviation of the logarithm, from what is not known and from task to task."""
    optimistic_s: float
    """What to decide by: less than ``seconds`` where an endpoint is little known, so that it gets tried."""


class RunTimeModel:
    """Run times as ``exp(function + site + function-at-site + slope x log size)``, each term with its variance.

    One observation updates the terms by their share in the uncertainty: the Kalman filter with a diagonal covariance
    (as in assumed-density filtering: Minka 2001; Herbrich et al., TrueSkill, 2006). A pair that was never seen is
    predicted from function and site alone. Optimism in the face of uncertainty (Auer et al. 2002, UCB; Li et al. 2010,
    LinUCB) makes it explore, and boundedly: ``exp(-z s / (1 + n))`` for a standard deviation ``s`` of what concerns
    the site, after ``n`` observations of the pair.

    Example:
        >>> model = RunTimeModel()
        >>> for _ in range(20):
        ...     model.learn("fit", "theta", 100.0)
        ...     model.learn("fit", "cori", 50.0)
        ...     model.learn("plot", "theta", 10.0)
        >>> 4.0 < model.predict("plot", "cori").seconds < 8.0
        True
    """

    def __init__(self) -> None:
        self._functions: dict[str, _Function] = {}
        self._sites: dict[str, _Effect] = {}
        self._pairs: dict[tuple[str, str], _Pair] = {}

    def learn(
        self, function_id: str, endpoint_id: str, seconds: float, *, size_bytes: float | None = None, calls: int = 1
    ) -> None:
        """Take in a measured run time.

        Args:
            function_id: what ran.
            endpoint_id: where.
            seconds: how long it took, or the mean of some calls.
            size_bytes: of its inputs, or as declared; None where it is not known.
            calls: of how many calls ``seconds`` is the mean.
        """
        if not (isfinite(seconds) and seconds >= 0 and calls > 0):
            return
        measured = log(max(seconds, _SHORTEST_S))
        function = self._functions.get(function_id)
        if function is None:
            function = _Function(
                _Effect(measured, _PRIOR_FUNCTION),
                _Effect(0.0, _PRIOR_SIZE),
                _PRIOR_NOISE,
                _log_size(size_bytes) or 0.0,
            )
            self._functions[function_id] = function
        site = self._sites.setdefault(endpoint_id, _Effect(0.0, _PRIOR_SITE))
        pair = self._pairs.setdefault((function_id, endpoint_id), _Pair(_Effect(0.0, _PRIOR_PAIR)))
        size = self._centred(function, size_bytes)
        expected = function.level.mean + site.mean + pair.effect.mean + size * function.size.mean
        unknown = function.level.variance + site.variance + pair.effect.variance + size * size * function.size.variance
        noise = function.noise / calls
        surprise = measured - expected
        limit = _OUTLIER * sqrt(unknown + noise)
        pair.outliers = pair.outliers + 1 if abs(surprise) > limit else 0
        if pair.outliers >= _CHANGED:
            # Not an accident any more: the site, or the function, is another one than before.
            pair.outliers, pair.seen = 0, 0
            unknown += _PRIOR_CHANGE - pair.effect.variance
            pair.effect.variance = _PRIOR_CHANGE
            limit = _OUTLIER * sqrt(unknown + noise)
        surprise = max(-limit, min(limit, surprise))
        gain = 1.0 / (unknown + noise)
        slope = function.size
        slope.mean += slope.variance * size * gain * surprise
        slope.variance *= 1.0 - slope.variance * size * size * gain
        for effect in (function.level, site, pair.effect):
            effect.take(gain, surprise)
        # What remains unexplained, beyond what was expected of ignorance, is noise.
        unexplained = max(0.0, surprise * surprise - unknown) * calls
        weight = max(_NOISE_WEIGHT, 1.0 / (function.seen + 4.0))
        function.noise = max(_LEAST_NOISE, function.noise + weight * (unexplained - function.noise))
        function.seen += calls
        pair.seen += calls

    def predict(
        self, function_id: str, endpoint_id: str, *, size_bytes: float | None = None, z: float = 1.0
    ) -> Prediction | None:
        """How long a task would run.

        Args:
            function_id: what is to run.
            endpoint_id: where.
            size_bytes: of its inputs, where known.
            z: standard deviations of optimism about an endpoint that is not known.

        Returns:
            None for a function that never ran anywhere.
        """
        function = self._functions.get(function_id)
        if function is None:
            return None
        site = self._sites.get(endpoint_id) or _Effect(0.0, _PRIOR_SITE)
        pair = self._pairs.get((function_id, endpoint_id)) or _Pair(_Effect(0.0, _PRIOR_PAIR))
        size = self._centred(function, size_bytes)
        mean = function.level.mean + site.mean + pair.effect.mean + size * function.size.mean
        local = site.variance + pair.effect.variance
        unknown = function.level.variance + local + size * size * function.size.variance
        seconds = exp(min(mean + function.noise / 2, 50.0))
        return Prediction(
            seconds=seconds,
            spread=sqrt(unknown + function.noise),
            optimistic_s=seconds * exp(-z * sqrt(local) / (1 + pair.seen)),
        )

    def table(
        self,
        function_ids: Sequence[str],
        endpoint_ids: Sequence[str],
        sizes_bytes: Sequence[float | None] | None = None,
        *,
        z: float = 1.0,
    ) -> NDArray[np.float64]:
        """Optimistic predictions in seconds for all pairs at once; NaN in the rows of functions that never ran."""
        table = np.full((len(function_ids), len(endpoint_ids)), np.nan)
        sites = [self._sites.get(endpoint_id) for endpoint_id in endpoint_ids]
        site_mean = np.array([0.0 if site is None else site.mean for site in sites])
        site_variance = np.array([_PRIOR_SITE if site is None else site.variance for site in sites])
        unseen = np.exp(site_mean - z * np.sqrt(site_variance + _PRIOR_PAIR))
        columns = {endpoint_id: column for column, endpoint_id in enumerate(endpoint_ids)}
        rows: dict[str, list[int]] = {}
        for row, function_id in enumerate(function_ids):
            function = self._functions.get(function_id)
            if function is None:
                continue
            size = self._centred(function, sizes_bytes[row] if sizes_bytes else None)
            base = exp(min(function.level.mean + function.noise / 2 + size * function.size.mean, 50.0))
            table[row] = base * unseen
            rows.setdefault(function_id, []).append(row)
        for (function_id, endpoint_id), pair in self._pairs.items():
            at, column = rows.get(function_id), columns.get(endpoint_id)
            if at is not None and column is not None:
                local = sqrt(site_variance[column] + pair.effect.variance)
                correction = exp(pair.effect.mean + site_mean[column] - z * local / (1 + pair.seen)) / unseen[column]
                for row in at:
                    table[row, column] *= correction
        return table

    def knows(self, function_id: str) -> bool:
        """Whether a function ever ran anywhere."""
        return function_id in self._functions

    def to_rows(self) -> list[tuple[str, str, str, float, float, float, float, int]]:
        """All that was learned: kind, function, endpoint, mean, variance, noise, centre, times seen."""
        rows: list[tuple[str, str, str, float, float, float, float, int]] = []
        for function_id, one in self._functions.items():
            rows.append(
                ("function", function_id, "", one.level.mean, one.level.variance, one.noise, one.centre, one.seen)
            )
            rows.append(("size", function_id, "", one.size.mean, one.size.variance, 0.0, 0.0, 0))
        for endpoint_id, effect in self._sites.items():
            rows.append(("site", "", endpoint_id, effect.mean, effect.variance, 0.0, 0.0, 0))
        for (function_id, endpoint_id), pair in self._pairs.items():
            rows.append(("pair", function_id, endpoint_id, pair.effect.mean, pair.effect.variance, 0.0, 0.0, pair.seen))
        return rows

    @classmethod
    def from_rows(cls, rows: Sequence[tuple[str, str, str, float, float, float, float, int]]) -> RunTimeModel:
        """A model that knows what ``to_rows`` told, in any order."""
        model = cls()
        sizes: dict[str, _Effect] = {}
        for kind, function_id, endpoint_id, mean, variance, noise, centre, seen in rows:
            effect = _Effect(mean, variance)
            if kind == "function":
                model._functions[function_id] = _Function(effect, _Effect(0.0, _PRIOR_SIZE), noise, centre, seen)
            elif kind == "size":
                sizes[function_id] = effect
            elif kind == "site":
                model._sites[endpoint_id] = effect
            elif kind == "pair":
                model._pairs[function_id, endpoint_id] = _Pair(effect, seen)
        for function_id, slope in sizes.items():
            if function_id in model._functions:
                model._functions[function_id].size = slope
        return model

    @staticmethod
    def _centred(function: _Function, size_bytes: float | None) -> float:
        size = _log_size(size_bytes)
        return 0.0 if size is None else size - function.centre


def _log_size(size_bytes: float | None) -> float | None:
    return log(size_bytes) if size_bytes is not None and size_bytes >= 1 else None
