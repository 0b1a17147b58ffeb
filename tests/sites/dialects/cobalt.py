"""Cobalt command dialect over Slurm: exercises submission, status and cancel, not the vendor's scheduling."""

from __future__ import annotations

import os
from pathlib import Path

from tests.sites.dialects.slurm import (
    LIVE,
    Options,
    Refused,
    Request,
    Seen,
    cancel,
    directives,
    environment_words,
    look_up,
    minutes,
    read_script,
    submit,
)

_STATES = {
    "PENDING": "queued",
    "CONFIGURING": "starting",
    "RUNNING": "running",
    "COMPLETING": "exiting",
    "SUSPENDED": "user_hold",
}
# The job gets these of the submitter's variables, and what --env gives.
_COPIED = ("HOME", "LANG", "LOGNAME", "PATH", "SHELL", "USER")
_PREAMBLE = (
    'PATH="${SLURM_CONF%/*}/commands/cobalt:$PATH"',
    'export COBALT_JOBID="$SLURM_JOB_ID" COBALT_JOBSIZE="$SLURM_JOB_NUM_NODES" COBALT_PARTNAME="$SLURM_JOB_NODELIST"',
    'export COBALT_NODEFILE="${SLURM_CONF%/*}/run/$SLURM_JOB_ID.nodes"',
    'scontrol show hostnames "$SLURM_JOB_NODELIST" > "$COBALT_NODEFILE"',
)


def qsub(arguments: list[str]) -> None:
    """Submit an executable script; prints its id."""
    options = _submission_options()
    path = options.parse_args(arguments).script
    if not os.access(path, os.X_OK):
        raise Refused(f"qsub: command {path} is not found, or is not executable")
    script = read_script(path)
    chosen = options.parse_args([*directives(script, "#COBALT"), *arguments])
    variables = environment_words(_COPIED)
    for words in chosen.env:
        variables.update(part.partition("=")[::2] for part in words.split(":"))
    directory = chosen.cwd or str(Path.cwd())
    # PSI/J 0.9.11 gives an empty time: there is no "duration" in its template's context.
    time = minutes(chosen.time, seconds=":" in chosen.time) if chosen.time else 0
    request = Request(
        script=script,
        name=chosen.jobname or Path(path).name,
        queue=chosen.queue or "",
        account=chosen.project or "",
        nodes=int(chosen.nodecount or 1),
        minutes=time or None,
        output=chosen.output or f"{directory}/{chosen.outputprefix or '%j'}.output",
        error=chosen.error or f"{directory}/{chosen.outputprefix or '%j'}.error",
        directory=directory,
        variables=variables,
        preamble=_PREAMBLE,
    )
    try:
        print(submit(request))
    except Refused as refusal:
        words = {
            "queue": f"queue {request.queue!r} does not exist",
            "account": f"project {request.account!r} is not allowed to run here",
            "limit": "the limit of jobs of one user is reached",
            "walltime": "the walltime is greater than the queue's maximum",
        }.get(refusal.kind, str(refusal))
        raise Refused(f"qsub: {words}", 1) from None


def qstat(arguments: list[str]) -> None:
    """Print the state of jobs that have not ended; fails without a word if it knows none of those asked for."""
    options = Options("qstat")
    options.add_argument("-l", "--long", action="store_true")
    options.add_argument("-u", "--user")
    options.add_argument("--header", default="JobID:User:Nodes:State:Queue:JobName")
    options.add_argument("ids", nargs="*")
    chosen = options.parse_args(arguments)
    columns = chosen.header.split(":")
    jobs = [
        job
        for job in look_up(chosen.ids).values()
        if job.state in LIVE and (not chosen.user or job.user == chosen.user)
    ]
    if chosen.ids and not jobs:
        raise Refused("")
    if not chosen.long:
        print("  ".join(columns))
    for job in jobs:
        values = [_value(job, column) for column in columns]
        if chosen.long:
            (_, job_id), *rest = zip(columns, values, strict=True)
            print(f"JobID: {job_id}")
            print("".join(f"    {column:<18}: {value}\n" for column, value in rest))
        else:
            print("  ".join(values))


def qdel(arguments: list[str]) -> None:
    """Cancel jobs; those that have ended are none of its business."""
    options = Options("qdel")
    options.add_argument("-f", "--force", action="store_true")
    options.add_argument("ids", nargs="+")
    ids = options.parse_args(arguments).ids
    for job_id in ids:
        if not job_id.isdigit():
            raise Refused(f"jobid must be an integer, not {job_id!r}")
    live = [job_id for job_id, job in look_up(ids).items() if job.state in LIVE]
    if live:
        cancel(live)
        print("      Deleted Jobs\nJobID\n" + "\n".join(live))


def _submission_options() -> Options:
    options = Options("qsub")
    for names in (
        ("-n", "--nodecount"),
        ("--proccount",),
        ("-t", "--time"),
        ("-q", "--queue"),
        ("-A", "--project"),
        ("-O", "--outputprefix"),
        ("-o", "--output"),
        ("-e", "--error"),
        ("--debuglog",),
        ("--cwd",),
        ("--jobname",),
        ("--attrs",),
        ("--mode",),
    ):
        options.add_argument(*names)
    options.add_argument("--env", action="append", default=[])
    options.add_argument("script")
    return options


def _value(job: Seen, column: str) -> str:
    return {
        "jobid": job.job_id,
        "user": job.user,
        "nodes": str(job.nodes),
        "state": _STATES[job.state],
        "queue": job.queue,
        "jobname": job.name,
        "location": job.node_list,
    }.get(column.lower(), "N/A")
