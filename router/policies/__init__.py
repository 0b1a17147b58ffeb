"""Policies: what an endpoint that asks for work should run now. One in each file; `protocol` tells what they are."""

from __future__ import annotations

from faas.errors import ConfigurationError
from faas.plugins import find_plugins

from .fastest import Fastest
from .first_free import FirstFree
from .holds import Hold, Holds
from .pinned import Pinned
from .protocol import LOOKAHEAD_S, Capacity, Choice, LateBinding, Policy, Waiting
from .round_robin import RoundRobin
from .shortest_backlog import ShortestBacklog

GROUP = "faas.policies"
"""The entry points under which third parties name theirs: a class without arguments, or an object."""

POLICIES: dict[str, Policy] = {
    "pinned": Pinned(),
    "round_robin": RoundRobin(),
    "shortest_backlog": ShortestBacklog(),
    "first_free": FirstFree(),
    "fastest": Fastest(),
}
"""Our own policies by name."""


def find_policy(name: str) -> Policy:
    """A policy by its name: one of ours, or one that an installed package brings along.

    Raises:
        ConfigurationError: there is none of that name, or it cannot be loaded; the message has those there are.

    Example:
        >>> find_policy("fastest").early
        False
    """
    if name in POLICIES:
        return POLICIES[name]
    others = find_plugins(GROUP)
    if name not in others:
        raise ConfigurationError(f"There is no policy {name!r}. Choose one of {', '.join([*POLICIES, *others])}.")
    try:
        found = others[name].load()
        policy: Policy = found() if isinstance(found, type) else found
    except Exception as error:
        raise ConfigurationError(
            f"The policy {name!r} ({others[name].value}) cannot be loaded: {error}. "
            "Repair or uninstall the package it comes from, or choose another policy."
        ) from error
    return policy


__all__ = [
    "GROUP",
    "LOOKAHEAD_S",
    "POLICIES",
    "Capacity",
    "Choice",
    "Fastest",
    "FirstFree",
    "Hold",
    "Holds",
    "LateBinding",
    "Pinned",
    "Policy",
    "RoundRobin",
    "ShortestBacklog",
    "Waiting",
    "find_policy",
]
