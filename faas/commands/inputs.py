"""What people type, checked: times, key=value pairs, JSON arguments, ids that may be abbreviated."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import typer

from faas.errors import ConfigurationError
from faas.requirements import name_problem, resources_problem

SHORTEST_BEGINNING = 4
"""Characters of an id that must be given; `task cancel ""` is not to mean the only task."""

_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|d|w)")
_LONGEST_S = 100 * 365.25 * 86400
_UNITS_S = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}


def parse_span(text: str) -> float:
    """Seconds in ``90s``, ``15m``, ``12h``, ``30d`` or ``2w``.

    Raises:
        BadParameter: none of these, or nothing at all.
    """
    match = _SPAN.fullmatch(text.strip().lower())
    seconds = float(match.group(1)) * _UNITS_S[match.group(2)] if match else 0.0
    if not 0 < seconds < _LONGEST_S:
        raise typer.BadParameter(f"{text!r} is not a length of time like 90s, 15m, 12h, 30d or 2w.")
    return seconds


def parse_moment(text: str) -> float:
    """Seconds since the epoch of ``2026-01-31``, ``2026-01-31T12:00``, or of a span ago: ``2h``.

    Raises:
        BadParameter: none of these.
    """
    if _SPAN.fullmatch(text.strip().lower()):
        return time.time() - parse_span(text)
    try:
        return datetime.fromisoformat(text.strip().replace("Z", "+00:00")).timestamp()
    except ValueError:
        raise typer.BadParameter(f"{text!r} is neither a time like 2026-01-31T12:00 nor a span like 2h.") from None


def parse_pairs(texts: Iterable[str]) -> dict[str, str]:
    """A mapping from ``key=value`` texts.

    Raises:
        BadParameter: a text has no ``=``, or nothing before it, or a key comes twice.
    """
    found: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise typer.BadParameter(f"{text!r} is not of the form key=value.")
        if key in found:
            raise typer.BadParameter(f"{key!r} is given twice.")
        found[key] = value
    return found


def parse_resources(texts: Iterable[str]) -> dict[str, float]:
    """Amounts by name from ``cores=4,gpus=1``, in one text or several.

    Raises:
        BadParameter: a text is not of that form, a name is unknown, or an amount impossible.
    """
    found: dict[str, float] = {}
    for name, text in parse_pairs(pair for each in texts for pair in each.split(",")).items():
        try:
            found[name] = float(text)
        except ValueError:
            raise typer.BadParameter(f"{name} is {text!r}, which is no number.") from None
    if problem := resources_problem(found):
        raise typer.BadParameter(problem)
    return found


def parse_environment(text: str) -> str:
    """The text, if it can be the name of an environment.

    Raises:
        BadParameter: it cannot.
    """
    if problem := name_problem(text, "environment"):
        raise typer.BadParameter(problem)
    return text


def parse_choices(texts: Iterable[str], choices: Sequence[str], option: str) -> list[str]:
    """The texts, if each is one of the choices.

    Args:
        texts: as typed.
        choices: what there is.
        option: where they were typed, for the message: ``--state``.

    Raises:
        BadParameter: one is not; the message has the choices.
    """
    found = list(texts)
    for text in found:
        if text not in choices:
            raise typer.BadParameter(f"{text!r} is not one of {', '.join(choices)}.", param_hint=f"'{option}'")
    return found


def parse_argument(text: str) -> Any:
    """The JSON value the text is, else the text itself: ``3``, ``[1, 2]``, ``true``, ``sample-7``."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def is_id(text: str) -> bool:
    """Whether the text is a whole id."""
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False


def match_id(text: str, ids: Iterable[str], what: str) -> str:
    """The one id that starts with the text.

    Args:
        text: an id, or the beginning of one.
        ids: where to look.
        what: for the message, ``task``.

    Raises:
        ConfigurationError: no id or several start so, or the text is too short to mean anything.
    """
    if len(text) < SHORTEST_BEGINNING:
        raise ConfigurationError(
            f"{text!r} is too short for a {what}'s id: give {SHORTEST_BEGINNING} characters or more."
        )
    found = sorted({one for one in ids if one.startswith(text.lower())})
    if text.lower() in found:
        return text.lower()
    if not found:
        raise ConfigurationError(f"No {what} has an id that starts with {text!r}. Look it up with `faas {what} list`.")
    if len(found) > 1:
        raise ConfigurationError(f"{len(found)} {what}s have ids that start with {text!r}. Give more of it.")
    return found[0]
