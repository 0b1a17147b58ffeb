"""What every dialect needs of Slurm: submit a script, look jobs up, cancel them. Standard library only."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

_REFUSALS = {
    "invalid partition": "queue",
    "Invalid account": "account",
    "job submit limit": "limit",
    "time limit is invalid": "walltime",
}
LIVE = ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED")
"""Slurm's states of jobs that have not ended."""


class Refused(Exception):
    """The command ends in failure.

    Args:
        message: what it prints.
        exit_code: what it ends with.
        kind: queue, account, limit or walltime, where Slurm's words tell; else empty.
    """

    def __init__(self, message: str, exit_code: int = 1, kind: str = "") -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.kind = kind


class Options(argparse.ArgumentParser):
    """A command's options; one that the dialect does not know is refused, not ignored."""

    def __init__(self, program: str) -> None:
        super().__init__(prog=program, add_help=False, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise Refused(f"{self.prog}: {message}", 2)


@dataclass
class Request:
    """A job to be submitted.

    Args:
        script: the text of its script.
        name: of the job.
        queue: where to; empty for the default.
        account: whom to charge; empty for nobody.
        nodes: how many.
        cpus: of each node; none for the whole node.
        memory_mb: of each node; none for its share.
        minutes: what it may take at most; none for the queue's default.
        output: file for its standard output; empty for ``name.o%j`` in the directory of submission.
        error: file for its standard error; empty for the same.
        directory: where it runs.
        variables: all its environment; Slurm adds its own.
        preamble: shell lines that come before the script's own.
    """

    script: str
    name: str
    queue: str = ""
    account: str = ""
    nodes: int = 1
    cpus: int | None = None
    memory_mb: int | None = None
    minutes: int | None = None
    output: str = ""
    error: str = ""
    directory: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)
    preamble: Sequence[str] = ()


@dataclass(frozen=True)
class Seen:
    """A job that Slurm knows.

    Args:
        job_id: its id.
        state: Slurm's word.
        queue: its partition.
        nodes: how many it has or wants.
        node_list: those it has, in Slurm's notation.
        exit_code: its script's.
        reason: why it waits, or how it ended.
        user: whose it is.
        name: as submitted.
    """

    job_id: str
    state: str
    queue: str
    nodes: int
    node_list: str
    exit_code: int
    reason: str
    user: str
    name: str


_COLUMNS = {
    "JobID": 24,
    "State": 24,
    "Partition": 40,
    "NumNodes": 12,
    "NodeList": 200,
    "exit_code": 12,
    "Reason": 120,
    "UserName": 60,
    "Name": 400,
}


def run(command: Callable[[list[str]], None], arguments: list[str]) -> int:
    """Run a command of a dialect as a program.

    Returns:
        Its exit code.
    """
    try:
        command(arguments[1:])
    except Refused as refusal:
        if str(refusal):
            print(refusal, file=sys.stderr)
        return refusal.exit_code
    return 0


def read_script(path: str) -> str:
    """Read a job's script; from standard input where no path is given."""
    try:
        return Path(path).read_text() if path and path != "-" else sys.stdin.read()
    except OSError as problem:
        raise Refused(f"{path}: {problem.strerror}") from None


def directives(script: str, mark: str) -> list[str]:
    """The options in a script's directives, as words; they stand before the first command."""
    words: list[str] = []
    for line in script.splitlines():
        if line.startswith(mark):
            words += shlex.split(line[len(mark) :], comments=True)
        elif line.strip() and not line.startswith("#"):
            break
    return words


