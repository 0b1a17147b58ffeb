"""The variables of a Globus Compute configuration, filled in as Globus Compute does it: with Jinja, in a sandbox."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import yaml
from jinja2 import StrictUndefined, TemplateError, meta, utils
from jinja2.sandbox import SandboxedEnvironment

from faas.errors import ConfigurationError

_RESERVED = ("parent_config", "user_runtime", "mapped_identity", "_GC")


class _Given(str):
    """Words of a person: they are put into the YAML once it is read, so that nothing in them is taken for YAML."""


def fill_in(text: str, variables: Mapping[str, Any], source: str) -> Any:
    """Read a configuration with variables.

    Args:
        text: YAML, with Jinja's ``{{ NAME }}`` in places.
        variables: their values.
        source: the file's name, for messages.

    Returns:
        What the YAML says, as plain values.

    Raises:
        ConfigurationError: a variable has no value, one is unknown, or the result is not YAML.
    """
    missing: set[str] = set()
    given: list[str] = []

    class Missing(StrictUndefined):
        """Notes its name where a value is needed, so that all that are missing are told at once."""

        def _note(self) -> None:
            if self._undefined_obj is not utils.missing:  # A part of something that is there: no variable.
                self._fail_with_undefined_error()
            missing.add(str(self._undefined_name))

        def __bool__(self) -> bool:  # type: ignore[override]
            self._note()
            return False

        def __str__(self) -> str:  # type: ignore[override]
            self._note()
            return ""

        def __getattr__(self, name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            self._note()
            return self

    def put(value: Any) -> Any:
        if isinstance(value, _Given):
            given.append(value)
            return f"\ue000{len(given) - 1}\ue001"
        if value is None or isinstance(value, bool):
            return {None: "null", True: "true", False: "false"}[value]
        return value

    jinja = SandboxedEnvironment(undefined=Missing, finalize=put, autoescape=False)
    jinja.filters["shell_escape"] = lambda value: _Given(shlex.quote(value)) if isinstance(value, str) else value
    values = {name: _Given(value) if isinstance(value, str) else value for name, value in variables.items()}
    try:
        known = meta.find_undeclared_variables(jinja.parse(text))
        # Nobody submits here from elsewhere: of such a person's Python nothing is known.
        circumstances = {"_GC": {"env": os.environ, "user_runtime": {}}, "env": os.environ}
        rendered = jinja.from_string(text).render({**values, **circumstances})
    except TemplateError as error:
        line = getattr(error, "lineno", None)
        raise ConfigurationError(f"{source}{f', line {line}' if line else ''}: {error}.") from None
    _complain(source, missing, set(variables) - known, sorted(known - {"_GC", "env"}))
    try:
        return _restore(yaml.safe_load(rendered), given)
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{source} is not YAML: {_readable(error)}") from None


def _complain(source: str, missing: set[str], unknown: set[str], known: list[str]) -> None:
    if reserved := missing.intersection(_RESERVED):
        raise ConfigurationError(
            f"{source} asks for {', '.join(sorted(reserved))}, which only an endpoint of many people has."
            " Write what it shall be in its place."
        )
    if missing:
        fix = " ".join(f"--set {name}=…" for name in sorted(missing))
        raise ConfigurationError(f"{source} has no value for {', '.join(sorted(missing))}. Give it: {fix}")
    for name in sorted(unknown):
        close = get_close_matches(name, known, 1)
        there = f"Did you mean {close[0]}?" if close else f"It has: {', '.join(known) or 'none'}."
        raise ConfigurationError(f"{source} has no variable {name}. {there}")


def _restore(value: Any, given: list[str]) -> Any:
    """Put a person's words where they belong."""
    if isinstance(value, dict):
        return {_restore(key, given): _restore(each, given) for key, each in value.items()}
    if isinstance(value, list):
        return [_restore(each, given) for each in value]
    if isinstance(value, str):
        return re.sub("\ue000(\\d+)\ue001", lambda mark: str(given[int(mark[1])]), value)
    return value


def _readable(error: yaml.YAMLError) -> str:
    return " ".join(str(error).replace("<unicode string>", "it").split())
