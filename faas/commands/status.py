"""`faas status`: is the service up, who am I to it, and which endpoints are there."""

from __future__ import annotations

from collections.abc import Iterable

import typer

from faas.commands.connection import open_link
from faas.commands.display import AsJson, abbreviate, ago, print_fields, print_json, print_table, print_wrapped
from faas.errors import PermissionDenied
from faas.models import Endpoint, Health, WhoAmI


def status(as_json: AsJson = False) -> None:
    """Show the service, who you are, and the endpoints."""
    with open_link() as link:
        health = link.request("GET", "/v1/health", response=Health)
        me = link.request("GET", "/v1/whoami", response=WhoAmI)
        try:
            endpoints = link.request("GET", "/v1/endpoints", response=list[Endpoint])
        except PermissionDenied:  # a token of another scope; the rest is still worth showing
            endpoints = []
    if as_json:
        return print_json({"url": link.url, "health": health, "whoami": me, "endpoints": endpoints})
    print_fields(
        {
            "service": f"{link.url} ({health.status}, version {health.version})",
            "you": f"{me.identity}, with a token of scope {me.scope}",
        }
    )
    typer.echo()
    short = abbreviate(endpoint.endpoint_id for endpoint in endpoints)
    print_table(
        ["endpoint", "id", "owner", "status", "workers", "idle", "held", "queued", "seen"],
        (
            [
                endpoint.name,
                short[endpoint.endpoint_id],
                endpoint.owner,
                endpoint.standing,
                str(endpoint.workers),
                str(endpoint.idle_workers),
                str(endpoint.held_tasks),
                str(endpoint.queued_tasks),
                ago(endpoint.last_seen_at),
            ]
            for endpoint in endpoints
        ),
        whole=2,
        empty="No endpoints yet. Set one up with: faas endpoint configure NAME",
    )
    tell_broken(endpoints)


def tell_broken(endpoints: Iterable[Endpoint]) -> None:
    """Say of each endpoint that cannot run anything why that is so."""
    for endpoint in endpoints:
        if endpoint.standing == "broken":
            print_wrapped(f"{endpoint.name} is broken: {endpoint.problem}", indent=2)
