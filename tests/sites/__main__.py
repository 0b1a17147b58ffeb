"""Three small supercomputers for a person to try things on: ``python -m tests.sites up``, and ``down``."""

from __future__ import annotations

import getpass
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, NoReturn

import psutil
import pytest
import typer

from tests.services.processes import ServiceFailed
from tests.sites.cluster import Cluster
from tests.sites.leftovers import sweep
from tests.sites.three import three_clusters

_TIMEOUT_S = 90.0
_DIALECTS = {"theta": "cobalt", "summit": "lsf", "cori": ""}
_COMMANDS = {"theta": "qsub, qstat, qdel", "summit": "bsub, bjobs, bkill", "cori": ""}

app = typer.Typer(add_completion=False, help=__doc__)
_Directory = Annotated[Path, typer.Option("--directory", help="Where to note what runs; it is removed at the end.")]
_DEFAULT = Path(tempfile.gettempdir()) / f"faas-sites-{getpass.getuser()}"


@app.command()
def up(
    directory: _Directory = _DEFAULT,
    detach: Annotated[bool, typer.Option("--detach", help="Return when they are up; 'down' stops them.")] = False,
) -> None:
    """Run theta, summit and cori, until Ctrl-C or SIGTERM."""
    directory = directory.absolute()
    if _owner(directory) is not None:
        _fail(f"The sites in {directory} run already: stop them with {_down(directory)}, or give another --directory.")
    if directory.exists() and any(directory.iterdir()) and not _pid_file(directory).exists():
        _fail(f"{directory} holds something else: give a --directory that is absent or empty.")
    _clear(directory)
    directory.mkdir(parents=True, exist_ok=True)
    if detach:
        _detach(directory)
    else:
        serve(directory)


@app.command()
def down(directory: _Directory = _DEFAULT) -> None:
    """Stop the sites, and whatever still runs on them."""
    directory = directory.absolute()
    if not _pid_file(directory).exists():
        _fail(f"No sites run in {directory}; give the --directory you gave 'up'.")
    owner = _owner(directory)
    if owner is not None:
        owner.terminate()
        try:
            owner.wait(_TIMEOUT_S)
        except psutil.TimeoutExpired:
            owner.kill()
    _clear(directory)


@app.command(hidden=True)
def serve(directory: _Directory) -> None:
    """Run the sites in a directory made for them, until a signal comes."""
    _pid_file(directory).write_text(str(os.getpid()))
    _on_signals(_interrupt)
    try:
        with three_clusters() as sites:
            try:
                for name, site in sites.items():
                    (directory / name).symlink_to(site.folder)
                    _environment_file(directory, name).write_text(_exports(site.environment(_DIALECTS[name])))
                print(_advice(directory, sites), flush=True)
                (directory / "ready").touch()
                while True:
                    signal.pause()
            except KeyboardInterrupt:
                _on_signals(signal.SIG_IGN)  # one is enough
                print("Stopping.", flush=True)
    except KeyboardInterrupt:  # while they started
        pass
    except pytest.skip.Exception as missing:
        _clear(directory)
        _fail(str(missing))
    except ServiceFailed as problem:
        _fail(str(problem))
    _clear(directory)


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _on_signals(action: Callable[[int, object], None] | signal.Handlers) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, action)


def _detach(directory: Path) -> None:
    """Run the sites in another process, and return when they are up."""
    log = directory / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.sites", "serve", "--directory", directory],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    deadline = time.monotonic() + _TIMEOUT_S
    while not (directory / "ready").exists():
        if process.poll() is not None or time.monotonic() > deadline:
            process.terminate()
            _fail(f"The sites did not come up:\n{log.read_text(errors='replace') if log.exists() else ''}")
        time.sleep(0.05)
    print(f"{log.read_text()}\nStop them: {_down(directory)}")


def _advice(directory: Path, sites: Mapping[str, Cluster]) -> str:
    lines = ["Three sites are up, each a Slurm cluster of its own. What to do at each, in a terminal of its own:", ""]
    for name, site in sites.items():
        dialect = f"; besides Slurm's commands {_COMMANDS[name]}, as a dialect over it" if _COMMANDS[name] else ""
        lines += [
            f"{name}: nodes {', '.join(site.nodes)}{dialect}",
            f"    source {shlex.quote(str(_environment_file(directory, name)))}",
            "    sinfo",
            f"    faas endpoint configure {name} --profile slurm",
            f"    faas endpoint start {name}",
            "",
        ]
    lines += [
        "The service and a token come from: faas up",
        "Partitions: debug (default), urgent (goes first), preempt (gives way to urgent). Account: science, or none.",
        "A job may run an hour. SLURMD_NODENAME, not the host's name, tells a job where it is. Ctrl-C stops all.",
    ]
    return "\n".join(lines)


def _exports(variables: Mapping[str, str]) -> str:
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())


def _environment_file(directory: Path, name: str) -> Path:
    return directory / f"{name}.env"


def _pid_file(directory: Path) -> Path:
    return directory / "pid"


def _owner(directory: Path) -> psutil.Process | None:
    """The process that runs the sites in a directory, if there is one."""
    try:
        process = psutil.Process(int(_pid_file(directory).read_text()))
        return process if "tests.sites" in process.cmdline() else None
    except (OSError, ValueError, psutil.Error):
        return None


def _clear(directory: Path) -> None:
    """End what runs in a directory of ours, and remove it."""
    if _pid_file(directory).exists():
        for link in directory.iterdir():
            if link.is_symlink() and link.is_dir():
                sweep(link.resolve())
                shutil.rmtree(link.resolve(), ignore_errors=True)
        shutil.rmtree(directory, ignore_errors=True)


def _down(directory: Path) -> str:
    where = "" if directory == _DEFAULT else f" --directory {shlex.quote(str(directory))}"
    return f"python -m tests.sites down{where}"


def _fail(message: str) -> NoReturn:
    print(message, file=sys.stderr)
    raise typer.Exit(1)


if __name__ == "__main__":
    app(prog_name="python -m tests.sites")
