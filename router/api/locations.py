"""Routes: locations, and what backs them."""

from __future__ import annotations

from faas.errors import ConfigurationError, InvalidRequest
from faas.models import LocationInfo, Nothing, SaveLocation
from registry import locations
from registry.locations import Registered
from router.api.routes import Call, Routes

routes = Routes("locations")


@routes.add("POST", "/locations", "admin", body=SaveLocation, answer=Nothing)
async def save_location(call: Call[SaveLocation]) -> Nothing:
    """Register a location, or replace the one of this name. Its bucket is read with the service's own keys."""
    service = call.service
    if call.body.url:
        try:
            await service.buckets.check(Registered(call.body.name, call.body.url, frozenset(), frozenset()))
        except ConfigurationError as error:
            raise InvalidRequest(str(error), field="url") from None
    await service.database.write(locations.save, call.principal, call.body)
    return Nothing()


@routes.add("GET", "/locations", "client", "admin", answer=list[LocationInfo])
async def list_locations(call: Call[None]) -> list[LocationInfo]:
    """The locations that the caller may use; all registered ones for an admin."""
    return await call.service.database.read(locations.shown, call.principal)


@routes.add("DELETE", "/locations/{name}", "admin", answer=Nothing)
async def remove_location(call: Call[None]) -> Nothing:
    """Forget a location; its bucket stays as it is."""
    await call.service.database.write(locations.remove, call.path("name"))
    return Nothing()
