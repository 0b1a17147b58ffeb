"""PBS Pro command dialect over Slurm: exercises submission, status and cancel, not the vendor's scheduling."""

from __future__ import annotations

import getpass
import json
import os
import pwd
import re
import time
from pathlib import Path

from tests.sites.dialects.slurm import (
    LIVE,
    Options,
    Refused,
    Request,
    Seen,
    cancel,
    cluster_name,
    directives,
    environment_words,
    look_up,
    minutes,
    read_script,
    submit,
)

_STATES = {"PENDING": "Q", "CONFIGURING": "Q", "RUNNING": "R", "COMPLETING": "E", "SUSPENDED": "S"}
_REFUSALS = {
    "queue": ("qsub: Unknown queue", 170),
    "account": ("qsub: Request rejected.  Reason: Invalid account", 32),
    "limit": ("qsub: would exceed limit on resource of per-user jobs", 175),
    "walltime": ("qsub: Job violates queue and/or server resource limits", 188),
}
_UNKNOWN, _FINISHED = 153, 35
# Of the submitter's variables a job has these, and as PBS_O_…; the rest only if -V or -v say so.
_COPIED = ("HOME", "LANG", "LOGNAME", "MAIL", "SHELL", "TZ")
_PREAMBLE = (
    'PATH="${SLURM_CONF%/*}/commands/pbspro:$PATH"',
    'export PBS_JOBID="$SLURM_JOB_ID.$SLURM_CLUSTER_NAME" PBS_ENVIRONMENT=PBS_BATCH PBS_JOBNAME="$SLURM_JOB_NAME"',
    'export PBS_QUEUE="$SLURM_JOB_PARTITION" PBS_NODEFILE="${SLURM_CONF%/*}/run/$SLURM_JOB_ID.nodes"',
    'scontrol show hostnames "$SLURM_JOB_NODELIST" > "$PBS_NODEFILE"',
)


