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


def _first(environment: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((value for name in names if (value := environment.get(name))), "")
