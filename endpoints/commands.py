"""`faas endpoint`: set up and run endpoints on this machine."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from endpoints.block_table import print_blocks
from faas.commands.display import AsJson, ago, amounts, costs, one_line, print_fields, print_json, print_table
from faas.commands.endpoint_stats import show_stats
from faas.commands.status import tell_broken
from faas.errors import AlreadyRunning, ConfigurationError, FaasError, NotFound
from faas.models import Endpoint

app = typer.Typer(no_args_is_help=True, help="Set up and run an endpoint on this machine.")

Home = Annotated[Path | None, typer.Option(help="Where endpoints are kept. [default: $FAAS_HOME or ~/.faas]")]
Name = Annotated[str, typer.Argument(help="The endpoint's name.")]


@app.command("configure")
def configure_endpoint(
    name: Name,
    profile: Annotated[
        str | None,
        typer.Option(
            help="Kind of site, or machine: local, slurm, polaris, … [default: as configured, at first local]"
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Workers on each node. [default: as configured, at first one a core]")
    ] = None,
    account: Annotated[str | None, typer.Option(help="The account or project that batch jobs are charged to.")] = None,
    partition: Annotated[str | None, typer.Option(help="The partition or queue of batch jobs.")] = None,
    walltime: Annotated[str | None, typer.Option(help="The walltime of batch jobs, HH:MM:SS.")] = None,
    max_blocks: Annotated[int | None, typer.Option(min=1, help="How many batch jobs there may be at once.")] = None,
    engine_config: Annotated[
        Path | None, typer.Option(dir_okay=False, help="An existing config.yaml of Globus Compute, used as it is.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Any other setting (scheduler.qos=debug), or a variable of --engine-config. As often as needed.",
        ),
    ] = None,
    home: Home = None,
) -> None:
    """Register an endpoint, and write its configuration."""
    from endpoints.places import Places
    from endpoints.registration import Wanted, configure, find_person, read_settings

    asked = {
        "scheduler.account": account,
        "scheduler.partition": partition,
        "scheduler.walltime_s": None if walltime is None else _seconds(walltime),
        "blocks.max_blocks": max_blocks,
        **read_settings(settings or []),
    }
    places = Places.of(name, home)
    wanted = Wanted(profile, workers, engine_config, {key: value for key, value in asked.items() if value is not None})
    configured = configure(places, wanted, find_person(home))
    typer.echo(f"Endpoint {configured.created.name} ({configured.created.endpoint_id}) is registered.")
    typer.echo(f"Its configuration is {places.configuration}.")
    for note in configured.notes:
        typer.echo(f"  {note}")
    elsewhere = "" if home is None else f" --home {shlex.quote(str(home))}"
    typer.echo(f"Start it with: faas endpoint start {name}{elsewhere}")


def _seconds(walltime: str) -> int:
    from endpoints.globus_config.engine_file import to_seconds

    seconds = to_seconds(walltime)
    if seconds is None:
        raise ConfigurationError(f"--walltime {walltime}: write it as HH:MM:SS, 01:00:00 for an hour.")
    return seconds


@app.command("start")
def start_endpoint(
    name: Name,
    detach: Annotated[bool, typer.Option("--detach", help="Return when workers are ready; it goes on.")] = False,
    as_job: Annotated[
        bool, typer.Option("--as-job", help="Run the agent in a batch job that renews itself; see `agent_job:`.")
    ] = False,
    takeover: Annotated[bool, typer.Option("--takeover", help="Replace an agent that runs elsewhere.")] = False,
    unless_running: Annotated[
        bool, typer.Option("--unless-running", help="Do nothing, and say nothing, where it runs already.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the batch script of each shape, and submit nothing.")
    ] = False,
    print_unit: Annotated[
        bool, typer.Option("--print-unit", help="Print a systemd unit and cron lines that keep it running.")
    ] = False,
    in_job: Annotated[str, typer.Option(hidden=True, help="Set in the batch jobs of --as-job: this one's name.")] = "",
    home: Home = None,
) -> None:
    """Run an endpoint on this machine.

    In the foreground until Ctrl-C, detached, or in a batch job.
    """
    from endpoints.launch import EXIT_RUNS_ALREADY, start
    from endpoints.places import Places
    from endpoints.printouts import print_scripts, print_units

    places = Places.of(name, home)
    if print_unit:
        return print_units(places, as_job=as_job)
    if dry_run:
        return print_scripts(places, as_job=as_job)
    how = "job" if as_job else "detached" if detach else "foreground"
    try:
        code = start(places, how, takeover=takeover, job=in_job, tell=typer.echo)
    except AlreadyRunning as error:
        if unless_running:
            return
        typer.echo(f"faas: {error}", err=True)
        code = EXIT_RUNS_ALREADY
    if code:
        raise typer.Exit(code)


@app.command("check")
def check_one(
    name: Name,
    block: Annotated[bool, typer.Option(help="Start one real block, run a call in it, and end it.")] = True,
    block_wait: Annotated[float, typer.Option(min=1, help="Seconds to wait for its workers.")] = 300,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Try everything an endpoint needs, and say how to mend it.

    Python, proxy, service, disk, account, and one real block.
    """
    from endpoints.check import check_endpoint
    from endpoints.places import Places

    found = []
    for finding in check_endpoint(
        Places.of(name, home), block=block, block_wait_s=block_wait, progress=lambda what: typer.echo(what, err=True)
    ):
        found.append(finding)
        if not as_json:
            typer.echo(one_line(str(finding)))
    if as_json:
        print_json([vars(finding) for finding in found])
    if any(finding.state == "FAIL" for finding in found):
        raise typer.Exit(1)


