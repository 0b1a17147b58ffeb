"""Whether a site has what an endpoint needs: Python, its environments, room on disk, a willing scheduler."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from shlex import join, split

from endpoints.configuration import Configuration
from endpoints.dry_run import submission
from endpoints.findings import Finding, doubtful, failed, ok
from endpoints.interpreter import Interpreter
from endpoints.job_queue import QueueUnavailable
from endpoints.places import Places
from endpoints.profiles import find_profile
from faas import __version__
from faas.errors import FaasError
from faas.file_systems import NETWORK, file_system_of

_PACKAGES = ("globus-compute-endpoint", "parsl", "dill", "httpx", "aiohttp")
_OLDEST = (3, 8)
_INTERPRETER_S = 60.0
_ROOM_BYTES = 1024**3
_INODES = 10_000
_ASK = "import platform, sys; print(sys.version_info[0], sys.version_info[1], platform.python_version())"


def check_python() -> Iterator[Finding]:
    """The agent's own interpreter and packages."""
    versions = []
    for name in _PACKAGES:
        try:
            versions.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            yield failed("packages", f"{name} is missing", "pip install 'faas-federation[endpoint]'")
            return
    yield ok("python", f"{platform.python_version()}, faas {__version__}, {', '.join(versions)}")


def check_environments(configuration: Configuration) -> Iterator[Finding]:
    """The interpreters of the environments, as this host has them; the block tells what compute nodes have."""
    for name, environment in sorted(configuration.environments.items()):
        what = f"environment {name}"
        interpreter = Interpreter(name, tuple(environment.command), tuple(environment.setup))
        if not interpreter.foreign:
            yield ok(what, "the agent's own Python")
            continue
        fix = f"correct environments.{name}, unless only compute nodes have it"
        try:
            ended = subprocess.run(
                interpreter.command_line(["-c", _ASK]),
                capture_output=True,
                text=True,
                check=False,
                timeout=_INTERPRETER_S,
                env={**os.environ, **environment.variables},
            )
        except OSError as error:
            yield doubtful(what, f"{join(interpreter.words)}: {error.strerror}", fix)
            continue
        except subprocess.TimeoutExpired:
            yield doubtful(what, f"{join(interpreter.words)} does not start in {_INTERPRETER_S:.0f} s", fix)
            continue
        told = ended.stdout.splitlines()[-1:]
        if ended.returncode or not told:
            yield doubtful(what, interpreter.explain_start(ended.returncode, ended.stderr), fix)
            continue
        major, minor, full = told[0].split()
        if (int(major), int(minor)) < _OLDEST:
            yield failed(what, f"Python {full} is too old", "name a Python of 3.8 or newer")
        else:
            yield ok(what, f"Python {full}, {join(interpreter.words)}")


def check_locations(configuration: Configuration) -> Iterator[Finding]:
    """The directories that the configuration declares to be locations, as this host has them."""
    for name, location in sorted(configuration.locations.items()):
        path = Path(location.path)
        fix = f"correct locations.{name}, or mount it; tasks that need it fail here"
        if not path.is_dir():
            yield doubtful(f"location {name}", f"{path} is no directory", fix)
        elif not os.access(path, os.R_OK | os.X_OK):
            yield doubtful(f"location {name}", f"{path} cannot be read", fix)
        else:
            only_read = "" if os.access(path, os.W_OK) else ", only to be read"
            yield ok(f"location {name}", f"{path}{only_read}")


def check_disk(configuration: Configuration, places: Places) -> Iterator[Finding]:
    """The endpoint's directory: writable, roomy, and of a kind that compute nodes can see."""
    directory = places.directory
    try:
        places.prepare()
        with tempfile.TemporaryFile(dir=places.run) as file:
            file.write(b"check")
            file.flush()
            os.fsync(file.fileno())
        room = os.statvfs(places.run)
    except OSError as error:
        yield failed("disk", f"{directory}: {error.strerror}", "make it writable, or name another one with FAAS_HOME")
        return
    free = room.f_bavail * room.f_frsize
    told = f"{directory} has {free / 1e9:.1f} GB"
    if free < _ROOM_BYTES:
        yield doubtful("disk", f"{told} left", "make room: results wait there while the service is away")
    elif room.f_files and room.f_favail < _INODES:
        yield doubtful("disk", f"{directory} has {room.f_favail} inodes left", "delete files")
    else:
        yield ok("disk", f"{told} left" + (f", {room.f_favail} inodes" if room.f_files else ""))
    kind = file_system_of(directory) or "unknown"
    if find_profile(configuration.profile).on_this_host or kind in NETWORK:
        yield ok("file system", kind)
    else:
        yield doubtful(
            "file system",
            f"{kind} is seldom shared with compute nodes",
            "see that they have the same directory; the block tells for sure",
        )


def check_scheduler(configuration: Configuration, places: Places) -> Iterator[Finding]:
    """Whether the scheduler answers, and would take the endpoint's jobs: account, partition, size."""
    profile = find_profile(configuration.profile)
    if profile.on_this_host:
        yield ok("scheduler", "none: workers run on this host")
        return
    try:
        profile.queue(configuration).find("faas")
    except QueueUnavailable as error:
        yield failed("scheduler", str(error), "see that its commands are on PATH, on this host")
        return
    yield ok("scheduler", f"{configuration.profile} tells of its jobs")
    for shape in configuration.shapes_by_size():
        yield _try_submission(configuration, shape, places)


def _try_submission(configuration: Configuration, shape: str, places: Places) -> Finding:
    what = "account and partition" if len(configuration.shapes) == 1 else f"account and partition, shape {shape}"
    fix = f"correct `scheduler:` in {places.configuration}"
    try:
        would = submission(configuration, shape, places)
    except FaasError as error:
        return failed(what, str(error), fix)
    program, *_ = split(would.command) or [""]
    if program != "sbatch":
        return doubtful(what, f"{program or 'this scheduler'} has no way to try a submission", "the block tells")
    with tempfile.TemporaryDirectory(prefix="faas-check-") as folder:
        script = Path(folder) / "block.sh"
        script.write_text(would.script)
        limit_s = configuration.scheduler.command_timeout_s
        try:
            ended = subprocess.run(
                [shutil.which(program) or program, "--test-only", str(script)],
                capture_output=True,
                text=True,
                check=False,
                timeout=limit_s,
            )
        except (OSError, subprocess.TimeoutExpired):
            return failed(what, f"{program} did not answer in {limit_s} s", "raise scheduler.command_timeout_s")
    said = " ".join((ended.stderr or ended.stdout).split())
    return failed(what, said, fix) if ended.returncode else ok(what, said or "the scheduler would take a block")
