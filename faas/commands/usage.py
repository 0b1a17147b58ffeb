"""`faas usage`: node-hours and worker-hours, by endpoint, identity or function."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, get_args

import typer

from faas.commands.connection import open_link
from faas.commands.display import AsJson, print_json, print_table
from faas.commands.inputs import parse_choices, parse_moment
from faas.models import Usage, UsageBy, UsageRow


def usage(
    by: Annotated[str, typer.Option(help="What to list: endpoint, identity or function.")] = "endpoint",
    endpoint: Annotated[str, typer.Option(help="Only this endpoint: name or id.")] = "",
    since: Annotated[
        float | None,
        typer.Option(parser=parse_moment, metavar="WHEN", help="Only what was used since: 7d (ago), 2026-01-31."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the node-hours and worker-hours used, and by whom.

    You see what your tasks used anywhere, and all that was used of your endpoints.
    """
    parse_choices([by], get_args(UsageBy), "--by")
    asked = {"by": by, "endpoint": endpoint, "since": "" if since is None else repr(since)}
    with open_link() as link:
        found = link.request(
            "GET", "/v1/usage", response=Usage, params={name: value for name, value in asked.items() if value}
        )
    if as_json:
        return print_json(found)
    rows = [_cells(row) for row in found.rows]
    if len(found.rows) > 1:
        rows.append(_cells(_total(found.rows)))
    print_table(
        [by, "owner", "node-hours", "reserved", "worker-hours", "utilised", "attempts"],
        rows,
        empty="Nothing was used." if since is None else "Nothing was used since then.",
    )


def _cells(row: UsageRow) -> list[str]:
    return [
        row.name,
        row.owner,
        _hours(row.settled_node_hours),
        _hours(row.reserved_node_hours),
        _hours(row.busy_worker_hours),
        "" if row.utilisation is None else f"{row.utilisation:.0%}",
        str(row.attempts),
    ]


def _total(rows: Sequence[UsageRow]) -> UsageRow:
    busy, whole = math.fsum(row.busy_worker_hours for row in rows), math.fsum(row.worker_hours for row in rows)
    return UsageRow(
        id="",
        name="total",
        settled_node_hours=math.fsum(row.settled_node_hours for row in rows),
        reserved_node_hours=math.fsum(row.reserved_node_hours for row in rows),
        busy_worker_hours=busy,
        worker_hours=whole,
        utilisation=busy / whole if whole > 0 else None,
        attempts=sum(row.attempts for row in rows),
    )


def _hours(hours: float) -> str:
    return f"{hours:,.3f}" if hours else "0"
