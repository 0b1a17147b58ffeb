"""`faas endpoint stats`: what endpoints did of late: tasks, rates, use of their workers, waits, run times."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from faas.commands.connection import open_client
from faas.commands.display import AsJson, print_json, print_table, span
from faas.commands.inputs import parse_moment
from faas.errors import NotFound

_LOOK_BACK_S = 3600.0


def show_stats(
    name: Annotated[str, typer.Argument(help="Only this endpoint.")] = "",
    since: Annotated[
        float | None,
        typer.Option(parser=parse_moment, metavar="WHEN", help="Since when: 7d (ago), 2026-01-31. [default: 1h]"),
    ] = None,
    everyone: Annotated[bool, typer.Option("--all", help="Everybody's tasks; for administrators.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what endpoints did with your tasks of late.

    How many, how fast, how busy their workers were.

    Times are medians of tasks that succeeded: `wait` until an endpoint took them, `run` in the function,
    `block` from the request of a batch job to its first worker. `busy` is the part of the workers' time that your
    tasks used. `--json` tells more.
    """
    from faas.analytics import endpoint_table

    begin = time.time() - _LOOK_BACK_S if since is None else since
    with open_client() as client:
        rows = endpoint_table(client.history(since=begin, everyone=everyone), begin)
    found = [row for row in rows if name in ("", row["endpoint"])]
    if name and not found:
        raise NotFound(
            f"Endpoint {name!r} had neither tasks of yours nor blocks since then.",
            fix="Look further back with --since 7d, or see `faas endpoint list`.",
        )
    if as_json:
        return print_json(found)
    print_table(
        ["endpoint", "tasks", "failed", "/min", "busy", "wait", "run", "run p95", "block"],
        map(_cells, found),
        empty="No endpoint had tasks of yours since then. Look further back with --since 7d.",
    )


def _cells(row: dict[str, Any]) -> list[str]:
    return [
        row["endpoint"],
        str(row["tasks"]),
        str(row["failed"]),
        "" if row["per_min"] is None else f"{row['per_min']:.3g}",
        "" if row["utilization"] is None else f"{row['utilization']:.0%}",
        _span(row["wait_median_s"]),
        _span(row["run_median_s"]),
        _span(row["run_p95_s"]),
        _span(row["block_wait_median_s"]),
    ]


def _span(seconds: float | None) -> str:
    return span(seconds if seconds is None else max(0.0, seconds))
