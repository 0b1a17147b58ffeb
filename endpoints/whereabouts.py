"""Where a worker runs, in the words of the node's scheduler: what a person asks for after a failure."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

import msgspec

BLOCK_VARIABLE = "FAAS_BLOCK"
"""The block's id in the environment of its workers."""
_NODES = ("SLURMD_NODENAME",)
_JOBS = ("PBS_JOBID", "LSB_JOBID", "COBALT_JOBID", "SLURM_JOB_ID", "FLUX_JOB_ID", "JOB_ID")
"""The last one is Grid Engine's. Where one scheduler imitates another, the imitated one's words are those known."""
_BLOCKS = (BLOCK_VARIABLE, "PARSL_BLOCK_ID")

_NODES_GIVEN = (
    *("PARSL_MPI_PREFIX", "PARSL_SRUN_PREFIX", "PARSL_MPIEXEC_PREFIX", "PARSL_APRUN_PREFIX"),
    *("PARSL_MPI_NODELIST", "PARSL_NUM_NODES", "PARSL_NUM_RANKS", "PARSL_RANKS_PER_NODE"),
)


class Whereabouts(msgspec.Struct, frozen=True, omit_defaults=True):
    """A worker process and what it runs in."""

    host: str = ""
    worker: str = ""
    """``pid@host``."""
    node: str = ""
    """The node's name to its scheduler; the host's name where there is none."""
    job_id: str = ""
    """The batch job's; empty outside of one."""
    block_id: str = ""


def whereabouts(environment: Mapping[str, str] = os.environ) -> Whereabouts:
    """Where this process runs.

    Args:
        environment: its environment variables.

    Example:
        >>> whereabouts({"SLURMD_NODENAME": "theta1", "SLURM_JOB_ID": "17", "PARSL_BLOCK_ID": "0"}).node
        'theta1'
    """
    host = socket.gethostname()
    return Whereabouts(
        host=host,
        worker=f"{os.getpid()}@{host}",
        node=_first(environment, _NODES) or host,
        job_id=_first(environment, _JOBS),
        block_id=_first(environment, _BLOCKS),
    )


def nodes_given(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The variables that tell which nodes a worker has at this moment, and how to start a program on all of them.

    Parsl sets them anew for each chunk, where an endpoint's engine is for MPI; a runner has what it was started with.

    Args:
        environment: the worker's environment variables.

    Example:
        >>> nodes_given({"PARSL_MPI_NODELIST": "theta1,theta2", "HOME": "/home/ada"})
        {'PARSL_MPI_NODELIST': 'theta1,theta2'}
    """
    return {name: environment[name] for name in _NODES_GIVEN if name in environment}


def _first(environment: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((value for name in names if (value := environment.get(name))), "")
