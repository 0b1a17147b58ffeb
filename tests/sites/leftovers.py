"""Ends what clusters left behind whose own process was killed before it could stop them."""

from __future__ import annotations

import contextlib
from pathlib import Path

import psutil

from tests.sites.node_processes import job_processes, kill, step_daemons

_DAEMONS = ("munged", "slurmctld", "slurmd")


def sweep(folder: Path) -> int:
    """End every process of a cluster.

    Args:
        folder: the cluster's own.

    Returns:
        How many there were.
    """
    slurm_conf = folder / "slurm.conf"
    found = []
    for pid_file in (*folder.glob("run/*.pid"), *folder.glob("munge/pid")):
        with contextlib.suppress(psutil.Error, OSError, ValueError):
            process = psutil.Process(int(pid_file.read_text()))
            if process.name() in _DAEMONS:
                found.append(process)
    # Before the jobs' own processes, whose end they would report.
    found += step_daemons(slurm_conf)
    kill(found)
    jobs = job_processes(slurm_conf)
    kill(jobs)
    return len(found) + len(jobs)
