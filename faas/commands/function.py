"""`faas function`: what is registered."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from faas.commands.connection import open_link
from faas.commands.display import AsJson, abbreviate, ago, amounts, moment, print_fields, print_json, print_table, size
from faas.commands.lookup import find_function
from faas.models import Function

app = typer.Typer(no_args_is_help=True, help="List and show registered functions.")


@app.command("list")
def list_functions(
    name: Annotated[str, typer.Option(help="Only versions of the function with this name.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, newest first.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List your functions and the public ones, newest first."""
    params: dict[str, str | int | float] = {"limit": limit}
    if name:
        params["name"] = name
    with open_link() as link:
        functions = link.request("GET", "/v1/functions", response=list[Function], params=params)
    if as_json:
        return print_json(functions)
    short = abbreviate(function.function_id for function in functions)
    print_table(
        ["id", "name", "owner", "public", "registered", "description"],
        (
            [
                short[function.function_id],
                function.name,
                function.owner,
                "yes" if function.public else "no",
                ago(function.registered_at),
                function.description,
            ]
            for function in functions
        ),
        empty="No functions yet. Register one in Python: faas.Client().register_function(fn)",
    )


@app.command("show")
def show_function(
    function: Annotated[str, typer.Argument(help="Name, id, or the beginning of an id.")],
    as_json: AsJson = False,
) -> None:
    """Show what is known of a function."""
    with open_link() as link:
        found = find_function(link, function)
    if as_json:
        return print_json(found)
    print_fields(
        {
            "function": found.name,
            "id": found.function_id,
            "owner": found.owner,
            "public": "yes" if found.public else "no",
            "registered": moment(found.registered_at),
            "code": f"{size(found.code_bytes)}, serializer {found.serializer}",
            "python": found.python_version,
            "description": found.description,
            "resources": amounts(found.resources),
            "environment": found.environment,
            "metadata": json.dumps(found.metadata) if found.metadata else "",
        }
    )
