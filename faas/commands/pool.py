"""`faas pool`: named selections of endpoints, to send tasks to."""

from __future__ import annotations

from typing import Annotated

import typer

from faas.commands.connection import open_link
from faas.commands.display import AsJson, pairs, print_fields, print_json, print_table
from faas.commands.inputs import parse_pairs
from faas.commands.lookup import segment
from faas.link import Link
from faas.models import Endpoint, Nothing, Pool

app = typer.Typer(no_args_is_help=True, help="Name a selection of endpoints to send tasks to.")


@app.command("create")
def create_pool(
    name: Annotated[str, typer.Argument(help="Used as `--endpoint NAME` and `endpoint_id=NAME`.")],
    endpoint: Annotated[list[str] | None, typer.Option(help="An endpoint's name or id; may be repeated.")] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Every endpoint with all these labels; may be repeated."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Create a pool of endpoints.

    Those that are listed, and those that have all the labels.
    """
    pool = Pool(name=name, endpoints=endpoint or [], labels=parse_pairs(label or []))
    if not pool.endpoints and not pool.labels:
        raise typer.BadParameter("A pool needs an --endpoint or a --label, or both.")
    with open_link() as link:
        created = link.request("POST", "/v1/pools", pool, response=Pool)
    if as_json:
        return print_json(created)
    parts = [", ".join(pool.endpoints), f"all with {pairs(pool.labels)}" if pool.labels else ""]
    typer.echo(f"Created pool {created.name}: {'; '.join(filter(None, parts))}")


@app.command("list")
def list_pools(as_json: AsJson = False) -> None:
    """List your pools."""
    with open_link() as link:
        pools = link.request("GET", "/v1/pools", response=list[Pool])
        names = _names(link) if pools else {}
    if as_json:
        return print_json(pools)
    print_table(
        ["name", "owner", "endpoints", "labels"],
        ([pool.name, pool.owner, _endpoints(pool, names), pairs(pool.labels)] for pool in pools),
        empty="No pools yet. Create one with: faas pool create NAME --endpoint E",
    )


@app.command("show")
def show_pool(name: str, as_json: AsJson = False) -> None:
    """Show which endpoints a pool selects."""
    with open_link() as link:
        pool = link.request("GET", f"/v1/pools/{segment(name)}", response=Pool)
        names = _names(link)
    if as_json:
        return print_json(pool)
    print_fields(
        {
            "pool": pool.name,
            "owner": pool.owner,
            "endpoints": _endpoints(pool, names),
            "labels": pairs(pool.labels),
        }
    )


@app.command("delete")
def delete_pool(name: str) -> None:
    """Delete a pool; its endpoints stay."""
    with open_link() as link:
        link.request("DELETE", f"/v1/pools/{segment(name)}", response=Nothing)
    typer.echo(f"Deleted pool {name}.")


def _endpoints(pool: Pool, names: dict[str, str]) -> str:
    """By name where it is known; the service keeps ids, for names may change."""
    return ", ".join(names.get(endpoint, endpoint) for endpoint in pool.endpoints)


def _names(link: Link) -> dict[str, str]:
    endpoints = link.request("GET", "/v1/endpoints", response=list[Endpoint])
    return {endpoint.endpoint_id: endpoint.name for endpoint in endpoints}
