"""`faas object`: data in the federation's store, to be used by any number of tasks."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated

import typer

from faas.client import Client
from faas.commands.connection import open_link
from faas.commands.display import AsJson, ago, print_fields, print_json, print_table, size, span
from faas.commands.lookup import segment
from faas.errors import ConfigurationError
from faas.models import Nothing, ObjectInfo, ObjectPage
from faas.transfer import Progress

app = typer.Typer(no_args_is_help=True, help="Store data once, and use it in any number of tasks.")

_QUIET_S = 2.0
_Id = Annotated[str, typer.Argument(metavar="ID", help="The object's id, as `faas object list` shows it.")]


@app.command("put")
def put_object(
    file: Annotated[Path, typer.Argument(help="The file.", exists=True, dir_okay=False)],
    keep: Annotated[bool, typer.Option(help="Keep it when no task refers to it; else it goes after a day.")] = False,
    name: Annotated[str | None, typer.Option(help="What it is to be called at a site; by default as it is.")] = None,
    resume: Annotated[str, typer.Option(metavar="ID", help="Go on with an upload that broke off.")] = "",
    as_json: AsJson = False,
) -> None:
    """Store a file; prints its id, for client.object(ID)."""
    try:
        with Client() as client, _shown(f"Storing {file.name}", file.stat().st_size) as told:
            stored = client.put(file, keep=keep, name=name, progress=told, resume=resume)
    except OSError as error:
        raise ConfigurationError(f"Cannot read {file}: {error.strerror}.") from error
    if as_json:
        return print_json({"object_id": stored.object_id, "size_bytes": stored.size_bytes, "sha256": stored.sha256})
    typer.echo(stored.object_id)


@app.command("get")
def get_object(
    object_id: _Id,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file, or a directory to put it in.")
    ] = None,
) -> None:
    """Fetch an object's bytes into a file.

    By default into one of the object's own name, here.
    """
    with Client() as client:
        found = client.object(object_id)
        target = output or Path(found.name or found.object_id)
        try:
            with _shown(f"Fetching {found.name or found.object_id}", found.size_bytes) as told:
                path = found.download(target, told)
        except OSError as error:
            raise ConfigurationError(f"Cannot write {target}: {error.strerror}.") from error
    typer.echo(f"Wrote {found.size_bytes:,} bytes to {path}.", err=True)


@app.command("list")
def list_objects(
    limit: Annotated[int, typer.Option(min=1, help="At most this many, the newest first.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List your objects."""
    found: list[ObjectInfo] = []
    before = ""
    with open_link() as link:
        while len(found) < limit:
            page = link.request(
                "GET",
                "/v1/objects",
                response=ObjectPage,
                params={"before": before, "limit": min(1000, limit - len(found))},
            )
            found += page.objects
            before = page.next_before
            if not before:
                break
    if as_json:
        return print_json(found)
    print_table(
        ["id", "name", "size", "stored", "stays"],
        (
            [each.object_id, each.name, size(each.size_bytes), ago(each.created_at), _stays_briefly(each)]
            for each in found
        ),
        empty="No objects yet. Store a file with: faas object put FILE",
    )
    if any(each.unfinished for each in found):
        typer.echo("Go on with an unfinished one: faas object put --resume ID FILE", err=True)


@app.command("show")
def show_object(object_id: _Id, as_json: AsJson = False) -> None:
    """Show what is known of an object."""
    with open_link() as link:
        info = link.request("GET", f"/v1/objects/{segment(object_id)}/info", response=ObjectInfo)
    if as_json:
        return print_json(info)
    print_fields(
        {
            "id": info.object_id,
            "name": info.name,
            "bytes": f"{info.size_bytes:,}",
            "holds": "a packed value" if info.content == "value" else "bytes as they are",
            "sha256": info.sha256,
            "stored": _time(info.created_at),
            "stays": _stays(info),
            "key in the store": info.location_key,
        }
    )


@app.command("keep")
def keep_object(object_id: _Id) -> None:
    """Keep an object until it is deleted.

    Others go a day after the last task that refers to them.
    """
    with open_link() as link:
        link.request("POST", f"/v1/objects/{segment(object_id)}/keep", Nothing(), response=ObjectInfo)
    typer.echo(f"Object {object_id} is kept.", err=True)


@app.command("delete")
def delete_object(object_id: _Id) -> None:
    """Delete an object that no task refers to."""
    with open_link() as link:
        link.request("DELETE", f"/v1/objects/{segment(object_id)}", response=Nothing)
    typer.echo(f"Deleted object {object_id}.", err=True)


def _stays(info: ObjectInfo) -> str:
    if info.unfinished:
        return f"unfinished, until {_time(info.expires_at or 0)}: faas object put --resume {info.object_id} FILE"
    if info.kept:
        return "until deleted"
    return "while used" if info.expires_at is None else f"until {_time(info.expires_at)}"


def _stays_briefly(info: ObjectInfo) -> str:
    if info.unfinished:
        return "unfinished"
    if info.kept:
        return "kept"
    return "in use" if info.expires_at is None else span(max(0.0, info.expires_at - time.time()))


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m-%d %H:%M")


@contextmanager
def _shown(what: str, total: int) -> Iterator[Progress]:
    """Progress on stderr of whatever takes more than two seconds, where somebody looks on."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bar

    columns = [TextColumn(what), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()]
    bar = Bar(*columns, console=Console(stderr=True), transient=True)
    task = bar.add_task(what, total=total)
    since = time.monotonic()

    def told(more: int) -> None:
        bar.advance(task, more)
        if not bar.live.is_started and time.monotonic() - since > _QUIET_S:
            bar.start()

    advance: Callable[[int], None] = told
    try:
        yield advance
    finally:
        if bar.live.is_started:
            bar.stop()
