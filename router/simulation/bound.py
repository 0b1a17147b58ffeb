"""The least a makespan could be: a fluid schedule by someone who knew every wait and run time beforehand."""

from __future__ import annotations

import numpy as np

from router.plan import Floats

from .draws import Draws

_SUFFIXES = 24
_ROUNDS = 4
_MANY_SITES = 8


def fluid_bound(draws: Draws) -> float:
    """A lower bound of the makespan, from the first arrival on.

    Every site gets all its blocks asked for at the first arrival, and again whenever one ends; tasks are a fluid that
    may be split over all workers. For any prices ``p`` of worker-seconds at the sites, the work must be worth no more
    than the workers' time until then: ``sum_i min_s p_s d_is <= sum_s p_s C_s(T)`` (weak duality of the linear program
    of divisible load), and likewise for what arrives after any moment. Prices are inverse mean service times, somewhat
    improved. Never less than what the last arrivals take by themselves.

    Args:
        draws: what chance decided.

    Returns:
        Seconds.
    """
    sites = list(draws.sites)
    arrivals = np.array([arrival.at for arrival in draws.arrivals])
    first = float(arrivals.min())
    service = np.array(
        [
            draws.factors[index] * draws.base_s(draws.scenario.workload[arrival.load].function, site)
            + draws.transfer_s(index, site)
            for index, arrival in enumerate(draws.arrivals)
            for site in sites
        ]
    ).reshape(len(arrivals), len(sites))
    up = [_intervals(draws, site, first, float(service[:, index].max())) for index, site in enumerate(sites)]
    moments = np.unique(np.quantile(arrivals, np.linspace(0, 1, _SUFFIXES), method="lower"))
    least = float((arrivals + service.min(axis=1)).max())
    bound = least
    for moment in moments:
        bound = max(bound, _best(service[arrivals >= moment], *_capacity(up, float(moment))))
    return bound - first


def _best(service: Floats, times: Floats, capacity: Floats) -> float:
    """Over prices, the latest time by which the fluid cannot be through before."""
    prices = 1.0 / service.mean(axis=0)
    best = _through(service, times, capacity, prices)
    if len(prices) > _MANY_SITES or np.allclose(service / service[:, :1], service[0] / service[0, 0]):
        return best
    for step in np.geomspace(1.3, 1.03, _ROUNDS):
        for site in range(len(prices)):
            for factor in (step, 1 / step):
                tried = prices.copy()
                tried[site] *= factor
                if (reached := _through(service, times, capacity, tried)) > best:
                    best, prices = reached, tried
    return best


def _through(service: Floats, times: Floats, capacity: Floats, prices: Floats) -> float:
    """When the workers' time is worth as much as the work."""
    work = float((service * prices).min(axis=1).sum())
    worth = capacity @ prices
    return float(np.interp(work, worth, times)) if work <= worth[-1] else float("inf")


def _capacity(up: list[Floats], since: float) -> tuple[Floats, Floats]:
    """Moments, and by then the worker-seconds of each site since a moment: linear in between."""
    times = np.unique(np.clip(np.concatenate([each[:, :2].ravel() for each in up]), since, None))
    by_site = [
        (each[:, 2] * np.clip(np.minimum(each[:, 1], times[:, None]) - np.maximum(each[:, 0], since), 0, None)).sum(
            axis=1
        )
        for each in up
    ]
    return times, np.stack(by_site, axis=1)


def _intervals(draws: Draws, name: str, first: float, longest_s: float) -> Floats:
    """When a site has workers, at best: starts, ends and how many. What it began before all failed, it finishes."""
    site = draws.sites[name]
    workers = site.nodes_per_block * site.workers_per_node
    gaps = [(outage.from_s, outage.from_s + outage.for_s) for outage in site.outages]
    gaps += [
        (each.from_s + longest_s, each.until_s)
        for each in site.failing
        if each.rate == 1.0 and each.from_s + longest_s < each.until_s
    ]
    found = []
    longest = first + max(10 * site.walltime_s, 100_000.0)
    for slot in range(site.max_blocks):
        at, number = first, 0
        while at < longest:
            at += max(1.0, draws.wait_s(name, slot, number))
            number += 1
            start, end = at + site.startup_s, at + site.walltime_s
            for part in _without(start, end, gaps):
                found.append((*part, workers))
            at = end
    return np.array(found or [(first, first, workers)], dtype=np.float64)


def _without(start: float, end: float, gaps: list[tuple[float, float]]) -> list[tuple[float, float]]:
    parts = [(start, end)]
    for low, high in gaps:
        parts = [
            piece
            for begin, finish in parts
            for piece in ((begin, min(finish, low)), (max(begin, high), finish))
            if piece[0] < piece[1]
        ]
    return parts
