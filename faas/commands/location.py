"""`faas location`: names for where files lie, at sites and in buckets."""

from __future__ import annotations

from typing import Annotated

import typer

from faas.commands.connection import open_link
from faas.commands.display import AsJson, print_fields, print_json, print_table
from faas.commands.lookup import segment
from faas.errors import NotFound
from faas.link import Link
from faas.models import LocationInfo, Nothing, SaveLocation

app = typer.Typer(no_args_is_help=True, help="Name where files lie, at sites and in buckets.")

Readers = Annotated[
    list[str] | None, typer.Option("--read", metavar="IDENTITY", help="Who may read; * for all. May be repeated.")
]
Writers = Annotated[
    list[str] | None, typer.Option("--write", metavar="IDENTITY", help="Who may write; * for all. May be repeated.")
]


@app.command("add")
def add_location(
    name: Annotated[str, typer.Argument(help="As in faas.File('NAME:/path').")],
    url: Annotated[str, typer.Argument(help="The bucket that backs it: s3://bucket/prefix[?endpoint_url=…].")] = "",
    read: Readers = None,
    write: Writers = None,
) -> None:
    """Register a location, or replace it; an admin does that.

    The service reads the bucket with its own keys. Endpoints that have the location on their file systems say so, and
    for whom, in their own configuration.
    """
    wanted = SaveLocation(name=name, url=url, readers=read or [], writers=write or [])
    with open_link() as link:
        link.request("POST", "/v1/locations", wanted, response=Nothing)
    typer.echo(f"Location {name} is backed by {url}." if url else f"Location {name} is registered.")


@app.command("allow")
def allow(name: str, read: Readers = None, write: Writers = None) -> None:
    """Let more identities read from a location's bucket, or write to it."""
    with open_link() as link:
        known = _location(link, name)
        wanted = SaveLocation(
            name=name,
            url=known.url,
            readers=sorted({*known.readers, *(read or [])}),
            writers=sorted({*known.writers, *(write or [])}),
        )
        link.request("POST", "/v1/locations", wanted, response=Nothing)
    typer.echo(
        f"Read by: {', '.join(wanted.readers) or 'nobody'}. Written by: {', '.join(wanted.writers) or 'nobody'}."
    )


@app.command("list")
def list_locations(as_json: AsJson = False) -> None:
    """List the locations that you may use."""
    with open_link() as link:
        found = link.request("GET", "/v1/locations", response=list[LocationInfo])
    if as_json:
        return print_json(found)
    print_table(
        ["name", "bucket", "you may", "endpoints"],
        ([each.name, each.url, _rights(each), ", ".join(each.endpoints)] for each in found),
        empty="No locations that you may use. An endpoint declares its own under locations: in its configuration.",
    )


@app.command("show")
def show_location(name: str, as_json: AsJson = False) -> None:
    """Show what backs a location, and for whom."""
    with open_link() as link:
        found = _location(link, name)
    if as_json:
        return print_json(found)
    print_fields(
        {
            "location": found.name,
            "bucket": found.url,
            "you may": _rights(found),
            "readers": ", ".join(found.readers),
            "writers": ", ".join(found.writers),
            "endpoints": ", ".join(found.endpoints),
        }
    )


@app.command("remove")
def remove_location(name: str) -> None:
    """Forget a location; what lies in its bucket stays there."""
    with open_link() as link:
        link.request("DELETE", f"/v1/locations/{segment(name)}", response=Nothing)
    typer.echo(f"Removed location {name}.")


def _location(link: Link, name: str) -> LocationInfo:
    for each in link.request("GET", "/v1/locations", response=list[LocationInfo]):
        if each.name == name:
            return each
    raise NotFound(f"There is no location {name!r} that you may use.", fix="`faas location list` shows them.")


def _rights(location: LocationInfo) -> str:
    if not location.url:
        return "as the endpoints say"
    rights = [word for word, given in (("read", location.may_read), ("write", location.may_write)) if given]
    return " and ".join(rights)
