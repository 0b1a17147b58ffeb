"""What every object store can do, and the rules for keys; the stores beside it do it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import Literal, Protocol

from faas.errors import InvalidRequest

Verb = Literal["GET", "PUT"]

MAX_OBJECT_BYTES = 5 * 1024**3
"""One PUT carries at most this much: S3's limit, kept by every store so that moving between them changes nothing."""
MAX_KEY_CHARACTERS = 768
"""S3 allows 1,024 bytes, of which a prefix takes its share."""

_PART = "[A-Za-z0-9_=@+-][A-Za-z0-9._=@+-]{0,199}"
_KEY = re.compile(f"{_PART}(?:/{_PART})*")


@dataclass(frozen=True)
class SignedURL:
    """Leave to do one thing to one object, until it expires; whoever holds it needs no token.

    Args:
        url: absolute, or starting with ``/`` and then relative to the service's address.
        headers: to be sent with the request, as they are.
        expires_at: seconds since the epoch.
    """

    url: str
    headers: dict[str, str] = field(default_factory=dict)
    expires_at: float = 0.0


@dataclass(frozen=True)
class StoredObject:
    """An object as listed.

    Args:
        key: its name.
        size_bytes: its length.
        modified_at: when it was put, seconds since the epoch.
    """

    key: str
    size_bytes: int
    modified_at: float


class Store(Protocol):
    """Bytes under keys. All methods may be called from many coroutines of one event loop at once.

    A key is parts joined by ``/``, see ``check_key``. An object is whole or absent: nobody sees half
    an upload. A PUT of a key that exists replaces the object, so that an upload may be repeated.

    Every method may raise ``faas.errors.ServiceUnavailable`` when the store does not answer.
    """

    carried: bool
    """Whether the bytes pass through the service itself."""

    async def grant(self, key: str, verb: Verb, *, expires_s: float, size_bytes: int | None = None) -> SignedURL:
        """Mint a URL for one object and one verb.

        Args:
            key: the object; it need not exist.
            verb: GET (whole or by range) or PUT.
            expires_s: life time of the URL.
            size_bytes: pins a PUT to exactly this length; None for any up to ``MAX_OBJECT_BYTES``.

        Returns:
            The URL with the headers that go with it.

        Raises:
            InvalidRequest: not a key, or larger than ``MAX_OBJECT_BYTES``.
        """
        ...

    async def abort_upload(self, key: str, upload_id: str) -> None:
        """Drop an upload and its parts; one that does not exist is passed over."""
        ...

    async def write(self, key: str, data: bytes) -> None:
        """Put a small object from the service itself; durable on return.

        Args:
            key: the object.
            data: all its bytes.

        Raises:
            InvalidRequest: not a key.
        """
        ...

    async def read(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        """Read a range of an object.

        Args:
            key: the object.
            offset: the first byte.
            length: how many bytes; None for all to the end.

        Returns:
            The bytes; fewer than asked for only where the object ends.

        Raises:
            NotFound: no such object.
        """
        ...

    async def size(self, key: str) -> int | None:
        """Return the object's length in bytes, or None if there is no such object."""
        ...

    async def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; those that do not exist are passed over."""
        ...

    def list(self, prefix: str = "") -> AsyncIterator[StoredObject]:
        """List the objects whose key starts with ``prefix``, in the order of their keys.

        Args:
            prefix: any beginning of a key; it need not end at a ``/``.
        """
        ...

    async def check(self) -> None:
        """Find out, when the service starts, that the store can be used.

        Raises:
            ConfigurationError: it cannot; the message says what is wrong and how to mend it.
        """
        ...

    async def close(self) -> None:
        """Let go of threads and connections."""
        ...


def check_key(key: str) -> str:
    """Refuse anything but a plain key.

    A key is one or more parts joined by ``/``; a part is letters, digits and ``. _ = @ + -`` and does
    not begin with a dot, so no key names a file outside a directory, and none needs quoting in a shell.

    Args:
        key: what is to be checked.

    Returns:
        The key.

    Raises:
        InvalidRequest: it is not one.

    Example:
        >>> check_key("segments/5f0c/2026-11-22/9b1d")
        'segments/5f0c/2026-11-22/9b1d'
    """
    if len(key) > MAX_KEY_CHARACTERS or not _KEY.fullmatch(key):
        raise InvalidRequest(
            f"{key[:80]!r} is not an object key.",
            fix="Join parts of letters, digits and . _ = @ + - by '/'; no part is empty or begins with a dot.",
            field="key",
        )
    return key


def check_size(size_bytes: int | None) -> None:
    """Refuse a length no store takes.

    Raises:
        InvalidRequest: negative, or over ``MAX_OBJECT_BYTES``.
    """
    if size_bytes is not None and not 0 <= size_bytes <= MAX_OBJECT_BYTES:
        raise InvalidRequest(
            f"An object cannot have {size_bytes:,} bytes.",
            fix=f"Split it: one object holds 0 to {MAX_OBJECT_BYTES:,} bytes.",
            field="size_bytes",
        )
