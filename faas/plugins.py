"""Finds what installed packages add: entry points by group, those of a checkout included."""

from __future__ import annotations

import re
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

_LINE = re.compile(r'^([\w-]+)\s*=\s*"([^"]+)"', re.MULTILINE)


def find_plugins(group: str) -> dict[str, EntryPoint]:
    """Entry points of a group by name, none of them loaded.

    In a checkout its ``pyproject.toml`` is read as well: what was installed may be older.

    Args:
        group: such as ``faas.commands``.

    Returns:
        In the order of their names.

    Example:
        >>> "run" in find_plugins("faas.commands")
        True
    """
    return dict(sorted({**{one.name: one for one in entry_points(group=group)}, **_of_checkout(group)}.items()))


def _of_checkout(group: str) -> dict[str, EntryPoint]:
    project = Path(__file__).resolve().parents[1] / "pyproject.toml"
    if not project.is_file():
        return {}
    # Not tomllib, which Python 3.10 does not have.
    heading = rf'^\[project\.entry-points\."{re.escape(group)}"\]\s*$(.*?)(?=^\[|\Z)'
    section = re.search(heading, project.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    lines = _LINE.findall(section.group(1)) if section else []
    return {name: EntryPoint(name, value, group) for name, value in lines}
