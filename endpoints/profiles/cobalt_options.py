"""Cobalt's directives, as PSI/J takes them: by their full names."""

from __future__ import annotations

import shlex

from faas.errors import ConfigurationError


def read_options(lines: str) -> dict[str, str]:
    """Directives as PSI/J takes them.

    Raises:
        ConfigurationError: one has a short name, which PSI/J cannot give.

    Example:
        >>> read_options("#COBALT --attrs filesystems=home,theta-fs0")
        {'attrs': 'filesystems=home,theta-fs0'}
    """
    options = {}
    for line in filter(None, map(str.strip, lines.splitlines())):
        words = shlex.split(line.removeprefix("#COBALT"))
        name, equals, value = words[0].partition("=") if words else ("", "", "")
        if not name.startswith("--"):
            raise ConfigurationError(f"Write options of Cobalt in full, as `#COBALT --name value`, not {line!r}.")
        options[name[2:]] = value if equals else " ".join(words[1:])
    return options
