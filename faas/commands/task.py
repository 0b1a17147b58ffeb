"""`faas task`: find, follow and cancel tasks."""

from __future__ import annotations

import textwrap
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
    size,
    span,
)
from faas.commands.inputs import parse_choices, parse_moment, parse_pairs
from faas.commands.logs import Stream, read_log
from faas.commands.lookup import NEWEST, find_task, segment, why_queued
from faas.commands.results import print_result, save_result
from faas.errors import ConfigurationError, FaasError, TaskPending
from faas.link import Link
from faas.models import Attempt, CancelRequest, CancelResponse, Explanation, Task, TaskPage, TaskQuery, TaskState

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
        state=parse_choices(state or [], get_args(TaskState), "--state"),
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
        empty=_nothing(function, endpoint, group),
    )


@app.command("explain")
def explain_task(task: TaskId, as_json: AsJson = False) -> None:
    """Say why a task runs where it does: candidates, predictions, choice, and in hindsight the regret."""
    with open_link() as link:
        path = f"/v1/tasks/{segment(find_task(link, task))}/explain"
        found = link.request("GET", path, response=Explanation)
    if as_json:
        return print_json(found)
    print_fields(
        {
            "task": found.task_id,
            "state": found.state,
            "policy": found.policy,
            "target": found.target,
            "ran at": found.endpoint,
            "decided": moment(found.leased_at),
            "waited": span(found.waited_s),
            "took": span(found.run_s),
            "best": found.best,
            "regret": "" if found.regret_s is None else f"{found.regret_s:+.3g} s",
        }
    )
    typer.echo()
    print_table(
        ["endpoint", "workers", "runs for", "free in", "why not"],
        [
            [
                f"{each.endpoint} *" if each.chosen else each.endpoint,
                str(each.workers),
                span(each.run_s),
                span(each.wait_s),
                each.reason,
            ]
            for each in found.candidates
        ],
        empty="There is no endpoint that you may use.",
    )


def _nothing(function: str, endpoint: str, group: str) -> str:
    """What to say where nothing was found: a name may be mistyped."""
    if not (function or endpoint or group):
        return "No such tasks."
    return "No such tasks. `faas function list` and `faas endpoint list` show the names there are."


@app.command("show")
def show_task(task: TaskId, as_json: AsJson = False) -> None:
    """Show a task and its attempts."""
    with open_link() as link:
        found = _get(link, task)
        waits = why_queued(link, found.target) if found.state == "queued" and not as_json else ""
    if as_json:
        return print_json(found)
    print_fields(
        {
            "task": found.task_id,
            "state": ": ".join(filter(None, (found.state, found.message or waits))),
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
    for attempt in found.attempts:
        typer.echo()
        _print_attempt(attempt)


def _print_attempt(attempt: Attempt) -> None:
    at = f" at {one_line(attempt.endpoint)}" if attempt.endpoint else ""
    typer.echo(f"attempt {attempt.number}  {one_line(attempt.state)}{at}")
    node = attempt.node or attempt.host
    job = f"job {attempt.job_id}" if attempt.job_id else ""
    block = f"block {attempt.block_id}" if attempt.block_id else ""
    python = f"Python {attempt.python_version}" if attempt.python_version else ""
    within = f"environment {attempt.environment}" if attempt.environment else ""
    print_fields(
        {
            "  leased": moment(attempt.leased_at),
            "  started": moment(attempt.started_at),
            "  ran": _ran(attempt),
            "  node": ", ".join(filter(None, (node, job, block))),
            "  worker": attempt.worker,
            "  in": ", ".join(filter(None, (within, python))),
            "  memory": f"{size(attempt.peak_memory_bytes)} at most" if attempt.peak_memory_bytes else "",
        }
    )
    if attempt.message:
        text = f"  because  {one_line(attempt.message)}"
        typer.echo(textwrap.fill(text, 80, subsequent_indent=" " * 11, break_long_words=False))


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
    """Print what a task returned.

    If it failed, its exception, with the traceback from its site.
    """
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
def show_logs(
    task: TaskId,
    attempt: Annotated[int | None, typer.Option(metavar="N", help="Only of this attempt.")] = None,
    stderr: Annotated[bool, typer.Option("--stderr", help="Only standard error.")] = False,
    output: Annotated[
        Path | None, typer.Option(help="Write it there: stdout, or stderr with --stderr; of the last attempt, or N's.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print all that a task's attempts wrote.

    Standard output and standard error, fetched from its site.
    """
    streams: list[Stream] = ["stderr"] if stderr else ["stdout"] if output is not None else ["stdout", "stderr"]
    with open_link() as link:
        found = _get(link, task)
        attempts = [one for one in found.attempts if attempt in (None, one.number)]
        if attempt is not None and not attempts:
            raise FaasError(f"Task {found.task_id} has no attempt {attempt}; it has {len(found.attempts)}.")
        if as_json:
            return print_json([_log_in_json(link, found.task_id, one, streams) for one in attempts])
        if output is not None:
            return _save_log(link, found, attempts[-1:], streams[0], output)
        wrote = False
        for one in attempts:
            for stream in streams:
                wrote |= _print_log(link, found.task_id, one, stream)
    if not wrote:
        typer.echo(f"Nothing was written; the task is {found.state}.", err=True)


def _print_log(link: Link, task_id: str, attempt: Attempt, stream: Stream) -> bool:
    """Whether there was something to print."""
    log = read_log(link, task_id, attempt, stream)
    last = b""
    for piece in log.pieces:
        if not last:
            note = f" ({log.note})" if log.note else ""
            typer.echo(f"--- attempt {attempt.number} at {one_line(attempt.endpoint)}, {stream}{note}", err=True)
        last = piece
        typer.echo(piece, nl=False)
    if last and not last.endswith(b"\n"):
        typer.echo()
    if log.note and not last:
        typer.echo(f"--- attempt {attempt.number}, {stream}: {log.note}", err=True)
    return bool(last or log.note)


def _log_in_json(link: Link, task_id: str, attempt: Attempt, streams: list[Stream]) -> dict[str, object]:
    logs = {stream: read_log(link, task_id, attempt, stream) for stream in streams}
    texts: dict[str, str] = {stream: b"".join(log.pieces).decode(errors="replace") for stream, log in logs.items()}
    return {"attempt": attempt.number, **texts, "notes": [log.note for log in logs.values() if log.note]}


def _save_log(link: Link, task: Task, attempts: list[Attempt], stream: Stream, path: Path) -> None:
    size_bytes, note = 0, ""
    try:
        with path.open("wb") as file:
            for attempt in attempts:
                log = read_log(link, task.task_id, attempt, stream)
                note = log.note
                for piece in log.pieces:
                    size_bytes += file.write(piece)
    except OSError as error:
        raise ConfigurationError(f"Cannot write {path}: {error.strerror}.") from error
    typer.echo(f"Wrote {size_bytes} bytes to {path}{f' ({note})' if note else ''}.", err=True)


@app.command("cancel")
def cancel_tasks(
    tasks: Annotated[list[str], typer.Argument(metavar="ID...", help="Ids, or beginnings of recent tasks' ids.")],
    as_json: AsJson = False,
) -> None:
    """Cancel tasks, running ones too.

    The exit code is 1 if one could not be.
    """
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
