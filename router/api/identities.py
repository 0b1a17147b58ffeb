"""Routes: who am I, tokens, identities, and the service's health."""

from __future__ import annotations

from faas import __version__
from faas.models import CreateIdentity, CreateToken, Health, Identity, Nothing, Token, WhoAmI
from registry import identities
from router.api.routes import Call, Routes

routes = Routes("identities")


@routes.add("GET", "/health", answer=Health)
async def health(call: Call[None]) -> Health:
    """The service is up; no token needed."""
    return Health(status="ok", version=__version__)


@routes.add("GET", "/whoami", "client", "submit", "endpoint", "admin", answer=WhoAmI)
async def who_am_i(call: Call[None]) -> WhoAmI:
    """The identity and scope behind the token."""
    principal = call.principal
    assert principal.scope != "ticket"
    return WhoAmI(
        identity_id=principal.identity_id,
        identity=principal.identity,
        scope=principal.scope,
        token_id=principal.token_id,
        endpoint_id=principal.endpoint_id,
    )


@routes.add("POST", "/tokens", "client", body=CreateToken, answer=Token)
async def create_token(call: Call[CreateToken]) -> Token:
    """Mint a token: for the own identity, or, by an admin, for any. The secret is shown only here."""
    body = call.body
    return await call.service.database.write(
        identities.request_token,
        call.principal,
        scope=body.scope,
        label=body.label,
        identity=body.identity,
        endpoint=body.endpoint,
        expires_s=body.expires_s,
    )


@routes.add("GET", "/tokens", "client", answer=list[Token])
async def list_tokens(call: Call[None]) -> list[Token]:
    """The caller's tokens, or everybody's for an admin."""
    return await call.service.database.read(identities.list_tokens, call.principal)


@routes.add("DELETE", "/tokens/{token_id}", "client", answer=Nothing)
async def revoke_token(call: Call[None]) -> Nothing:
    """Revoke a token, at once."""
    await call.service.database.write(identities.revoke_token, call.principal, call.path("token_id"))
    call.service.authenticator.forget()
    return Nothing()


@routes.add("POST", "/identities", "admin", body=CreateIdentity, answer=Identity)
async def create_identity(call: Call[CreateIdentity]) -> Identity:
    """Create an identity; give it a token next."""
    identity_id = await call.service.database.write(identities.create_identity, call.body.name)
    return Identity(identity_id=identity_id, name=call.body.name)


@routes.add("GET", "/identities", "admin", answer=list[Identity])
async def list_identities(call: Call[None]) -> list[Identity]:
    """Every identity."""
    known = await call.service.database.read(identities.list_identities)
    return [Identity(identity_id=identity_id, name=name) for identity_id, name in known.items()]