@app.command("stop")
def stop_endpoint(
    name: Name,
    force: Annotated[
        bool, typer.Option("--force", help="Do not wait for running tasks, nor for the service's word on other hosts.")
    ] = False,
    home: Home = None,
) -> None:
    """Stop an endpoint, and cancel its batch jobs.

    Running tasks get a short while to end.
    """
    from endpoints.places import Places
    from endpoints.stopping import stop_agent

    typer.echo(stop_agent(Places.of(name, home), force=force, waiting=lambda what: typer.echo(what, err=True)))


@app.command("list")
def list_endpoints(home: Home = None, as_json: AsJson = False) -> None:
    """List the endpoints here, and others you may use."""
    from endpoints.inventory import configured_here

    known, trouble = _ask_service(home)
    rows = {local["endpoint_id"] or local["name"]: local for local in configured_here(home)}
    for endpoint in known:
        row = rows.setdefault(endpoint.endpoint_id, {"name": endpoint.name, "here": "", "configuration": ""})
        row["service"] = endpoint
    if as_json:
        return print_json(list(rows.values()))
    if trouble:
        typer.echo(f"The service was not asked: {trouble}", err=True)
    print_table(
        ["name", "here", "service", "workers", "idle", "held", "seen", "owner", "shapes", "envs"],
        (_row(row) for row in rows.values()),
        whole=7,
        empty="No endpoints yet. Set one up with: faas endpoint configure NAME",
    )
    tell_broken(known)


def _row(row: dict[str, Any]) -> list[str]:
    endpoint: Endpoint | None = row.get("service")
    if endpoint is None:
        return [row["name"], row["here"], "?", "", "", "", "", "", "", ""]
    return [
        row["name"],
        row["here"],
        endpoint.standing,
        str(endpoint.workers),
        str(endpoint.idle_workers),
        str(endpoint.held_tasks),
        ago(endpoint.last_seen_at),
        endpoint.owner,
        ", ".join(endpoint.shapes),
        ", ".join(endpoint.environments),
    ]


@app.command("status")
def show_endpoint(name: Name, home: Home = None, as_json: AsJson = False) -> None:
    """Show one endpoint: here, and as the service sees it."""
    from endpoints.inventory import configured_here

    known, trouble = _ask_service(home)
    local = next((each for each in configured_here(home) if each["name"] == name), None)
    wanted = {name, local["endpoint_id"]} if local else {name}
    remote = next((each for each in known if each.endpoint_id in wanted or each.name == name), None)
    if local is None and remote is None:
        raise NotFound(f"There is no endpoint {name}.", fix=f"Make it: faas endpoint configure {name}")
    if as_json:
        return print_json({**(local or {"name": name, "here": "", "configuration": ""}), "service": remote})
    fields = {"endpoint": name}
    if local is not None:
        fields |= {
            "here": f"{local['here']}{', pid ' + str(local['pid']) if local['pid'] else ''}",
            "agent's jobs": ", ".join(local["agent_jobs"]),
            "profile": local["profile"],
            "configuration": local["configuration"],
            "spooled": f"{local['spooled']} batch(es) of results not yet delivered" if local["spooled"] else "",
            "problem": local["problem"],
        }
    if remote is not None:
        fields |= {
            "id": remote.endpoint_id,
            "owner": remote.owner,
            "service": f"{remote.standing}, seen {ago(remote.last_seen_at) or 'never'}",
            "broken": remote.problem,
            "runs on": f"{remote.host}, pid {remote.pid}" if remote.status == "online" else "",
            "workers": f"{remote.workers}, {remote.idle_workers} idle" if remote.status == "online" else "",
            "tasks": f"{remote.held_tasks} held, {remote.queued_tasks} queued",
            "listens on": f"port {', '.join(map(str, remote.ports))}" if remote.ports else "",
            "spent": costs(remote.spent),
        }
        for shape, has in remote.shapes.items():
            fields[f"shape {shape}"] = amounts({n: v for n, v in msgspec.structs.asdict(has).items() if v is not None})
        for environment, facts in remote.environments.items():
            fields[f"environment {environment}"] = _environment(facts)
    elif trouble:
        fields["service"] = f"not asked: {trouble}"
    print_fields(fields, wrapped=True)
    if remote is not None:
        print_blocks(remote.blocks)


def _environment(facts: dict[str, str]) -> str:
    """What is known of an environment, short; `--json` has the list of its packages."""
    if problem := facts.get("problem"):
        return f"broken: {problem}"
    if "python" not in facts:
        return "nothing reported yet"
    packages = len(facts.get("packages", "").split())
    return f"Python {facts['python']}, {packages} packages, {facts.get('executable', '')}"


def _ask_service(home: Path | None) -> tuple[list[Endpoint], str]:
    """The endpoints the caller may use, or why they are not known: what is here is worth showing all the same."""
    from endpoints.registration import find_person
    from faas.link import Link

    try:
        person = find_person(home)
        with Link(person.url, person.token, attempts=1) as link:
            return link.request("GET", "/v1/endpoints", response=list[Endpoint]), ""
    except FaasError as error:
        return [], str(error)


app.command("stats")(show_stats)
