"""Named ways to get workers: a profile makes Parsl's provider for one kind of site, and knows its queue.

A new scheduler is a module here that decorates a function with `profile`, named in ``_MODULES``; a new machine with a
scheduler that is known is a few values in ``machines.py``.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from endpoints.job_queue import JobQueue, NoQueue
from endpoints.profiles.machines import MACHINES, Machine
from faas.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

    from endpoints.configuration import Configuration

    ProviderMaker = Callable[[Configuration, str, Path], Any]

_MODULES = ("local", "slurm", "pbspro", "lsf", "cobalt")


def _nothing(configuration: Configuration) -> None:
    """Most need nothing."""


@dataclass(frozen=True)
class Profile:
    """One kind of site.

    Args:
        name: in ``config.yaml``.
        provider: from a configuration, a shape's name and the engine's own directory, a Parsl provider.
        queue: from a configuration, what finds and cancels jobs by name.
        on_this_host: whether workers run where the agent does.
        check: complains of a configuration that lacks what only its owner knows.
        interface: of this host, that workers reach; empty for whichever its name stands for.
        machine: what is particular to it; None for a scheduler anywhere.
    """

    name: str
    provider: ProviderMaker
    queue: Callable[[Configuration], JobQueue]
    on_this_host: bool = False
    check: Callable[[Configuration], None] = _nothing
    interface: str = ""
    machine: Machine | None = None


PROFILES: dict[str, Profile] = {}
"""Profiles by name; filled by `find_profile`."""


def profile(
    name: str,
    *,
    queue: Callable[[Configuration], JobQueue] = lambda _: NoQueue(),
    on_this_host: bool = False,
    check: Callable[[Configuration], None] = _nothing,
) -> Callable[[ProviderMaker], ProviderMaker]:
    """Register what makes a profile's provider under a name."""

    def register(provider: ProviderMaker) -> ProviderMaker:
        PROFILES[name] = Profile(name, provider, queue, on_this_host, check)
        return provider

    return register


def _at(machine: Machine) -> Profile:
    """A machine's profile: its scheduler's, which is asked for more."""
    scheduler = PROFILES[machine.scheduler]

    def check(configuration: Configuration) -> None:
        for setting, what in machine.needs.items():
            if not getattr(configuration.scheduler, setting):
                raise ConfigurationError(
                    f"Profile {machine.name} needs {what}: give `faas endpoint configure {configuration.name}"
                    f" --{setting} …`, or write `scheduler: {{{setting}: …}}` into config.yaml."
                )
        scheduler.check(configuration)

    return replace(scheduler, name=machine.name, check=check, interface=machine.interface, machine=machine)


def find_profile(name: str) -> Profile:
    """The profile of this name.

    Raises:
        ConfigurationError: there is none; the message names those there are.
    """
    for module in _MODULES:
        importlib.import_module(f"{__name__}.{module}")
    if name in MACHINES and name not in PROFILES:
        PROFILES[name] = _at(MACHINES[name])
    try:
        return PROFILES[name]
    except KeyError:
        there_are = ", ".join([*PROFILES, *(machine for machine in MACHINES if machine not in PROFILES)])
        raise ConfigurationError(f"There is no profile {name!r}; there are: {there_are}.") from None


def check_profile(configuration: Configuration) -> None:
    """See whether blocks could be had as a configuration says, without asking for any.

    Raises:
        ConfigurationError: there is no such profile, it lacks what only the owner knows, or a setting of a Globus
            Compute configuration is wrong.
    """
    found = find_profile(configuration.profile)
    if configuration.engine_file is None:
        found.check(configuration)
    else:
        from endpoints.globus_config.signatures import check_engine_file

        if configuration.profile == "cobalt":
            found.check(configuration)
        check_engine_file(configuration.engine_file)
