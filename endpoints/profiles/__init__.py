"""Named ways to get workers: a profile makes Parsl's provider for one kind of site, and knows its queue.

A new one is a module here that decorates a function with `profile`, named in ``_MODULES``.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from endpoints.job_queue import JobQueue, NoQueue
from faas.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

    from endpoints.configuration import Configuration

    ProviderMaker = Callable[[Configuration, str, Path], Any]

_MODULES = ("local", "slurm")


@dataclass(frozen=True)
class Profile:
    """One kind of site.

    Args:
        name: in ``config.yaml``.
        provider: from a configuration, a shape's name and the engine's own directory, a Parsl provider.
        queue: from a configuration, what finds and cancels jobs by name.
        on_this_host: whether workers run where the agent does.
    """

    name: str
    provider: ProviderMaker
    queue: Callable[[Configuration], JobQueue]
    on_this_host: bool = False


PROFILES: dict[str, Profile] = {}
"""Profiles by name; filled by `find_profile`."""


def profile(
    name: str, *, queue: Callable[[Configuration], JobQueue] = lambda _: NoQueue(), on_this_host: bool = False
) -> Callable[[ProviderMaker], ProviderMaker]:
    """Register what makes a profile's provider under a name."""

    def register(provider: ProviderMaker) -> ProviderMaker:
        PROFILES[name] = Profile(name, provider, queue, on_this_host)
        return provider

    return register


def find_profile(name: str) -> Profile:
    """The profile of this name.

    Raises:
        ConfigurationError: there is none; the message names those there are.
    """
    for module in _MODULES:
        importlib.import_module(f"{__name__}.{module}")
    try:
        return PROFILES[name]
    except KeyError:
        raise ConfigurationError(f"There is no profile {name!r}; there are: {', '.join(sorted(PROFILES))}.") from None
