"""LSF command dialect over Slurm: exercises submission, status and cancel, not the vendor's scheduling."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

from tests.sites.dialects.slurm import (
    LIVE,
    Options,
    Refused,
    Request,
    Seen,
    cancel,
    directives,
    look_up,
    minutes,
    read_script,
    submit,
)

_STATES = {"PENDING": "PEND", "CONFIGURING": "PEND", "RUNNING": "RUN", "COMPLETING": "RUN", "SUSPENDED": "SSUSP"}
_FAILURE = 255
_COLUMNS = (
    *("jobid", "user", "stat", "queue", "from_host", "exec_host", "job_name", "submit_time"),
    *("exit_reason", "pend_reason"),
)
_REASONS = {"TIMEOUT": "TERM_RUNLIMIT: job killed after reaching LSF run time limit", "CANCELLED": "TERM_OWNER"}
_PREAMBLE = (
    'PATH="${SLURM_CONF%/*}/commands/lsf:$PATH"',
    'export LSB_JOBID="$SLURM_JOB_ID" LSB_JOBNAME="$SLURM_JOB_NAME" LSB_QUEUE="$SLURM_JOB_PARTITION"',
    'export LSB_BATCH_JID="$SLURM_JOB_ID" LS_SUBCWD="$SLURM_SUBMIT_DIR"',
    'export LSB_DJOB_HOSTFILE="${SLURM_CONF%/*}/run/$SLURM_JOB_ID.nodes"',
    'scontrol show hostnames "$SLURM_JOB_NODELIST" > "$LSB_DJOB_HOSTFILE"',
    'export LSB_HOSTS="$(tr "\\n" " " < "$LSB_DJOB_HOSTFILE")"',
)


def bsub(arguments: list[str]) -> None:
    """Submit a script, its name given, as sites with LSB_BSUB_PARSE_SCRIPT have it, or on standard input."""
    options = _submission_options()
    script = read_script(" ".join(options.parse_args(arguments).script))
    chosen = options.parse_args([*directives(script, "#BSUB"), *arguments])
    nodes, cpus = int(chosen.nnodes or 1), None
    if chosen.n is not None:
        per_node = re.search(r"span\[ptile=(\d+)\]", chosen.R or "")
        cpus = min(int(chosen.n), int(per_node[1])) if per_node else int(chosen.n)
        nodes = -(-int(chosen.n) // cpus)
    output = (chosen.o or chosen.oo or "/dev/null").replace("%J", "%j")
    request = Request(
        script=script,
        name=chosen.J or (Path(chosen.script[0]).name if chosen.script else "bsub"),
        queue=chosen.q or "",
        account=chosen.P or "",
        nodes=nodes,
        cpus=cpus,
        minutes=minutes(chosen.W, seconds=False) if chosen.W else None,
        output=output,
        error=(chosen.e or chosen.eo or "").replace("%J", "%j"),
        directory=chosen.cwd or "",
        variables=os.environ,
        preamble=_PREAMBLE,
    )
    try:
        job_id = submit(request)
    except Refused as refusal:
        words = {
            "queue": f"{request.queue}: No such queue",
            "account": f"{request.account}: Invalid project name",
            "limit": "User's pending job slot limit reached",
            "walltime": "RUNLIMIT: Cannot exceed queue's hard limit(s)",
        }.get(refusal.kind, str(refusal))
        raise Refused(f"{words}. Job not submitted.", _FAILURE) from None
    print(f"Job <{job_id}> is submitted to {f'queue <{request.queue}>' if request.queue else 'default queue <debug>'}.")


def bjobs(arguments: list[str]) -> None:
    """Print the state of jobs."""
    options = Options("bjobs")
    options.add_argument("-noheader", action="store_true")
    options.add_argument("-a", action="store_true")
    options.add_argument("-u")
    options.add_argument("-o", default="jobid user stat queue exec_host job_name")
    options.add_argument("ids", nargs="*")
    chosen = options.parse_args(arguments)
    words = shlex.split(chosen.o)
    between = next((word.partition("=")[2] for word in words if word.startswith("delimiter=")), " ")
    columns = [word.partition(":")[0].lower() for word in words if not word.startswith("delimiter=")]
    if unknown := set(columns) - set(_COLUMNS):
        raise Refused(f"{', '.join(sorted(unknown))}: this dialect has no such column", _FAILURE)
    known = look_up(chosen.ids)
    jobs = [job for job in known.values() if chosen.ids or chosen.a or job.state in LIVE]
    if jobs and not chosen.noheader:
        print(between.join(column.upper() for column in columns))
    for job in jobs:
        print(between.join(_value(job, column) for column in columns))
    missing = [job_id for job_id in chosen.ids if job_id not in known]
    if missing:
        raise Refused("\n".join(f"Job <{job_id}> is not found" for job_id in missing), _FAILURE)
    if not jobs:
        raise Refused("No unfinished job found", 0)


def bkill(arguments: list[str]) -> None:
    """Cancel jobs."""
    options = Options("bkill")
    options.add_argument("-r", action="store_true")
    options.add_argument("ids", nargs="+")
    ids = options.parse_args(arguments).ids
    known = look_up(ids)
    problems = []
    for job_id in ids:
        if job_id not in known:
            problems.append(f"Job <{job_id}>: No matching job found")
        elif known[job_id].state not in LIVE:
            problems.append(f"Job <{job_id}>: Job has already finished")
        else:
            cancel([job_id])
            print(f"Job <{job_id}> is being terminated")
    if problems:
        raise Refused("\n".join(problems), _FAILURE)


def _submission_options() -> Options:
    options = Options("bsub")
    for name in ("J", "o", "oo", "e", "eo", "q", "P", "W", "n", "R", "nnodes", "cwd", "G", "M", "alloc_flags", "env"):
        options.add_argument(f"-{name}")
    for flag in ("x", "r", "rn"):
        options.add_argument(f"-{flag}", action="store_true")
    options.add_argument("script", nargs="*")
    return options


def _value(job: Seen, column: str) -> str:
    held = job.state == "PENDING" and job.reason.startswith("JobHeld")
    ended = "DONE" if job.state == "COMPLETED" else "EXIT"
    return {
        "jobid": job.job_id,
        "user": job.user,
        "stat": "PSUSP" if held else _STATES.get(job.state, ended),
        "queue": job.queue,
        "exec_host": job.node_list or "-",
        "job_name": job.name,
        "exit_reason": _REASONS.get(job.state, "-"),
        "pend_reason": job.reason if job.state == "PENDING" else "-",
    }.get(column, "-")
