"""The credentials file: a service's URL and a token, readable by its owner alone."""

from __future__ import annotations

import contextlib
import os
import stat
import warnings
from pathlib import Path

import msgspec

from faas.errors import ConfigurationError


class Credentials(msgspec.Struct, kw_only=True, omit_defaults=True, frozen=True):
    """Where a service is, and the token that opens it."""

    url: str
    token: str
    endpoint_id: str = ""
    """The endpoint an agent's token is bound to."""

    def __repr__(self) -> str:
        return f"Credentials(url={self.url!r}, token='…')"


def read_credentials(path: Path) -> Credentials:
    """Read a credentials file.

    Args:
        path: of the file.

    Returns:
        What it holds.

    Raises:
        ConfigurationError: missing, unreadable, readable by everyone, or not what it should be.
    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            data = file.read()
    except FileNotFoundError:
        raise ConfigurationError(f"There is no credentials file {path}. `faas up` writes one.") from None
    except OSError as error:
        raise ConfigurationError(f"The credentials file {path} cannot be read: {error.strerror}.") from error
    if mode & stat.S_IROTH:
        raise ConfigurationError(
            f"Everyone on this machine can read the token in {path} (mode {mode:04o}). Run: chmod 600 {path}"
        )
    if mode & stat.S_IRGRP:
        warnings.warn(f"Your group can read the token in {path} (mode {mode:04o}): chmod 600 {path}", stacklevel=2)
    try:
        return msgspec.json.decode(data, type=Credentials)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f'The credentials file {path} is not as it should be: {error}. It holds {{"url": "…", "token": "…"}}.'
        ) from None


def write_credentials(path: Path, credentials: Credentials) -> None:
    """Write a credentials file, mode 0600 from its first byte, in one step.

    Args:
        path: of the file; missing directories are made, private to the owner.
        credentials: what to write.

    Raises:
        ConfigurationError: it cannot be written.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(credentials)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise ConfigurationError(f"The credentials file {path} cannot be written: {error.strerror}.") from error
