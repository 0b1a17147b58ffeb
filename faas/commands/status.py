"""`faas status`: the service, who I am to it, and what its sites do: once, or live in a terminal."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer

from faas.commands.connection import open_link
from faas.commands.display import (
    AsJson,
    ago,
    costs,
    one_line,
    print_fields,
    print_json,
    print_table,
    print_wrapped,
    rich_table,
)
from faas.errors import NotFound, PermissionDenied, ServiceUnavailable
from faas.link import Link
from faas.models import Activity, Block, Endpoint, Health, Spent, WhoAmI

_COLUMNS = ["endpoint", "status", "workers", "idle", "held", "queued", "per min", "blocks", "seen"]
_NO_ENDPOINTS = "No endpoints yet. Set one up with: faas endpoint configure NAME"
_MOST_NOTES = 5
"""Lines on what is wrong, at most: the rest is in `faas endpoint status NAME`."""


@dataclass(frozen=True)
class Snapshot:
    """What the service told at one moment."""

    url: str
    health: Health
    me: WhoAmI
    endpoints: list[Endpoint] = field(default_factory=list)
    activity: Activity | None = None
    """None where the token may not know, or the service is older."""

    @classmethod
    def take(cls, link: Link) -> Snapshot:
        """Ask the service."""
        health = link.request("GET", "/v1/health", response=Health)
        me = link.request("GET", "/v1/whoami", response=WhoAmI)
        endpoints: list[Endpoint] = []
        activity = None
        try:
            endpoints = link.request("GET", "/v1/endpoints", response=list[Endpoint])
            activity = link.request("GET", "/v1/activity", response=Activity)
        except (PermissionDenied, NotFound):  # a token of another scope; the rest is still worth showing
            pass
        return cls(link.url, health, me, endpoints, activity)

    def fields(self) -> dict[str, str]:
        """The lines above the table."""
        return {
            "service": f"{self.url} ({self.health.status}, version {self.health.version})",
            "you": f"{self.me.identity}, with a token of scope {self.me.scope}",
            "tasks": _busy(self.activity) if self.activity else "",
            "spent": costs(_total([endpoint.spent for endpoint in self.endpoints if endpoint.spent])),
        }

    def rows(self) -> list[list[str]]:
        """The table of endpoints."""
        return [self._row(endpoint) for endpoint in self.endpoints]

    def _row(self, endpoint: Endpoint) -> list[str]:
        mine = endpoint.owner == self.me.identity
        ended = self.activity.ended_at.get(endpoint.endpoint_id, 0) if self.activity else None
        return [
            endpoint.name if mine else f"{endpoint.name} ({endpoint.owner})",
            endpoint.standing,
            str(endpoint.workers),
            str(endpoint.idle_workers),
            str(endpoint.held_tasks),
            str(endpoint.queued_tasks),
            "" if ended is None or self.activity is None else f"{60 * ended / self.activity.window_s:.3g}",
            _blocks(endpoint.blocks),
            ago(endpoint.last_seen_at),
        ]

    def notes(self) -> list[str]:
        """What is wrong, and why blocks wait."""
        found = [_broken(endpoint) for endpoint in self.endpoints if endpoint.standing == "broken"]
        for endpoint in self.endpoints:
            for block in endpoint.blocks:
                if block.message and block.state in ("requested", "queued", "failed"):
                    found.append(f"{endpoint.name}, job {block.job_id or '-'} ({block.state}): {block.message}")
        more = len(found) - _MOST_NOTES
        return found[:_MOST_NOTES] + ([f"… and {more} more: faas endpoint status NAME"] if more > 0 else [])


def status(
    once: Annotated[bool, typer.Option("--once", help="Print it and return; so it is where output is no terminal.")] = (
        False
    ),
    every: Annotated[float, typer.Option(min=0.5, help="Seconds between looks, when live.")] = 2.0,
    as_json: AsJson = False,
) -> None:
    """Show the service, who you are, and what the endpoints do, live."""
    with open_link() as link:
        snapshot = Snapshot.take(link)
        if as_json:
            return print_json(
                {
                    "url": link.url,
                    "health": snapshot.health,
                    "whoami": snapshot.me,
                    "endpoints": snapshot.endpoints,
                    "activity": snapshot.activity,
                }
            )
        if not once and sys.stdout.isatty():
            return watch(link, snapshot, every)
    print_fields(snapshot.fields(), wrapped=True)
    typer.echo()
    print_table(_COLUMNS, snapshot.rows(), empty=_NO_ENDPOINTS)
    for note in snapshot.notes():
        print_wrapped(note, indent=2)


def watch(link: Link, snapshot: Snapshot, every_s: float, console: Any = None, stop: Any = None) -> None:
    """Show the status anew every so often, until Ctrl-C.

    Args:
        link: to the service.
        snapshot: the first.
        every_s: seconds between looks.
        console: where to draw; by default the standard output.
        stop: an event to wait on between looks, which ends it when set.
    """
    from rich.console import Console
    from rich.live import Live

    pause = stop or threading.Event()
    screen = console or Console(highlight=False)
    with Live(picture(snapshot), console=screen, auto_refresh=False) as live:
        try:
            while not pause.wait(every_s):
                trouble = ""
                try:
                    snapshot = Snapshot.take(link)
                except ServiceUnavailable as error:  # it may be back soon, and then this goes on
                    trouble = str(error)
                live.update(picture(snapshot, trouble), refresh=True)
        except KeyboardInterrupt:
            pass


def picture(snapshot: Snapshot, trouble: str = "") -> Any:
    """A snapshot as Rich draws it; a service that does not answer is said below what was known last."""
    from rich.console import Group
    from rich.text import Text

    def line(text: str, style: str = "") -> Text:
        return Text(one_line(text), style=style, overflow="ellipsis", no_wrap=True)

    above = [line(f"{name:<9}{value}") for name, value in snapshot.fields().items() if value]
    rows = snapshot.rows()
    table = rich_table(_COLUMNS, rows) if rows else line(_NO_ENDPOINTS)
    below = [line(note, "yellow") for note in snapshot.notes()]
    if trouble:
        below.append(line(f"Not up to date: {trouble}", "red"))
    return Group(*above, line(""), table, *below, line("Ctrl-C ends this view.", "dim"))


def tell_broken(endpoints: Iterable[Endpoint]) -> None:
    """Say of each endpoint that cannot run anything why that is so."""
    for endpoint in endpoints:
        if endpoint.standing == "broken":
            print_wrapped(_broken(endpoint), indent=2)


def _broken(endpoint: Endpoint) -> str:
    return f"{endpoint.name} is broken: {endpoint.problem}"


def _busy(activity: Activity) -> str:
    ended = sum(activity.ended.values())
    succeeded = activity.ended.get("succeeded", 0)
    text = f"{activity.queued:,} queued, {activity.held:,} in hand; "
    if not ended:
        return f"{text}none ended in the last minute"
    others = f", {ended - succeeded:,} not" if ended > succeeded else ""
    return f"{text}{succeeded:,} succeeded{others} in the last minute ({ended / activity.window_s:.3g}/s)"


def _blocks(blocks: Iterable[Block]) -> str:
    running = sum(block.state in ("running", "draining") for block in blocks)
    waiting = sum(block.state in ("requested", "queued") for block in blocks)
    return ", ".join(f"{count} {what}" for count, what in ((running, "run"), (waiting, "wait")) if count)


def _total(spent: list[Spent]) -> Spent:
    return Spent(
        day_node_hours=sum(one.day_node_hours for one in spent),
        total_node_hours=sum(one.total_node_hours for one in spent),
        reserved_node_hours=sum(one.reserved_node_hours for one in spent),
    )
