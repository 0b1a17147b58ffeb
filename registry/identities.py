"""Identities and their tokens. A token's secret is never stored, only its SHA-256."""

from __future__ import annotations

import hashlib
import secrets
import uuid
from dataclasses import dataclass
from typing import Literal

import sqlalchemy as sa

from faas.errors import Conflict, InvalidRequest, NotAuthenticated, NotFound, PermissionDenied
from faas.models import Scope, Token

from .database import Transaction
from .schema import endpoints, identities, tokens

TOKEN_PREFIX = "faas_"
_OWN_SCOPES = {"client", "submit", "endpoint"}


@dataclass(frozen=True)
class Principal:
    """Who is asking: the identity behind a token, and what the token may do."""

    identity_id: str
    identity: str
    scope: Scope | Literal["ticket"]
    token_id: str
    endpoint_id: str = ""
    expires_at: float | None = None
    attempt: str = ""
    """Of a ticket: the attempt whose result it is for, ``task_id.number``."""


def ensure_identity(transaction: Transaction, name: str) -> str:
    """The id of the identity with this name, created if it is new."""
    found = transaction.execute(
        sa.select(identities.c.identity_id).where(identities.c.name == name)
    ).scalar_one_or_none()
    return found or create_identity(transaction, name)


def create_identity(transaction: Transaction, name: str) -> str:
    """Create an identity.

    Raises:
        InvalidRequest: the name is empty, too long, or not printable.
        Conflict: the name is taken.
    """
    if not name.strip() or len(name) > 200 or not name.isprintable():
        raise InvalidRequest(f"{name!r} is no identity name.", fix="Use 1 to 200 printable characters.", field="name")
    if transaction.execute(sa.select(identities).where(identities.c.name == name)).first():
        raise Conflict(f"The identity {name!r} exists already.", field="name")
    identity_id = str(uuid.uuid4())
    transaction.execute(sa.insert(identities).values(identity_id=identity_id, name=name, created_at=transaction.now))
    return identity_id


def list_identities(transaction: Transaction) -> dict[str, str]:
    """Identity ids to names."""
    rows = transaction.execute(sa.select(identities.c.identity_id, identities.c.name).order_by(identities.c.name))
    return {row.identity_id: row.name for row in rows}


def create_token(
    transaction: Transaction,
    identity_id: str,
    scope: Scope,
    *,
    label: str = "",
    endpoint_id: str = "",
    expires_s: float | None = None,
) -> Token:
    """Mint a token; the answer is the only place where its secret ever appears."""
    secret = TOKEN_PREFIX + secrets.token_urlsafe(32)
    token_id = str(uuid.uuid4())
    expires_at = None if expires_s is None else transaction.now + expires_s
    transaction.execute(
        sa.insert(tokens).values(
            token_id=token_id,
            identity_id=identity_id,
            scope=scope,
            label=label,
            endpoint_id=endpoint_id or None,
            hash=token_hash(secret),
            created_at=transaction.now,
            expires_at=expires_at,
        )
    )
    name = transaction.execute(sa.select(identities.c.name).where(identities.c.identity_id == identity_id)).scalar_one()
    return Token(
        token_id=token_id,
        identity=name,
        scope=scope,
        label=label,
        endpoint_id=endpoint_id,
        created_at=transaction.now,
        expires_at=expires_at,
        secret=secret,
    )


