"""Who chooses the site: the service when a worker is free, or the client when it submits, as in the reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from typing import Protocol

import faas


class Routing(Protocol):
    """Names where the next datasets go."""

    def targets(self, count: int) -> list[str]:
        """An endpoint or a pool for each of so many datasets that are submitted together."""
        ...


class Fixed:
    """All to one endpoint, or to one pool, within which the service decides.

    Args:
        target: its name.
    """

    def __init__(self, target: str) -> None:
        self._target = target

    def targets(self, count: int) -> list[str]:
        """See ``Routing.targets``."""
        return [self._target] * count


class RoundRobin:
    """Bound by the client, each dataset to the next site.

    Args:
        sites: names of endpoints.

    Example:
        >>> RoundRobin(["a", "b"]).targets(3)
        ['a', 'b', 'a']
    """

    def __init__(self, sites: Sequence[str]) -> None:
        self._sites = cycle(sites)

    def targets(self, count: int) -> list[str]:
        """See ``Routing.targets``."""
        return [next(self._sites) for _ in range(count)]


class ShortestBacklog:
    """Bound by the client, each dataset to the site that has the fewest of them not ended, whoever submitted those.

    Args:
        backlog: asks the service how many there are at each site.

    Example:
        >>> ShortestBacklog(lambda: {"a": 0, "b": 2}).targets(4)
        ['a', 'a', 'a', 'b']
    """

    def __init__(self, backlog: Callable[[], Mapping[str, int]]) -> None:
        self._backlog = backlog

    @classmethod
    def asking(cls, client: faas.Client) -> ShortestBacklog:
        """With what a client sees: the tasks bound to each endpoint, queued or held there."""
        return cls(lambda: {each.name: each.queued_tasks + each.held_tasks for each in client.get_endpoints()})

    def targets(self, count: int) -> list[str]:
        """See ``Routing.targets``."""
        backlog = dict(self._backlog())
        chosen = []
        for _ in range(count):
            site = min(backlog, key=lambda name: backlog[name])
            backlog[site] += 1
            chosen.append(site)
        return chosen


SERVICE_POLICY = "first_free"
"""What the service decides by, unless told otherwise."""
POLICIES = (SERVICE_POLICY, "round_robin", "shortest_backlog")
"""What can be compared: the service's choice, and the reference's two, bound by the client."""


def find_routing(policy: str, client: faas.Client, pool: str, sites: Sequence[str]) -> Routing:
    """A client's part in a policy.

    Args:
        policy: one of ``POLICIES``.
        client: submits.
        pool: of all the sites.
        sites: their names.

    Raises:
        ValueError: there is no such policy.
    """
    if policy == SERVICE_POLICY:
        return Fixed(pool)
    if policy == "round_robin":
        return RoundRobin(sites)
    if policy == "shortest_backlog":
        return ShortestBacklog.asking(client)
    raise ValueError(f"There is no policy {policy!r}; there are {', '.join(POLICIES)}.")
