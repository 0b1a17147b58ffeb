"""Processes are found by the nonce they carry, whoever their parent is, and stopped even if they resist."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from endpoints.processes import NONCE_VARIABLE, child_processes, find_processes, stop_processes


@pytest.fixture
def nonce() -> Iterator[str]:
    made = uuid.uuid4().hex
    yield made
    for process in find_processes(made):
        process.kill()


def start(nonce: str, program: str) -> subprocess.Popen[str]:
    """Start a program that says when it is ready."""
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, NONCE_VARIABLE: nonce},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


WAIT = "import time; print('ready', flush=True); time.sleep(1000)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + WAIT
GRANDCHILD = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {WAIT!r}], start_new_session=True)"
EXITS_CLEANLY = (
    "import signal, sys, time\n"
    "signal.signal(signal.SIGTERM, lambda *_: sys.exit(42))\n"
    "print('ready', flush=True)\n"
    "time.sleep(1000)\n"
)


def test_only_processes_with_the_nonce_are_found(nonce: str) -> None:
    ours, other = start(nonce, WAIT), start(nonce + "0", WAIT)
    try:
        assert [process.pid for process in find_processes(nonce)] == [ours.pid]
        assert stop_processes(nonce) == 1
        assert ours.wait() != 0
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_orphans_are_found(nonce: str) -> None:
    start(nonce, GRANDCHILD).wait()
    (orphan,) = find_processes(nonce)
    assert stop_processes(nonce) == 1
    assert not psutil.pid_exists(orphan.pid) or orphan.status() == psutil.STATUS_ZOMBIE


def test_processes_get_the_chance_to_end_by_themselves(nonce: str) -> None:
    process = start(nonce, EXITS_CLEANLY)
    stop_processes(nonce)
    assert process.wait() == 42


def test_stubborn_processes_are_killed(nonce: str) -> None:
    processes = [start(nonce, STUBBORN) for _ in range(2)]
    assert stop_processes(nonce, grace_s=0.2) == 2
    assert [process.wait() for process in processes] == [-9, -9]
    assert stop_processes(nonce) == 0


def test_neither_this_process_nor_its_ancestors_are_found(nonce: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import os, subprocess, sys\n"
        "from endpoints.processes import find_processes\n"
        "if len(sys.argv) == 1:\n"
        "    sys.exit(subprocess.call([sys.executable, __file__, 'inner']))\n"
        "print(find_processes(os.environ['FAAS_NONCE']))\n"
    )
    environment = {**os.environ, NONCE_VARIABLE: nonce, "PYTHONPATH": str(Path.cwd())}
    assert subprocess.check_output([sys.executable, str(script)], env=environment, text=True) == "[]\n"


def test_children_are_listed() -> None:
    process = subprocess.Popen(["sleep", "1000"])
    try:
        assert process.pid in child_processes()
    finally:
        process.kill()
        process.wait()
    assert process.pid not in child_processes()
