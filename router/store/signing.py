"""Signed URLs of the directory store: what is signed, and how a signature is checked."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, urlencode

from faas.errors import ConfigurationError, PermissionDenied

SECRET_BYTES = 32
_ASK_AGAIN = "Ask the service for a new grant; a signed URL is good for one object, one verb and some minutes."


class URLSigner:
    """Signs and checks URLs with one secret.

    Args:
        secret: key of the HMAC; at least 32 bytes.
        path: where the service serves objects.

    Raises:
        ConfigurationError: the secret is too short to be one.
    """

    def __init__(self, secret: bytes, path: str = "/v1/store/") -> None:
        if len(secret) < SECRET_BYTES:
            raise ConfigurationError(
                f"The secret for signed URLs is shorter than {SECRET_BYTES} bytes; make a new one."
            )
        self._secret = secret
        self._path = path

    def sign(self, key: str, verb: str, expires_at: int, size_bytes: int | None = None, part: str = "") -> str:
        """Return the signed path and query for an object.

        Args:
            key: the object.
            verb: the HTTP verb allowed.
            expires_at: the last second, since the epoch, in which it is.
            size_bytes: the length a PUT is pinned to.
            part: which part of which upload it puts, see ``router.store.partials``; empty for a whole object.
        """
        query = {"verb": verb, "expires": str(expires_at)}
        if size_bytes is not None:
            query["size"] = str(size_bytes)
        if part:
            query["part"] = part
        query["signature"] = self._signature(key, verb, query["expires"], query.get("size", ""), part)
        return f"{self._path}{quote(key)}?{urlencode(query)}"

    def check(self, key: str, verb: str, query: Mapping[str, str], now: float) -> int | None:
        """Check that a request is what was signed, and in time.

        Args:
            key: the object asked for.
            verb: the verb of the request; HEAD passes with a signature for GET, since it tells less.
            query: the parameters of the URL.
            now: seconds since the epoch.

        Returns:
            The length the upload is pinned to, if it is.

        Raises:
            PermissionDenied: it is not; the message says why.
        """
        signed_verb, expires, size = query.get("verb", ""), query.get("expires", ""), query.get("size", "")
        expected = self._signature(key, signed_verb, expires, size, query.get("part", ""))
        # Bytes, because compare_digest refuses text that is not ASCII.
        if not hmac.compare_digest(expected.encode(), query.get("signature", "").encode(errors="replace")):
            raise PermissionDenied(f"The signature does not fit {verb} of {key[:80]!r}.", fix=_ASK_AGAIN)
        if signed_verb != verb and (verb, signed_verb) != ("HEAD", "GET"):
            raise PermissionDenied(f"This URL is signed for {signed_verb}, not for {verb}.", fix=_ASK_AGAIN)
        late_s = now - int(expires)
        if late_s > 0:
            raise PermissionDenied(f"This URL expired {late_s:.0f} s ago.", fix=_ASK_AGAIN)
        return int(size) if size else None

    def _signature(self, key: str, verb: str, expires: str, size: str, part: str) -> str:
        # No field can hold a newline unescaped by the next one's position: a key is checked before it is
        # signed, and the others are numbers or a verb when they are.
        message = "\n".join((verb, expires, size, part, key)).encode(errors="replace")
        return hmac.new(self._secret, message, hashlib.sha256).hexdigest()


def load_secret(path: Path) -> bytes:
    """Read the secret kept in a file, making the file (mode 0600) the first time.

    Args:
        path: the file.

    Returns:
        The secret.

    Raises:
        ConfigurationError: the file cannot be read or made, or others may read it.
    """
    try:
        # Written apart and linked into place: of two processes starting at once, both get the first one's secret.
        if not path.exists():
            draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
            draft.touch(mode=0o600, exist_ok=False)
            try:
                draft.write_bytes(secrets.token_hex(SECRET_BYTES).encode())
                path.hardlink_to(draft)
            except FileExistsError:
                pass
            finally:
                draft.unlink()
        if path.stat().st_mode & 0o077:
            raise ConfigurationError(f"Others may read the secret in {path}: chmod 600 it, or delete it for a new one.")
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"The secret for signed URLs in {path} cannot be used: {error.strerror}.") from error
