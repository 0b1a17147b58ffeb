"""``python -m tests.sites`` gives a person three sites to work with, and takes them away again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.sites.node_processes import job_processes, step_daemons

_ROOT = Path(__file__).parents[2]


def _sites(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.sites", *arguments]
    return subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False, timeout=120)


def _in_a_shell(directory: Path, site: str, command: str) -> str:
    script = f". {directory / site}.env; {command}"
    return subprocess.run(["sh", "-c", script], cwd=directory, capture_output=True, text=True, check=True).stdout


def test_sites_are_up_to_work_with_until_they_are_taken_down(tmp_path: Path) -> None:
    directory = tmp_path / "sites"
    directory.mkdir(mode=0o700)
    started = _sites("up", "--detach", "--directory", directory)
    try:
        assert started.returncode == 0, started.stderr
        for site in ("theta", "summit", "cori"):
            assert f"source {directory / site}.env" in started.stdout
            assert f"{site}1" in _in_a_shell(directory, site, "sinfo --noheader --Node --states=idle")
        _in_a_shell(directory, "cori", "sbatch --wrap 'exec sleep 600'")
        folders = [(directory / site).resolve() for site in ("theta", "summit", "cori")]
        (directory / "script").write_text("#!/bin/sh\nexec sleep 600\n")
        assert "is submitted to" in _in_a_shell(directory, "summit", "bsub script")
        again = _sites("up", "--directory", directory)
        assert (again.returncode, "run already" in again.stderr) == (1, True)
    finally:
        stopped = _sites("down", "--directory", directory)
    assert stopped.returncode == 0, stopped.stderr
    assert not directory.exists()
    for folder in folders:
        assert not folder.exists()
        assert not step_daemons(folder / "slurm.conf")
        assert not job_processes(folder / "slurm.conf")


def test_what_a_killed_one_left_is_ended(tmp_path: Path) -> None:
    directory = tmp_path / "sites"
    started = _sites("up", "--detach", "--directory", directory)
    assert started.returncode == 0, started.stderr
    theta = (directory / "theta").resolve()
    _in_a_shell(directory, "theta", "sbatch --wait-all-nodes=1 --wrap 'exec sleep 600'")
    deadline = time.monotonic() + 60
    while not job_processes(theta / "slurm.conf") and time.monotonic() < deadline:
        time.sleep(0.05)
    left = job_processes(theta / "slurm.conf")
    os.kill(int((directory / "pid").read_text()), signal.SIGKILL)
    assert left
    stopped = _sites("down", "--directory", directory)
    assert stopped.returncode == 0, stopped.stderr
    assert not job_processes(theta / "slurm.conf")
    assert not step_daemons(theta / "slurm.conf")
    assert not theta.exists()
    assert not directory.exists()


def test_a_directory_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis").touch()
    for command in ("up", "down"):
        refused = _sites(command, "--directory", tmp_path)
        assert (refused.returncode, "--directory" in refused.stderr) == (1, True)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis"]
