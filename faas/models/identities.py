"""Wire models of identities and tokens."""

from __future__ import annotations

from .common import Finite, Model, Scope


class WhoAmI(Model, kw_only=True):
    """The identity and scope behind a token."""

    identity_id: str
    identity: str
    scope: Scope
    token_id: str
    endpoint_id: str = ""


class CreateIdentity(Model, kw_only=True):
    """An identity to create."""

    name: str


class Identity(Model, kw_only=True):
    """A person, an instrument or a programme: who owns functions, tasks and endpoints."""

    identity_id: str
    name: str


class CreateToken(Model, kw_only=True):
    """A token to mint; ``identity`` (default: the caller's own) takes an admin."""

    scope: Scope = "client"
    label: str = ""
    identity: str = ""
    endpoint: str = ""
    """An endpoint-scoped token is bound to this endpoint."""
    expires_s: Finite | None = None
    """Life time; None for no end."""


class Token(Model, kw_only=True):
    """A token as listed; the secret is shown only once, when it is created."""

    token_id: str
    identity: str
    scope: Scope
    label: str = ""
    endpoint_id: str = ""
    created_at: float = 0.0
    expires_at: float | None = None
    revoked_at: float | None = None
    secret: str = ""