def submit(request: Request) -> str:
    """Submit a job.

    Returns:
        Its id.

    Raises:
        Refused: Slurm did not want it; the message has Slurm's words.
    """
    script = request.script if request.script.startswith("#!") else f"#!/bin/sh\n{request.script}"
    shebang, _, rest = script.partition("\n")
    if not re.search(r"\b(ba|da|k|z|)sh\b", shebang):
        raise Refused(f"this dialect runs scripts of Bourne shells only, not of {shebang}")
    # Slurm reads directives of others too, and only in part.
    rest = re.sub(r"^#(PBS|BSUB|COBALT|SBATCH)\b", r"# \1", rest, flags=re.MULTILINE)
    options = [
        f"--job-name={request.name}",
        f"--nodes={request.nodes}",
        "--ntasks-per-node=1",
        f"--chdir={request.directory or str(Path.cwd())}",
        f"--output={request.output or f'{request.name}.o%j'}",
        "--open-mode=append",
    ]
    options += [f"--error={request.error}"] if request.error else []
    options += [f"--partition={request.queue}"] if request.queue else []
    options += [f"--account={request.account}"] if request.account else []
    options += ["--exclusive"] if request.cpus is None else [f"--cpus-per-task={request.cpus}"]
    options += [f"--mem={request.memory_mb}"] if request.memory_mb is not None else []
    options += [f"--time={request.minutes}"] if request.minutes is not None else []
    script = "\n".join([shebang, *request.preamble, rest])
    # Slurm gives the job the variables of whoever submits it; SLURM_CONF says which cluster that is.
    variables = {**request.variables, "SLURM_CONF": os.environ["SLURM_CONF"]}
    return _slurm(["sbatch", "--parsable", *options], script, variables).strip()


def look_up(job_ids: Iterable[str] = ()) -> dict[str, Seen]:
    """The jobs that Slurm knows, of those asked for, or all; ended ones too, within the hour."""
    wanted = [job_id for job_id in job_ids if job_id.isdigit()]
    columns = ",".join(f"{name}:{width}" for name, width in _COLUMNS.items())
    seen = {}
    for line in _slurm(["squeue", "--noheader", "--states=all", f"--Format={columns}"]).splitlines():
        row, start = [], 0
        for width in _COLUMNS.values():
            row.append(line[start : start + width].strip().replace("(null)", ""))
            start += width
        job_id, state, queue, nodes, node_list, exit_code, reason, user, name = row
        if not wanted or job_id in wanted:
            code = int(exit_code.partition(":")[0] or 0)
            seen[job_id] = Seen(job_id, state, queue, int(nodes), node_list, code, reason, user, name)
    return seen


def cancel(job_ids: Iterable[str]) -> None:
    """Cancel jobs."""
    _slurm(["scancel", *job_ids])


def minutes(time: str, *, seconds: bool) -> int:
    """Read a duration, rounded up to minutes.

    Args:
        time: as HH:MM:SS, HH:MM or a number.
        seconds: whether the last part counts seconds, or minutes.

    Raises:
        Refused: it is none.
    """
    parts = time.split(":")
    if not all(part.isdigit() for part in parts) or len(parts) > 3:
        raise Refused(f"{time!r} is not a duration")
    total = 0
    for part in parts:
        total = total * 60 + int(part)
    return -(-total // 60) if seconds else total


def environment_words(names: Iterable[str]) -> dict[str, str]:
    """Those variables of this process that have a value."""
    return {name: os.environ[name] for name in names if name in os.environ}


def cluster_name() -> str:
    """The name of the cluster that this process talks to."""
    for line in Path(os.environ["SLURM_CONF"]).read_text().splitlines():
        if line.startswith("ClusterName="):
            return line.partition("=")[2]
    return "cluster"


def _slurm(command: list[str], text: str = "", variables: Mapping[str, str] | None = None) -> str:
    if "SLURM_CONF" not in os.environ:
        raise Refused("SLURM_CONF does not say which cluster to talk to; python -m tests.sites up prints it")
    done = subprocess.run(
        command,
        input=text,
        capture_output=True,
        text=True,
        env=None if variables is None else {"PATH": os.environ.get("PATH", os.defpath), **variables},
        check=False,
    )
    if done.returncode:
        words = done.stderr.strip()
        kind = next((kind for part, kind in _REFUSALS.items() if part in words), "")
        raise Refused(words, done.returncode, kind)
    return done.stdout
