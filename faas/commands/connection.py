"""Opens the way to the service for a command, with the credentials of whoever typed it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from faas.link import Link
from faas.settings import find_credentials

if TYPE_CHECKING:
    from faas.client import Client

_ATTEMPTS = 3
"""Fewer than a program makes: somebody is waiting, and can try again."""


def open_link() -> Link:
    """A link to the service.

    Raises:
        ConfigurationError: there are no credentials, or they are unusable; the message has the fix.
    """
    credentials = find_credentials()
    return Link(credentials.url, credentials.token, attempts=_ATTEMPTS)


def open_client() -> Client:
    """A client of the service, for commands that pack arguments or unpack results.

    Raises:
        ConfigurationError: there are no credentials, or they are unusable; the message has the fix.
    """
    from faas.client import Client  # slow to import, and few commands need it

    credentials = find_credentials()
    return Client(url=credentials.url, token=credentials.token)
