"""What all parts of an endpoint's ``config.yaml`` have in common."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict


class Section(BaseModel):
    """A part of the configuration: an unknown key is an error, and nothing changes once it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _text(value: Any) -> Any:
    """YAML reads ``account: 1234`` as a number, and a person means the words."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Text = Annotated[str, BeforeValidator(_text)]
"""A string that may look like a number."""


def _whole(value: Any) -> Any:
    """YAML reads ``50e9`` as a text, and a person means the number."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


Whole = Annotated[int, BeforeValidator(_whole)]
"""A whole number, which may be written as ``50e9``."""


def absolute_path(text: str) -> str:
    """A path with ``~`` and environment variables put in.

    Args:
        text: as written in the configuration.

    Raises:
        ValueError: it is not absolute then.
    """
    try:
        path = Path(os.path.expandvars(text)).expanduser()
    except RuntimeError:  # of somebody who is not known here
        path = Path(text)
    if not path.is_absolute() or "$" in str(path):
        raise ValueError(f"{text!r} is no absolute path; write one that starts with '/', '~' or a variable that is set")
    return os.path.normpath(path)
