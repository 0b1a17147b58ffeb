"""`faas task`: find, follow and cancel tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, get_args

import typer

from faas.commands.connection import open_client, open_link
from faas.commands.display import (
    AsJson,
    abbreviate,
    ago,
    amounts,
    moment,
    one_line,
    pairs,
    print_fields,
    print_json,
    print_table,
    span,
)
from faas.commands.inputs import parse_choices, parse_moment, parse_pairs
from faas.commands.lookup import NEWEST, find_task, segment
from faas.commands.results import print_result, save_result
from faas.errors import FaasError, TaskPending
from faas.link import Link
from faas.models import Attempt, CancelRequest, CancelResponse, Task, TaskPage, TaskQuery, TaskState

app = typer.Typer(no_args_is_help=True, help="Find, follow and cancel tasks.")

TaskId = Annotated[str, typer.Argument(metavar="ID", help="A task's id, or the beginning of a recent one's.")]


@app.command("list")
def list_tasks(
    function: Annotated[str, typer.Option(help="Only tasks of this function: name or id.")] = "",
    state: Annotated[list[str] | None, typer.Option(help="Only in this state; may be repeated.")] = None,
    tag: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="Only with this tag; repeatable.")] = None,
    endpoint: Annotated[str, typer.Option(help="Only tasks at this endpoint: name or id.")] = "",
    group: Annotated[str, typer.Option(help="Only tasks of this group.")] = "",
    since: Annotated[
        float | None,
        typer.Option(parser=parse_moment, metavar="WHEN", help="Submitted after: 2h (ago), 2026-01-31T12:00."),
    ] = None,
    until: Annotated[
        float | None, typer.Option(parser=parse_moment, metavar="WHEN", help="Submitted before; as --since.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many, newest first.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List tasks, newest first."""
    query = TaskQuery(
        state=parse_choices(state or [], get_args(TaskState)),
        function=function,
        endpoint=endpoint,
        group_id=group,
        tags=parse_pairs(tag or []),
        since=since,
        until=until,
    )
    with open_link() as link:
        tasks = _search(link, query, limit)
    if as_json:
        return print_json(tasks)
    short = abbreviate(task.task_id for task in tasks)
    print_table(
        ["id", "state", "function", "endpoint", "submitted", "took"],
        (
            [short[task.task_id], task.state, task.function, task.endpoint, ago(task.submitted_at), _took(task)]
            for task in tasks
        ),
        whole=2,
        empty="No such tasks.",
    )


@app.command("show")
def show_task(task: TaskId, as_json: AsJson = False) -> None:
    """Show a task and its attempts."""
    with open_link() as link:
        found = _get(link, task)
    if as_json:
        return print_json(found)
    print_fields(
        {
            "task": found.task_id,
            "state": f"{found.state}: {found.message}" if found.message else found.state,
            "function": f"{found.function} ({found.function_id})",
            "owner": found.owner,
            "target": found.target,
            "endpoint": found.endpoint,
            "group": found.group_id,
            "submitted": moment(found.submitted_at),
            "started": moment(found.started_at),
            "ended": moment(found.ended_at),
            "took": _took(found),
            "priority": str(found.priority or ""),
            "timeout": span(found.timeout_s),
            "rerun": "" if found.idempotent else "never, once started",
            "resources": amounts(found.resources),
            "environment": found.environment,
            "tags": pairs(found.tags),
            "retry of": found.retry_of,
            "waits for": ", ".join(found.dependencies),
            "result in": found.location_key,
        }
    )
    if found.attempts:
        typer.echo()
        print_table(
            ["attempt", "state", "endpoint", "host", "leased", "ran", "message"],
            (
                [
                    str(one.number),
                    one.state,
                    one.endpoint,
                    one.host,
                    moment(one.leased_at)[11:19],
                    _ran(one),
                    one.message,
                ]
                for one in found.attempts
            ),
            whole=2,
            empty="",
        )


@app.command("result")
def show_result(
    task: TaskId,
    output: Annotated[
        Path | None,
        typer.Option(help="Write it there: .json and .pkl in that format, else bytes and text as they are."),
    ] = None,
    wait: Annotated[float, typer.Option(min=0, metavar="SECONDS", help="Wait so long for the task to end.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Print what a task returned; its exception with the remote traceback if it failed."""
    with open_client() as client:
        task_id = find_task(client.link, task)
        try:
            value = client.get_result(task_id, timeout=wait)
        except TaskPending:
            state = client.get_task(task_id)["status"]
            raise TaskPending(
                f"Task {task_id} has not ended, it is {state}. Wait for it with --wait SECONDS."
            ) from None
    if output is not None:
        save_result(value, output)
    else:
        print_result(task_id, value, as_json)


@app.command("logs")
def show_logs(task: TaskId, as_json: AsJson = False) -> None:
    """Print the end of what each attempt wrote to standard output and standard error."""
    with open_link() as link:
        found = _get(link, task)
    if as_json:
        return print_json(
            [{"attempt": one.number, "stdout": one.stdout, "stderr": one.stderr} for one in found.attempts]
        )
    for one in found.attempts:
        for name, text in (("stdout", one.stdout), ("stderr", one.stderr)):
            if text:
                typer.echo(f"--- attempt {one.number} at {one_line(one.endpoint)}, {name}", err=True)
                typer.echo(text, nl=not text.endswith("\n"))
    if not any(one.stdout or one.stderr for one in found.attempts):
        typer.echo(f"Nothing was written; the task is {found.state}.", err=True)


@app.command("cancel")
def cancel_tasks(
    tasks: Annotated[list[str], typer.Argument(metavar="ID...", help="Ids, or beginnings of recent tasks' ids.")],
    as_json: AsJson = False,
) -> None:
    """Cancel tasks, running ones too; the exit code is 1 if one could not be."""
    with open_link() as link:
        wanted = CancelRequest(task_ids=[find_task(link, task) for task in tasks])
        answer = link.request("POST", "/v1/tasks/cancel", wanted, response=CancelResponse)
    if as_json:
        print_json(answer)
    else:
        for task_id in answer.cancelled:
            typer.echo(f"Cancelled {task_id}.")
    if answer.not_cancelled:
        left = ", ".join(f"{task_id} ({why})" for task_id, why in answer.not_cancelled.items())
        raise FaasError(f"Not cancelled: {left}.")


def _search(link: Link, query: TaskQuery, limit: int) -> list[Task]:
    found: list[Task] = []
    while len(found) < limit:
        query.limit = min(limit - len(found), NEWEST)
        page = link.request("POST", "/v1/tasks/search", query, response=TaskPage)
        found += page.tasks
        if page.next_before is None:
            break
        query.before = page.next_before
    return found


def _get(link: Link, text: str) -> Task:
    return link.request("GET", f"/v1/tasks/{segment(find_task(link, text))}", response=Task)


def _took(task: Task) -> str:
    """From submission to the end."""
    return span(task.ended_at - task.submitted_at) if task.ended_at else ""


def _ran(attempt: Attempt) -> str:
    if attempt.run_s is not None:
        return span(attempt.run_s)
    return span(attempt.ended_at - attempt.started_at) if attempt.ended_at and attempt.started_at else ""
