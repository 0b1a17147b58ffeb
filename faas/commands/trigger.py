"""`faas trigger`: have a function called whenever a file has come."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from faas.commands.connection import open_link
from faas.commands.display import AsJson, ago, moment, pairs, print_fields, print_json, print_table, span
from faas.commands.inputs import parse_choices, parse_pairs
from faas.commands.lookup import segment
from faas.models import (
    CreateTrigger,
    Dataset,
    Nothing,
    Trigger,
    TriggerEvent,
    TriggerSettings,
    TriggerTrial,
)

app = typer.Typer(no_args_is_help=True, help="Have a function called whenever a file has come.")

_ASKS_ABOVE = 1_000
_STATES = ("waiting", "task", "ended", "grouped", "complete", "dead", "passed_over")

_Name = Annotated[str, typer.Argument(metavar="TRIGGER", help="A trigger's name or id.")]


@app.command("create")
def create_trigger(
    name: Annotated[str, typer.Argument(help="What to call it.")],
    source: Annotated[
        str,
        typer.Option(help="A directory of the service's machine, s3://bucket/prefix, sqs:URL, or push for webhooks."),
    ],
    function: Annotated[str, typer.Option(help="The function: name or id.")],
    endpoint: Annotated[str, typer.Option(help="Where it runs: an endpoint, a pool, or any.")] = "any",
    prefix: Annotated[str, typer.Option(help="Only keys that begin so.")] = "",
    suffix: Annotated[str, typer.Option(help="Only keys that end so, such as .h5.")] = "",
    arg: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=TEXT",
            help="An argument, with {key}, {name}, {stem}, {folder}, {bucket}, {size}, {uri}, … in it, or {file} or "
            "{event} by itself; may be repeated. Without, the function gets the file.",
        ),
    ] = None,
    output: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FILE",
            help="A file that the function writes: out=processed:/{folder}/{stem}.json. Repeatable.",
        ),
    ] = None,
    location: Annotated[
        str, typer.Option(help="What sites call the watched directory: location:/folder. Else it goes by its path.")
    ] = "",
    group_by: Annotated[
        str, typer.Option(metavar="REGEX", help="One task per dataset: what the parentheses match names it.")
    ] = "",
    complete_when: Annotated[str, typer.Option(help="count=N, marker=NAME or manifest=NAME.")] = "",
    listing: Annotated[
        str, typer.Option(metavar="S3URL", help="List this, too, for what no event told of: s3://bucket/prefix.")
    ] = "",
    hourly_cap: Annotated[int, typer.Option(min=1, help="Tasks in any hour, at most; what is beyond waits.")] = 1_000,
    concurrency_cap: Annotated[int, typer.Option(min=1, help="Tasks at a time, at most; what is beyond waits.")] = 100,
    settle: Annotated[
        float, typer.Option(min=0.0, help="Seconds without change after which a file counts as complete.")
    ] = 2.0,
    max_depth: Annotated[int, typer.Option(min=1, help="Triggers that may lead from one to the next.")] = 5,
    backfill: Annotated[bool, typer.Option("--backfill", help="Take what is there already, too.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Create a trigger. Each version of a file becomes one task, however often it is told of."""
    if source not in ("push",) and "://" not in source and not source.startswith("sqs:"):
        source = str(Path(source).expanduser().absolute())
    settings = TriggerSettings(
        prefix=prefix,
        suffix=suffix,
        arguments=parse_pairs(arg or []),
        outputs=parse_pairs(output or []),
        location=location,
        listing=listing,
        hourly_cap=hourly_cap,
        concurrency_cap=concurrency_cap,
        settle_s=settle,
        group_by=group_by,
        complete_when=complete_when,
        max_depth=max_depth,
    )
    wanted = CreateTrigger(
        name=name, source=source, function=function, target=endpoint, settings=settings, backfill=backfill
    )
    with open_link() as link:
        if backfill and not yes:
            trial = link.request("POST", "/v1/triggers/trial", wanted, response=TriggerTrial)
            if trial.matching > _ASKS_ABOVE:
                typer.confirm(f"{_told(trial)} Create it?", abort=True, err=True)
        made = link.request("POST", "/v1/triggers", wanted, response=Trigger)
        url = f"{link.url}{made.secret}"
    if as_json:
        return print_json({"trigger_id": made.trigger_id, "name": made.name, "push_url": url})
    typer.echo(f"Trigger {made.name} is active.")
    if made.kind in ("push", "sqs", "s3"):
        typer.echo(f"Stores may post events to {url} (shown only now).")


