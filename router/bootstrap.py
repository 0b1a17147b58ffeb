"""First start: an identity for the person who runs the service, and credentials where programs look."""

from __future__ import annotations

import getpass
import os
from pathlib import Path

import msgspec

from faas.errors import ConfigurationError, NotAuthenticated
from faas.models import Scope
from registry import identities
from registry.database import Transaction
from router.service import Service

CREDENTIALS: dict[str, Scope] = {"credentials.json": "client", "admin-credentials.json": "admin"}
"""File in the data directory to the scope of the token in it."""


async def write_credentials(service: Service) -> None:
    """Write ``credentials.json`` and ``admin-credentials.json`` unless they hold good tokens already.

    Raises:
        ConfigurationError: the data directory cannot be written.
    """
    directory = service.settings.data_directory
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name, scope in CREDENTIALS.items():
            path = directory / name
            token = await _known_token(service, path)
            if token is None:
                token = await service.database.write(_mint, scope)
            _write(path, {"url": service.settings.public_url, "token": token})
    except OSError as error:
        raise ConfigurationError(
            f"The data directory {directory} cannot be written: {error.strerror}. Name another with --data-dir."
        ) from error


async def _known_token(service: Service, path: Path) -> str | None:
    try:
        token = str(msgspec.json.decode(path.read_bytes())["token"])
        await service.database.read(identities.authenticate, token)
    except (FileNotFoundError, msgspec.DecodeError, KeyError, TypeError, NotAuthenticated):
        return None
    return token


def _mint(transaction: Transaction, scope: Scope) -> str:
    identity_id = identities.ensure_identity(transaction, getpass.getuser())
    return identities.create_token(transaction, identity_id, scope, label="made at first start").secret


def _write(path: Path, content: dict[str, str]) -> None:
    """Replace a file at once, readable by its owner only."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(content)) + b"\n")
    partial.replace(path)
