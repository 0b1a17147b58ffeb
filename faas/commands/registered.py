"""Finds sub-commands through entry points, and loads one only when it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint
from typing import Any

from faas.errors import ConfigurationError
from faas.plugins import find_plugins

GROUP = "faas.commands"

SUMMARIES = {
    "endpoint": "Set up and run an endpoint on this machine.",
    "function": "List and show registered functions.",
    "location": "Name where files lie, at sites and in buckets.",
    "object": "Store data once, and use it in any number of tasks.",
    "pool": "Name a selection of endpoints to send tasks to.",
    "run": "Run a registered function and print its result.",
    "serve": "Run the service alone, in the foreground.",
    "simulate": "Predict how a workload runs over some sites, by policy.",
    "status": "Show the service, who you are, and what the endpoints do, live.",
    "task": "Find, follow and cancel tasks.",
    "token": "Create, list and revoke access tokens.",
    "trigger": "Have a function called whenever a file has come.",
    "up": "Run the service and one local endpoint, in the foreground.",
    "usage": "Show the node-hours and worker-hours used, and by whom.",
    "watch": "Tell a trigger of the files that land in a directory.",
}
"""First lines of the known commands' help, so that `faas --help` loads none of them."""

_EXTRAS = {"endpoints": "endpoint", "registry": "service", "router": "service"}
_OURS = frozenset({"faas", *_EXTRAS})


def find_commands() -> dict[str, EntryPoint]:
    """Every sub-command by name, none of them loaded: entry points in the group ``faas.commands``.

    Each is a Typer app or a plain function.
    """
    return find_plugins(GROUP)


def load_command(entry: EntryPoint) -> Any:
    """The Typer app or function behind an entry point.

    Raises:
        ConfigurationError: a package it needs is not installed; the message has the pip command.
    """
    try:
        return entry.load()
    except ModuleNotFoundError as error:
        raise missing_package(error, entry.name, entry.module) from error


def missing_package(error: ModuleNotFoundError, command: str, module: str) -> Exception:
    """What to raise when a command cannot import ``error.name``: the extra to install, if that is the reason.

    Args:
        error: as raised by an import.
        command: the sub-command it kept from working.
        module: where that command lives.
    """
    package = (error.name or "").partition(".")[0]
    if not package or package in _OURS:  # a fault in our own code; pip would not help
        return error
    home = module.partition(".")[0]
    if home in _EXTRAS:
        requirement = f"faas-federation[{_EXTRAS[home]}]"
        detail = f"`faas {command}` needs the extra {_EXTRAS[home]!r}: the package {package!r} is missing."
    else:
        requirement = package if home not in _OURS else "faas-federation"
        detail = f"`faas {command}` needs the package {package!r}, which is missing."
    return ConfigurationError(f"{detail} Install it with: pip install '{requirement}'")


def stand_in(summary: str, problem: Exception | None = None) -> Callable[[], None]:
    """A command that shows in the list with ``summary`` and, called, raises ``problem``."""

    def command() -> None:
        if problem is not None:
            raise problem

    command.__doc__ = summary
    return command
