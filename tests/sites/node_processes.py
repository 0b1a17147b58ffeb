"""Finds the processes of a cluster's nodes: Slurm's own, and those of jobs, wherever they went."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

import psutil

from endpoints.processes import await_ends


def step_daemons(slurm_conf: Path, node: str = "") -> list[psutil.Process]:
    """The daemons (slurmstepd) that run the steps of jobs, known by their socket in the cluster's folder.

    Args:
        slurm_conf: the cluster's.
        node: one node; all of them if empty.
    """
    spool = slurm_conf.parent / "spool"
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.name() == "slurmstepd" and any(
                Path(str(connection.laddr)).is_relative_to(spool / node)
                for connection in process.net_connections(kind="unix")
                if connection.laddr
            ):
                found.append(process)
    return found


def job_processes(slurm_conf: Path, node: str = "") -> list[psutil.Process]:
    """The processes of jobs, those included that have left their session and parents.

    Args:
        slurm_conf: the cluster's.
        node: one node; all of them if empty.
    """
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            variables = process.environ()
            # People's own shells have SLURM_CONF as well.
            if variables.get("SLURM_CONF") == str(slurm_conf) and _is_of(variables.get("SLURMD_NODENAME"), node):
                found[process.pid] = process
    for daemon in step_daemons(slurm_conf, node):
        with contextlib.suppress(psutil.Error):
            found.update({child.pid: child for child in daemon.children(recursive=True)})
    return list(found.values())


def kill(processes: Iterable[psutil.Process]) -> None:
    """End processes at once and wait until they run no more."""
    victims = list(processes)
    for process in victims:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    # Not until they are reaped: that is up to whoever has inherited them.
    await_ends([process.pid for process in victims], 10.0)


def _is_of(value: str | None, node: str) -> bool:
    return value is not None and node in ("", value)