@app.command("list")
def list_triggers(as_json: AsJson = False) -> None:
    """List your triggers."""
    with open_link() as link:
        found = link.request("GET", "/v1/triggers", response=list[Trigger])
    if as_json:
        return print_json(found)
    print_table(
        ["name", "state", "source", "function", "tasks", "waiting", "dead"],
        (
            [
                each.name,
                each.state,
                each.source,
                each.function,
                str(each.counts.get("task", 0) + each.counts.get("ended", 0)),
                str(each.counts.get("waiting", 0)),
                str(each.counts.get("dead", 0)),
            ]
            for each in found
        ),
        whole=2,
        empty="No triggers. `faas trigger create` makes one.",
    )


@app.command("show")
def show_trigger(
    trigger: _Name,
    events: Annotated[int, typer.Option(min=0, max=1000, help="How many of the last events to show.")] = 10,
    state: Annotated[str, typer.Option(help="Only events in this state: dead, waiting, …")] = "",
    as_json: AsJson = False,
) -> None:
    """Show a trigger, what became of the last uploads, and the datasets that are not complete."""
    params: dict[str, str | int | float] = {"limit": max(events, 1)}
    if state:
        params["state"] = parse_choices([state], _STATES, "--state")[0]
    path = f"/v1/triggers/{segment(trigger)}"
    with open_link() as link:
        found = link.request("GET", path, response=Trigger)
        last = link.request("GET", f"{path}/events", response=list[TriggerEvent], params=params)[:events]
        datasets = link.request("GET", f"{path}/datasets", response=list[Dataset]) if found.settings.group_by else []
    if as_json:
        return print_json({"trigger": found, "events": last, "datasets": datasets})
    print_fields(
        {
            "trigger": found.name,
            "id": found.trigger_id,
            "state": found.state + (f": {found.reason}" if found.reason else ""),
            "source": found.source,
            "function": found.function,
            "runs at": found.target,
            "group": found.group_id,
            "events": pairs({each: str(count) for each, count in sorted(found.counts.items())}),
            "created": moment(found.created_at),
            "listed": ago(found.listed_at),
        }
    )
    if datasets:
        print_table(
            ["dataset", "files", "it lacks"],
            ([each.name, str(each.files), each.missing] for each in datasets),
            empty="",
        )
    if last:
        print_table(
            ["key", "became", "task", "seen", "reason"],
            ([each.key, each.state, each.task_id, ago(each.seen_at), each.reason] for each in last),
            empty="",
        )


@app.command("pause")
def pause_trigger(trigger: _Name) -> None:
    """Let nothing become a task until the trigger is resumed; what comes waits."""
    _tell(trigger, "pause")
    typer.echo(f"Trigger {trigger} is paused.")


@app.command("resume")
def resume_trigger(trigger: _Name) -> None:
    """Go on, with what waits first."""
    _tell(trigger, "resume")
    typer.echo(f"Trigger {trigger} is active.")


@app.command("test")
def try_trigger(trigger: _Name, as_json: AsJson = False) -> None:
    """Show what a trigger takes of what is there already, and what that would cost; nothing is run."""
    with open_link() as link:
        path = f"/v1/triggers/{segment(trigger)}/trial"
        trial = link.request("POST", path, Nothing(), response=TriggerTrial)
    if as_json:
        return print_json(trial)
    typer.echo(_told(trial))
    for key in trial.sample:
        typer.echo(f"  {key}")


@app.command("replay")
def replay_trigger(trigger: _Name) -> None:
    """Try again what could not become a task."""
    found = _tell(trigger, "replay")
    typer.echo(
        f"{found.counts.get('dead', 0)} dead letters are left; `faas trigger show --state dead` has their reasons."
    )


@app.command("delete")
def delete_trigger(trigger: _Name, yes: Annotated[bool, typer.Option("--yes", help="Ask nothing.")] = False) -> None:
    """Delete a trigger, and what it knows of files; its tasks go on."""
    if not yes:
        typer.confirm(f"Delete trigger {trigger}? One made anew may run files again.", abort=True, err=True)
    with open_link() as link:
        link.request("DELETE", f"/v1/triggers/{segment(trigger)}", response=Nothing)
    typer.echo(f"Deleted trigger {trigger}.")


def _tell(trigger: str, verb: str) -> Trigger:
    with open_link() as link:
        return link.request("POST", f"/v1/triggers/{segment(trigger)}/{verb}", Nothing(), response=Trigger)


def _told(trial: TriggerTrial) -> str:
    if trial.node_hours is None or trial.run_s is None:
        return f"{trial.matching} files match; no task of the function has run yet to tell what they cost."
    return (
        f"{trial.matching} files match: some {trial.node_hours:.2g} node-hours, at {span(trial.run_s)} a task and one"
        " task to a node."
    )
