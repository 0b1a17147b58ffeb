"""The least a makespan could be: a fluid schedule by someone who knew every wait and run time beforehand."""

from __future__ import annotations

import numpy as np

from router.plan import Floats

from .draws import Draws

_SUFFIXES = 24
_ROUNDS = 4
_HORIZON_S = 30 * 86_400.0


def fluid_bound(draws: Draws) -> float:
    """A lower bound of the makespan, from the first arrival on.

    Every site gets all its blocks asked for at the first arrival, and again whenever one ends; tasks are a fluid that
    may be split over all workers. For any prices ``p`` of worker-seconds at the sites, the work must be worth no more
    than the workers' time until then: ``sum_i min_s p_s d_is <= sum_s p_s C_s(T)`` (weak duality of the linear program of
    divisible load), and likewise for what arrives after any moment. Prices are inverse mean service times, improved a
    little. Never less than what the last arrivals take by themselves.

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
    up = [_intervals(draws, site, first) for site in sites]
    moments = np.unique(np.quantile(arrivals, np.linspace(0, 1, _SUFFIXES), method="lower"))
    least = float((arrivals + service.min(axis=1)).max())
    bound = least
    for moment in moments:
        after = service[arrivals >= moment]
        bound = max(bound, _best(after, up, float(moment)))
    return bound - first


def _best(service: Floats, up: list[Floats], since: float) -> float:
    """Over prices, the latest time by which the fluid cannot be through before."""
    prices = 1.0 / service.mean(axis=0)
    best = _through(service, up, since, prices)
    if len(prices) > 8 or (service / service[0] == service[0, 0] / service[0]).all():
        return best
    for step in np.geomspace(1.3, 1.03, _ROUNDS):
        for site in range(len(prices)):
            for factor in (step, 1 / step):
                tried = prices.copy()
                tried[site] *= factor
                if (reached := _through(service, up, since, tried)) > best:
                    best, prices = reached, tried
    return best


def _through(service: Floats, up: list[Floats], since: float, prices: Floats) -> float:
    """When the workers' time since then is worth as much as the work."""
    work = float((service * prices).min(axis=1).sum())
    starts = np.concatenate([np.maximum(each[:, 0], since) for each in up])
    ends = np.concatenate([np.maximum(each[:, 1], since) for each in up])
    worth = np.concatenate([each[:, 2] * price for each, price in zip(up, prices, strict=True)])
    moments = np.unique(np.concatenate([starts, ends]))
    done = np.array([(worth * np.clip(np.minimum(ends, at) - starts, 0, None)).sum() for at in moments])
    return float(np.interp(work, done, moments)) if work <= done[-1] else float("inf")


def _intervals(draws: Draws, name: str, first: float) -> Floats:
    """When a site has workers, at best: starts, ends and how many."""
    site = draws.sites[name]
    workers = site.nodes_per_block * site.workers_per_node
    gaps = [(outage.from_s, outage.from_s + outage.for_s) for outage in site.outages]
    gaps += [(each.from_s, each.until_s) for each in site.failing if each.rate == 1.0]
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