def request_token(
    transaction: Transaction,
    principal: Principal,
    *,
    scope: Scope,
    label: str = "",
    identity: str = "",
    endpoint: str = "",
    expires_s: float | None = None,
) -> Token:
    """Mint a token on a person's behalf: for the own identity, or by an admin for any.

    Raises:
        PermissionDenied: the caller may not mint this scope, or not for this identity.
        NotFound: no such identity or endpoint.
    """
    admin = principal.scope == "admin"
    if scope not in _OWN_SCOPES and not admin:
        raise PermissionDenied(
            f"A {principal.scope} token cannot create a token of scope {scope}.", fix="Ask an administrator."
        )
    if expires_s is not None and not 0 < expires_s < 1e10:
        raise InvalidRequest(
            f"expires_s is {expires_s}.", fix="Give seconds above 0, or leave it out.", field="expires_s"
        )
    identity_id = principal.identity_id
    if identity and identity != principal.identity:
        if not admin:
            raise PermissionDenied(
                f"Only an admin token creates tokens for another identity ({identity}).", fix="Ask an administrator."
            )
        found = transaction.execute(
            sa.select(identities.c.identity_id).where(identities.c.name == identity)
        ).scalar_one_or_none()
        if found is None:
            raise NotFound(f"There is no identity {identity!r}.", field="identity")
        identity_id = found
    endpoint_id = ""
    if scope == "endpoint":
        bound = transaction.execute(
            sa.select(endpoints.c.endpoint_id)
            .where(endpoints.c.owner_id == identity_id)
            .where(sa.or_(endpoints.c.endpoint_id == endpoint, endpoints.c.name == endpoint))
        ).scalar_one_or_none()
        if bound is None:
            raise NotFound(
                f"There is no endpoint {endpoint!r} of this identity to bind the token to.",
                fix="Create it with `faas endpoint configure`.",
                field="endpoint",
            )
        endpoint_id = bound
    return create_token(transaction, identity_id, scope, label=label, endpoint_id=endpoint_id, expires_s=expires_s)


def authenticate(transaction: Transaction, secret: str) -> Principal:
    """Who holds this token.

    Raises:
        NotAuthenticated: it is unknown, revoked or expired.
    """
    row = transaction.execute(
        sa.select(tokens, identities.c.name)
        .join(identities, identities.c.identity_id == tokens.c.identity_id)
        .where(tokens.c.hash == token_hash(secret))
    ).first()
    if row is None:
        raise NotAuthenticated(
            "The token is not known here.", fix="Check FAAS_URL and FAAS_TOKEN, or the credentials file."
        )
    if row.revoked_at is not None:
        raise NotAuthenticated("The token was revoked.", fix="Create a new one with `faas token create`.")
    if row.expires_at is not None and row.expires_at <= transaction.now:
        raise NotAuthenticated("The token has expired.", fix="Create a new one with `faas token create`.")
    return Principal(row.identity_id, row.name, row.scope, row.token_id, row.endpoint_id or "", row.expires_at)


def list_tokens(transaction: Transaction, principal: Principal) -> list[Token]:
    """The caller's tokens, or everybody's for an admin; newest first."""
    query = (
        sa.select(tokens, identities.c.name)
        .join(identities, identities.c.identity_id == tokens.c.identity_id)
        .order_by(tokens.c.created_at.desc())
    )
    if principal.scope != "admin":
        query = query.where(tokens.c.identity_id == principal.identity_id)
    return [
        Token(
            token_id=row.token_id,
            identity=row.name,
            scope=row.scope,
            label=row.label,
            endpoint_id=row.endpoint_id or "",
            created_at=row.created_at,
            expires_at=row.expires_at,
            revoked_at=row.revoked_at,
        )
        for row in transaction.execute(query)
    ]


def revoke_token(transaction: Transaction, principal: Principal, token_id: str) -> None:
    """Revoke a token at once; revoking it again changes nothing.

    Raises:
        NotFound: no such token, or it is not the caller's.
    """
    row = transaction.execute(sa.select(tokens).where(tokens.c.token_id == token_id)).first()
    if row is None or (principal.scope != "admin" and row.identity_id != principal.identity_id):
        raise NotFound(f"There is no token {token_id!r} of yours.", fix="`faas token list` shows them.")
    if row.revoked_at is None:
        transaction.execute(sa.update(tokens).where(tokens.c.token_id == token_id).values(revoked_at=transaction.now))


def token_hash(secret: str) -> str:
    """SHA-256 of a token: enough for 256 random bits, which cannot be guessed offline."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
