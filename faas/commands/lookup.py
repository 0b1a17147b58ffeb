"""Finds functions and tasks the way people name them: by name, by id, by the beginning of an id."""

from __future__ import annotations

import re
from urllib.parse import quote

import typer

from faas.commands.display import ago
from faas.commands.inputs import is_id, match_id
from faas.errors import NotFound
from faas.link import Link
from faas.models import Endpoint, Function, TaskPage, TaskQuery

NEWEST = 1000
"""An abbreviated id is looked for among this many newest functions or tasks."""

_BEGINNING = re.compile(r"[0-9a-f]{4,8}(-[0-9a-f-]*)?", re.IGNORECASE)


def segment(text: str) -> str:
    """Text as one segment of a URL's path, whatever is in it.

    Raises:
        BadParameter: the text is empty, and the path would be another.
    """
    if not text.strip():
        raise typer.BadParameter("A name or an id is expected, not an empty text.")
    return quote(text, safe="")


def find_function(link: Link, text: str) -> Function:
    """The function with this name, id, or beginning of an id.

    Raises:
        NotFound: there is none.
        ConfigurationError: several ids begin so.
    """
    try:
        return link.request("GET", f"/v1/functions/{segment(text)}", response=Function)
    except NotFound:
        if not _BEGINNING.fullmatch(text) or is_id(text):
            raise
    known = link.request("GET", "/v1/functions", response=list[Function], params={"limit": NEWEST})
    found = match_id(text, (function.function_id for function in known), "function")
    return next(function for function in known if function.function_id == found)


def find_task(link: Link, text: str) -> str:
    """The id of the task with this id, or beginning of one.

    Raises:
        ConfigurationError: none of the newest tasks, or several, have such an id.
    """
    if is_id(text):
        return text.lower()
    page = link.request("POST", "/v1/tasks/search", TaskQuery(limit=NEWEST), response=TaskPage)
    return match_id(text, (task.task_id for task in page.tasks), "task")


def why_queued(link: Link, target: str) -> str:
    """Why a task that is queued may have to wait for long: nothing that it may run at is online.

    Args:
        link: to the service.
        target: what the task was sent to: an endpoint's name or id, a pool's name, or ``any``.

    Returns:
        What is amiss and what to do; empty where an endpoint is online, or where that cannot be told.
    """
    known = link.request("GET", "/v1/endpoints", response=list[Endpoint])
    meant = [each for each in known if target in ("any", each.name, each.endpoint_id)]
    if not meant or any(each.status == "online" for each in meant):
        return ""
    if target == "any":
        return "no endpoint is online. Start one: faas endpoint start NAME"
    seen = f"was last seen {ago(meant[0].last_seen_at)}" if meant[0].last_seen_at else "was never online"
    return f"endpoint {meant[0].name} {seen}. Start it at its site: faas endpoint start {meant[0].name}"
