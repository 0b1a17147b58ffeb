"""How a returned value is printed, or written to a file."""

from __future__ import annotations

import json
import pickle
import pprint
from pathlib import Path
from typing import Any

import typer

from faas.commands.display import print_json
from faas.errors import ConfigurationError


def print_result(task_id: str, value: Any, as_json: bool) -> None:
    """Print a task's value: text as it is, anything else as Python writes it, or both ids and value in JSON."""
    if as_json:
        print_json({"task_id": task_id, "result": _json_able(value)})
    elif isinstance(value, str):
        print(value)
    else:
        pprint.pp(value)


def save_result(value: Any, path: Path) -> None:
    """Write a task's value to a file.

    Raises:
        ConfigurationError: the value does not fit the format that the name asks for, or the file cannot be written.
    """
    data = _packed(value, path.suffix.lower())
    try:
        path.write_bytes(data)
    except OSError as error:
        raise ConfigurationError(f"Cannot write {path}: {error.strerror}.") from error
    typer.echo(f"Wrote {len(data)} bytes to {path}.", err=True)


def _packed(value: Any, suffix: str) -> bytes:
    if suffix in (".pkl", ".pickle"):
        try:
            return pickle.dumps(value)
        except Exception as error:  # whatever the value's own __reduce__ may raise
            raise ConfigurationError(f"The result cannot be pickled here: {error}. Name the file .json.") from error
    if suffix == ".json":
        return json.dumps(_json_able(value), indent=2).encode()
    if isinstance(value, (bytes, bytearray)):
        return bytes(value)
    if isinstance(value, str):
        return value.encode()
    raise ConfigurationError(
        f"The result is a {type(value).__name__}, neither bytes nor text: name the file .json or .pkl."
    )


def _json_able(value: Any) -> Any:
    """The value in JSON's types: arrays become lists, and what has no such form its ``repr``."""
    try:
        return json.loads(json.dumps(value, default=_in_json))
    except (TypeError, ValueError):  # keys that JSON does not have, or a structure that holds itself
        return repr(value)


def _in_json(value: Any) -> Any:
    if hasattr(value, "tolist"):  # NumPy's scalars and arrays
        return value.tolist()
    if isinstance(value, (set, frozenset)):
        return list(value)
    return repr(value)