def qsub(arguments: list[str]) -> None:
    """Submit a script; prints its id."""
    options = _submission_options()
    script = read_script(options.parse_args(arguments).script)
    chosen = options.parse_args([*directives(script, "#PBS"), *arguments])
    resources = dict(part.partition("=")[::2] for words in chosen.l for part in words.split(","))
    nodes, cpus, memory_mb = _select(resources.get("select", "1:ncpus=1"))
    walltime = resources.get("walltime")
    home = pwd.getpwuid(os.getuid()).pw_dir
    here = str(Path.cwd())
    variables = environment_words(os.environ if chosen.V else _COPIED)
    variables.update({f"PBS_O_{name}": value for name, value in environment_words((*_COPIED, "PATH")).items()})
    variables.update({"PBS_O_WORKDIR": here, "NCPUS": str(cpus), "LOGNAME": getpass.getuser(), "HOME": home})
    variables.setdefault("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
    for part in filter(None, (chosen.v or "").split(",")):
        name, given, value = part.partition("=")
        variables[name] = value if given else os.environ.get(name, "")
    name = chosen.N or (Path(chosen.script).name if chosen.script else "STDIN")
    request = Request(
        script=script,
        name=name,
        queue=chosen.q or "",
        account=chosen.A or "",
        nodes=nodes,
        cpus=cpus,
        memory_mb=memory_mb,
        minutes=minutes(walltime, seconds=True) if walltime else None,
        output=_path(chosen.o, here) or f"{here}/{name}.o%j",
        error="" if (chosen.j or "") in ("oe", "eo") else _path(chosen.e, here) or f"{here}/{name}.e%j",
        directory=home,
        variables=variables,
        preamble=_PREAMBLE,
    )
    try:
        print(f"{submit(request)}.{cluster_name()}")
    except Refused as refusal:
        words, code = _REFUSALS.get(refusal.kind, (f"qsub: {refusal}", 1))
        raise Refused(words, code) from None


def qstat(arguments: list[str]) -> None:
    """Print the state of jobs; finished ones with -x."""
    options = Options("qstat")
    for flag in "xf":
        options.add_argument(f"-{flag}", action="store_true")
    options.add_argument("-F", choices=["json"])
    options.add_argument("-u")
    options.add_argument("ids", nargs="*")
    chosen = options.parse_args(arguments)
    ids = [_number(job_id) for job_id in chosen.ids]
    known = look_up(ids)
    problems, code = [], 0
    for job_id, given in zip(ids, chosen.ids, strict=True):
        if job_id not in known:
            problems.append(f"qstat: Unknown Job Id {given}")
            code = _UNKNOWN
        elif known[job_id].state not in LIVE and not chosen.x:
            problems.append(f"qstat: {given} Job has finished, use -x or -H to obtain historical job information")
            code = _FINISHED
    jobs = [job for job in known.values() if chosen.x or job.state in LIVE]
    server = cluster_name()
    if chosen.F:
        report = {"timestamp": int(time.time()), "pbs_version": "dialect over Slurm", "pbs_server": server}
        print(json.dumps({**report, "Jobs": {f"{job.job_id}.{server}": _described(job) for job in jobs}}, indent=4))
    elif chosen.f:
        for job in jobs:
            print(f"Job Id: {job.job_id}.{server}")
            print("".join(f"    {name} = {value}\n" for name, value in _described(job).items()))
    elif jobs:
        print(f"{'Job id':<17} {'Name':<16} {'User':<16} {'Time Use':<8} S Queue")
        print(f"{'-' * 17} {'-' * 16} {'-' * 16} {'-' * 8} - {'-' * 5}")
        for job in jobs:
            print(f"{job.job_id}.{server:<12} {job.name[:16]:<16} {job.user[:16]:<16} {0:>8} {_state(job)} {job.queue}")
    if problems:
        raise Refused("\n".join(problems), code)


def qselect(arguments: list[str]) -> None:
    """Print the ids of the jobs that have not ended."""
    options = Options("qselect")
    options.add_argument("-u")
    options.add_argument("-N")
    chosen = options.parse_args(arguments)
    for job in look_up().values():
        if job.state in LIVE and chosen.u in (None, job.user) and chosen.N in (None, job.name):
            print(f"{job.job_id}.{cluster_name()}")


def qdel(arguments: list[str]) -> None:
    """Cancel jobs."""
    options = Options("qdel")
    options.add_argument("-W")
    options.add_argument("-x", action="store_true")
    options.add_argument("ids", nargs="+")
    chosen = options.parse_args(arguments)
    known = look_up(map(_number, chosen.ids))
    problems, code = [], 0
    live = []
    for given in chosen.ids:
        job = known.get(_number(given))
        if job is None:
            problems.append(f"qdel: Unknown Job Id {given}")
            code = _UNKNOWN
        elif job.state not in LIVE:
            if not chosen.x:
                problems.append(f"qdel: Job has finished {given}")
                code = _FINISHED
        else:
            live.append(job.job_id)
    if live:
        cancel(live)
    if problems:
        raise Refused("\n".join(problems), code)


def _submission_options() -> Options:
    options = Options("qsub")
    for letter in "AaeJjkMmNopqrSuWv":
        options.add_argument(f"-{letter}")
    options.add_argument("-l", action="append", default=[])
    options.add_argument("-V", action="store_true")
    options.add_argument("script", nargs="?", default="")
    return options


def _select(words: str) -> tuple[int, int, int | None]:
    """Nodes, CPUs and memory of each, from ``2:ncpus=4:mem=8gb``; several kinds of chunks are beyond this dialect."""
    if "+" in words:
        raise Refused(f"qsub: this dialect takes one kind of chunk, not {words}", 2)
    count, *parts = words.split(":")
    resources = dict(part.partition("=")[::2] for part in parts)
    if not count.isdigit() or not resources.get("ncpus", "1").isdigit():
        raise Refused(f"qsub: Illegal attribute or resource value Resource_List.select={words}", 168)
    return int(count), int(resources.get("ncpus", "1")), _megabytes(resources["mem"]) if "mem" in resources else None


def _megabytes(size: str) -> int:
    found = re.fullmatch(r"(\d+)(kb|mb|gb|tb)", size.lower())
    if found is None:
        raise Refused(f"qsub: Illegal attribute or resource value mem={size}", 168)
    return int(int(found[1]) * {"kb": 1 / 1024, "mb": 1, "gb": 1024, "tb": 1024**2}[found[2]])


def _path(given: str | None, here: str) -> str:
    """A path as PBS takes it: perhaps after a host, perhaps a folder."""
    if not given:
        return ""
    path = Path(here, given.rpartition(":")[2])
    return str(path / "%j" if path.is_dir() else path)


def _number(job_id: str) -> str:
    return job_id.partition(".")[0]


def _state(job: Seen) -> str:
    if job.state == "PENDING" and job.reason.startswith("JobHeld"):
        return "H"
    if job.state == "PENDING" and job.reason == "BeginTime":
        return "W"
    return _STATES.get(job.state, "F")


def _described(job: Seen) -> dict[str, object]:
    described: dict[str, object] = {
        "Job_Name": job.name,
        "Job_Owner": f"{job.user}@{os.uname().nodename}",
        "job_state": _state(job),
        "queue": job.queue,
        "server": cluster_name(),
        "Resource_List": {"nodect": job.nodes},
        "comment": f"{job.state}: {job.reason}",
    }
    if job.node_list:
        described["exec_host"] = job.node_list
    if job.state not in LIVE:
        described["Exit_status"] = 271 if job.state in ("CANCELLED", "TIMEOUT") else job.exit_code
    return described
