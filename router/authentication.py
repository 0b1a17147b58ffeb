"""Who is asking: bearer tokens, looked up by hash and remembered for a few seconds."""

from __future__ import annotations

import time
from collections.abc import Collection

from faas import tickets
from faas.errors import NotAuthenticated, PermissionDenied
from registry import identities, uploads
from registry.database import Database
from registry.identities import Principal, token_hash

_REMEMBER_S = 5.0
"""How long another replica's revocation may go unnoticed; this one's works at once."""
_REMEMBER_TOKENS = 10_000


def _fix(scopes: Collection[str]) -> str:
    wanted = " or ".join(sorted(scopes))
    if wanted == "admin":
        return (
            f"Use one of scope {wanted}: set FAAS_CREDENTIALS to the admin-credentials.json in the service's data "
            "directory, or ask whoever runs the service."
        )
    return f"Use one of scope {wanted}: `faas token create --scope …`."


class Authenticator:
    """Turns Authorization headers into principals."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[str, tuple[Principal, float]] = {}
        self._revocations = 0

    async def authenticate(self, header: str | None, scopes: Collection[str]) -> Principal:
        """The principal behind a header, if its scope is one of these (admin counts as client).

        A worker's ticket is looked up each time: what it is good for ends with its task.

        Raises:
            NotAuthenticated: no token, or one that is wrong, expired or revoked.
            PermissionDenied: a good token of another scope.
        """
        kind, _, secret = (header or "").partition(" ")
        if kind.lower() != "bearer" or not secret.strip():
            raise NotAuthenticated(
                "The request has no token.", fix="Send `Authorization: Bearer TOKEN`, or set FAAS_TOKEN."
            )
        if secret.startswith(tickets.PREFIX):
            principal = await self._database.glance(uploads.ticket_holder, secret.strip())
        else:
            principal = await self._principal(secret.strip())
        if principal.scope not in scopes and not (principal.scope == "admin" and "client" in scopes):
            raise PermissionDenied(
                f"A token of scope {principal.scope} may not do this.",
                fix=_fix(scopes),
            )
        return principal

    async def _principal(self, secret: str) -> Principal:
        key = token_hash(secret)
        known = self._known.get(key)
        if known is not None:
            principal, remembered_at = known
            fresh = time.monotonic() - remembered_at < _REMEMBER_S
            if fresh and (principal.expires_at is None or time.time() < principal.expires_at):
                return principal
        revocations = self._revocations
        principal = await self._database.read(identities.authenticate, secret)
        if revocations != self._revocations:  # it may have been this one, after it was read
            return await self._principal(secret)
        if len(self._known) >= _REMEMBER_TOKENS:
            self._known.clear()
        self._known[key] = (principal, time.monotonic())
        return principal

    def forget(self) -> None:
        """Look every token up again: one was revoked."""
        self._revocations += 1
        self._known.clear()
