"""Finds sub-commands through entry points, and loads one only when it is asked for."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from faas.errors import ConfigurationError

GROUP = "faas.commands"

SUMMARIES = {
    "endpoint": "Set up and run an endpoint on this machine.",
    "function": "List and show registered functions.",
    "pool": "Name a selection of endpoints to send tasks to.",
    "run": "Run a registered function and print its result.",
    "serve": "Run the service alone, in the foreground.",
    "status": "Show the service, who you are, and the endpoints; live in a terminal, until Ctrl-C.",
    "task": "Find, follow and cancel tasks.",
    "token": "Create, list and revoke access tokens.",
    "up": "Run the service and one local endpoint, in the foreground.",
    "usage": "Show the node-hours and worker-hours used, and by whom.",
}
"""First lines of the known commands' help, so that `faas --help` loads none of them."""

_EXTRAS = {"endpoints": "endpoint", "registry": "service", "router": "service"}
_OURS = frozenset({"faas", *_EXTRAS})
_SECTION = re.compile(rf'^\[project\.entry-points\."{re.escape(GROUP)}"\]\s*$(.*?)(?=^\[|\Z)', re.MULTILINE | re.DOTALL)
_LINE = re.compile(r'^([\w-]+)\s*=\s*"([^"]+)"', re.MULTILINE)


def find_commands() -> dict[str, EntryPoint]:
    """Every sub-command by name, none of them loaded.

    Installed packages register theirs in the entry points group ``faas.commands``: a Typer app or a plain function.
    In a checkout that is not installed, its ``pyproject.toml`` is read instead.
    """
    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    return dict(sorted((found or _of_checkout()).items()))


def _of_checkout() -> dict[str, EntryPoint]:
    project = Path(__file__).resolve().parents[2] / "pyproject.toml"
    if not project.is_file():
        return {}
    # Not tomllib, which Python 3.10 does not have.
    section = _SECTION.search(project.read_text("utf-8"))
    lines = _LINE.findall(section.group(1)) if section else []
    return {name: EntryPoint(name, value, GROUP) for name, value in lines}


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
