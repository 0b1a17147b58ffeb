"""Routes: endpoints and pools."""

from __future__ import annotations

from faas.errors import NotFound
from faas.models import Endpoint, EndpointCreated, Nothing, Pool, RegisterEndpoint
from registry import endpoints, identities
from registry.database import Transaction
from registry.identities import Principal
from router.api.routes import Call, Routes

routes = Routes("endpoints")


@routes.add("POST", "/endpoints", "client", body=RegisterEndpoint, answer=EndpointCreated)
async def register_endpoint(call: Call[RegisterEndpoint]) -> EndpointCreated:
    """Create an endpoint, or update the caller's of this name; either way its agent gets a new token."""
    return await call.service.database.write(_register, call.principal, call.body)


def _register(transaction: Transaction, principal: Principal, request: RegisterEndpoint) -> EndpointCreated:
    endpoint_id = endpoints.register(transaction, principal, request)
    token = identities.create_token(
        transaction,
        principal.identity_id,
        "endpoint",
        label=f"agent of endpoint {request.name}",
        endpoint_id=endpoint_id,
    )
    return EndpointCreated(endpoint_id=endpoint_id, name=request.name, token=token.secret)


@routes.add("GET", "/endpoints", "client", "submit", answer=list[Endpoint])
async def list_endpoints(call: Call[None]) -> list[Endpoint]:
    """The endpoints the caller may use, by name."""
    return await call.service.database.read(endpoints.shown, call.principal)


@routes.add("GET", "/endpoints/{endpoint}", "client", answer=Endpoint)
async def show_endpoint(call: Call[None]) -> Endpoint:
    """One endpoint the caller may use, by id or name."""
    reference = call.path("endpoint")
    known = await call.service.database.read(endpoints.shown, call.principal)
    for one in sorted(known, key=lambda endpoint: endpoint.owner != call.principal.identity):
        if reference in (one.endpoint_id, one.name):
            return one
    raise NotFound(f"There is no endpoint {reference!r} that you may use.", fix="`faas endpoint list` shows them.")


@routes.add("DELETE", "/endpoints/{endpoint}", "client", answer=Nothing)
async def delete_endpoint(call: Call[None]) -> Nothing:
    """Forget one of the caller's endpoints; it must not be running."""
    await call.service.database.write(endpoints.delete, call.principal, call.path("endpoint"))
    return Nothing()


@routes.add("POST", "/pools", "client", body=Pool, answer=Pool)
async def save_pool(call: Call[Pool]) -> Pool:
    """Create a pool, or replace the caller's of this name."""
    return await call.service.database.write(endpoints.save_pool, call.principal, call.body)


@routes.add("GET", "/pools", "client", "submit", answer=list[Pool])
async def list_pools(call: Call[None]) -> list[Pool]:
    """The caller's pools."""
    return await call.service.database.read(endpoints.list_pools, call.principal)


@routes.add("GET", "/pools/{name}", "client", answer=Pool)
async def show_pool(call: Call[None]) -> Pool:
    """One of the caller's pools."""
    return await call.service.database.read(endpoints.show_pool, call.principal, call.path("name"))


@routes.add("DELETE", "/pools/{name}", "client", answer=Nothing)
async def delete_pool(call: Call[None]) -> Nothing:
    """Forget a pool."""
    await call.service.database.write(endpoints.delete_pool, call.principal, call.path("name"))
    return Nothing()
