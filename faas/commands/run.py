"""`faas run`: one call of a registered function, from the command line."""

from __future__ import annotations

import sys
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated, Any

import typer

from faas.commands.connection import open_client, open_link
from faas.commands.display import AsJson
from faas.commands.inputs import parse_argument, parse_environment, parse_pairs, parse_resources, parse_span
from faas.commands.lookup import find_function, why_queued
from faas.commands.results import print_result
from faas.errors import TaskPending

if TYPE_CHECKING:
    from faas.client import Client

_LOOK_EVERY_S = 2.0
"""How often the progress line is brought up to date; the result itself comes at once."""


def run(
    function: Annotated[str, typer.Argument(help="Name, id, or the beginning of an id.")],
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[ARG]...",
            help="JSON where it parses (3, true, '[1, 2]'), else text. After -- a dash is no option.",
        ),
    ] = None,
    keyword: Annotated[
        list[str] | None,
        typer.Option(
            "--keyword", "-k", metavar="NAME=VALUE", help="A keyword argument, JSON or text; may be repeated."
        ),
    ] = None,
    endpoint: Annotated[str, typer.Option(help="Where: an endpoint's name or id, a pool's name, or any.")] = "any",
    resources: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=AMOUNT,...", help="What the worker must have: cores, gpus, memory_gb."),
    ] = None,
    environment: Annotated[
        str | None, typer.Option(parser=parse_environment, metavar="NAME", help="The environment to run in.")
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(parser=parse_span, metavar="SPAN", help="Wait at most so long, such as 90s; the task goes on."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run a registered function and print its result.

    Ctrl-C leaves the task running; `faas task cancel` stops it.
    """
    args = tuple(map(parse_argument, arguments or []))
    kwargs = {name: parse_argument(value) for name, value in parse_pairs(keyword or []).items()}
    needed = parse_resources(resources or [])
    with open_link() as link:  # gives up sooner than a client, where nothing answers
        function_id = find_function(link, function).function_id
    with open_client() as client:
        batch = client.create_batch()  # not client.run, whose own parameters could clash with keyword arguments
        batch.add(function_id, args=args, kwargs=kwargs, resources=needed, environment=environment)
        task_id = str(client.batch_run(endpoint, batch)["tasks"][function_id][0])
        try:
            value = _wait(client, task_id, endpoint, timeout)
        except TaskPending:
            raise TaskPending(
                f"Task {task_id} has not ended after {timeout:g} s and goes on. "
                f"`faas task result {task_id}` has its result later."
            ) from None
        except KeyboardInterrupt:
            typer.echo(f"\nThe task goes on; stop it with: faas task cancel {task_id}", err=True)
            raise
    print_result(task_id, value, as_json)


def _wait(client: Client, task_id: str, endpoint: str, timeout_s: float | None) -> Any:
    from rich.console import Console

    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    progress = Console(stderr=True)
    line = progress.status(f"task {task_id}") if sys.stderr.isatty() else nullcontext()
    asked = False
    with line as shown:
        while True:
            left = _LOOK_EVERY_S if deadline is None else min(_LOOK_EVERY_S, deadline - time.monotonic())
            try:
                return client.get_result(task_id, timeout=max(0.0, left))
            except TaskPending:
                if deadline is not None and time.monotonic() >= deadline:
                    raise
            if shown is None and asked:
                continue
            task = client.get_task(task_id)
            if not asked and task["status"] == "queued" and (reason := why_queued(client.link, endpoint)):
                progress.print(f"Task {task_id} waits: {reason}", markup=False, highlight=False, soft_wrap=True)
            asked = True
            if shown is not None:
                shown.update(f"task {task_id}: {task['status']} {task.get('endpoint') or ''}")
