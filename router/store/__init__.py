"""Object storage: one protocol, a directory store, an S3 store, and the function that opens one by its URL."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from faas.errors import ConfigurationError
from router.store.protocol import (
    MAX_OBJECT_BYTES,
    MAX_UPLOAD_BYTES,
    SignedURL,
    Store,
    StoredObject,
    Verb,
    check_key,
)

__all__ = [
    "MAX_OBJECT_BYTES",
    "MAX_UPLOAD_BYTES",
    "SignedURL",
    "Store",
    "StoredObject",
    "Verb",
    "check_key",
    "open_store",
]

_FORMS = "Write file:///path/to/directory or s3://bucket/prefix."


def open_store(url: str, *, secret: bytes | None = None, service_url: str = "") -> Store:
    """Open the store a URL names; call ``check`` on it before use.

    Args:
        url: ``file:///path``, or ``s3://bucket/prefix`` with the optional parameters ``endpoint_url``,
            ``region``, ``addressing`` (path or virtual) and ``profile``. Keys for S3 come from where boto3
            finds them: environment variables, its configuration files, the machine's role.
        secret: signs the URLs of a directory store; None for one kept in the directory itself.
        service_url: put before a directory store's URLs; empty for relative ones.

    Returns:
        The store.

    Raises:
        ConfigurationError: the URL names no store, or what it needs is missing.

    Example:
        >>> store = open_store("s3://results/production?endpoint_url=https://s3.example.org")
    """
    parts = urlsplit(url)
    if parts.scheme == "file":
        return _open_directory(url, secret, service_url)
    if parts.scheme == "s3":
        try:
            from router.store.s3 import open_s3_store
        except ModuleNotFoundError as error:
            raise ConfigurationError(
                f"The store {url} needs {error.name}: pip install 'faas-federation[service]'."
            ) from error
        return open_s3_store(url)
    raise ConfigurationError(f"The store {url!r} is of no known kind. {_FORMS}")


def _open_directory(url: str, secret: bytes | None, service_url: str) -> Store:
    from router.store.directory import DirectoryStore
    from router.store.signing import load_secret

    parts = urlsplit(url)
    path = Path(unquote(parts.path))
    if parts.netloc not in ("", "localhost") or not path.is_absolute() or parts.query or parts.fragment:
        raise ConfigurationError(f"The store {url!r} does not name an absolute path. Write file:///path/to/directory.")
    if secret is None:
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"The store directory {path} cannot be made: {error.strerror}.") from error
        secret = load_secret(path / ".secret")
    return DirectoryStore(path, secret=secret, service_url=service_url)
