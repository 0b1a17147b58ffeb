"""Weighted fair share: whose tasks come next, where several identities want the same workers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import exp, inf

HALF_LIFE_S = 3600.0
"""What was used so long ago counts half."""
_LN2 = 0.6931471805599453


@dataclass(frozen=True)
class Account:
    """What an identity has had in a pool."""

    used_s: float = 0.0
    """Worker-seconds, estimated when granted and settled when they end; the older, the less they count."""
    at: float = 0.0
    """When that was reckoned."""
    weight: float = 1.0

    def used_by(self, now: float) -> float:
        """Worker-seconds that count now."""
        return self.used_s * exp(-_LN2 * max(0.0, now - self.at) / HALF_LIFE_S)

    def charged(self, seconds: float, now: float) -> Account:
        """With so many more worker-seconds; fewer, where a task took less than estimated.

        Args:
            seconds: granted, or by how much an estimate was wrong.
            now: when.
        """
        return Account(max(0.0, self.used_by(now) + seconds), max(now, self.at), self.weight)


def deficits(accounts: Mapping[str, Account], wanting: Iterable[str], now: float) -> dict[str, float]:
    """By how many worker-seconds each identity is behind its fair share.

    The share is that of what was used by those who want something now: whoever wants nothing leaves theirs to the
    others, and is owed nothing for it later (use fades with ``HALF_LIFE_S``).

    Args:
        accounts: what everybody has had; without one, nothing at weight 1.
        wanting: identities with tasks that wait.
        now: when.

    Returns:
        By identity; they add up to nothing. Who is furthest behind comes first.

    Example:
        >>> accounts = {"APS": Account(300.0), "ALS": Account(100.0)}
        >>> deficits(accounts, ["APS", "ALS"], 0.0)
        {'APS': -100.0, 'ALS': 100.0}
    """
    present = list(dict.fromkeys(wanting))
    known = {identity: accounts.get(identity, Account()) for identity in present}
    used = {identity: one.used_by(now) for identity, one in known.items()}
    weights = sum(one.weight for one in known.values())
    total = sum(used.values())
    return {identity: total * known[identity].weight / weights - used[identity] for identity in present}


def allot(
    wanted_s: Mapping[str, float], accounts: Mapping[str, Account], capacity_s: float, now: float
) -> dict[str, float]:
    """Split worker-seconds between identities so that use by weight becomes as even as it can.

    Water is filled in: everybody is lifted to one level of use by weight, as high as the capacity reaches, and nobody
    gets more than is wanted (max-min fairness; Bertsekas and Gallager, Data Networks, 6.5.2).

    Args:
        wanted_s: worker-seconds each identity has waiting.
        accounts: what everybody has had.
        capacity_s: worker-seconds there are to give.
        now: when.

    Returns:
        Worker-seconds by identity; all of the capacity, or all that is wanted.

    Example:
        >>> allot({"APS": 1000.0, "ALS": 1000.0}, {"APS": Account(weight=3.0)}, 400.0, 0.0)
        {'APS': 300.0, 'ALS': 100.0}
    """
    if capacity_s >= sum(wanted_s.values()):
        return dict(wanted_s)
    bounds = {}
    for identity, wanted in wanted_s.items():
        account = accounts.get(identity, Account())
        low = account.used_by(now) / account.weight
        bounds[identity] = (low, low + wanted / account.weight, account.weight)
    level = _level(bounds.values(), capacity_s)
    return {
        identity: min(max(level - low, 0.0), high - low) * weight for identity, (low, high, weight) in bounds.items()
    }


def _level(bounds: Iterable[tuple[float, float, float]], capacity_s: float) -> float:
    """How high the water stands: capacity is poured between each identity's bounds, as wide as its weight."""
    steps = sorted(
        step for low, high, weight in bounds for step in ((low, weight), (high, -weight)) if high > low and weight > 0
    )
    level, width, left = -inf, 0.0, max(0.0, capacity_s)
    for at, change in steps:
        if width > 0:
            room = (at - level) * width
            if room >= left:
                return level + left / width
            left -= room
        level, width = at, width + change
    return level


def next_in_turn(wanting: Mapping[str, int], accounts: Mapping[str, Account], now: float) -> list[str]:
    """Identities in the order in which they are served: furthest behind by weight first, then who waits longest.

    Args:
        wanting: identities to the sequence of their first task that waits.
        accounts: what everybody has had.
        now: when.

    Example:
        >>> next_in_turn({"APS": 1, "ALS": 2}, {"APS": Account(10.0)}, 0.0)
        ['ALS', 'APS']
    """
    level = {identity: (one := accounts.get(identity, Account())).used_by(now) / one.weight for identity in wanting}
    return sorted(wanting, key=lambda identity: (level[identity], wanting[identity]))
