"""`GlobusMPIEngine`: the workers of a block sit on its first node, and each has nodes for what its functions start."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from faas.errors import ConfigurationError

ENGINE = "GlobusMPIEngine"
LAUNCHERS = ("srun", "aprun", "mpiexec")
"""Parsl's, for which it composes ``$PARSL_MPI_PREFIX``."""
_PROVIDERS = ("SlurmProvider", "PBSProProvider")
"""Parsl asks the schedulers of these which nodes a job has."""


def check_mpi(engine: Mapping[str, Any], provider: Mapping[str, Any], source: str) -> None:
    """See whether a configuration with this engine can work.

    Args:
        engine: its ``engine:``.
        provider: its ``provider:``.
        source: the file's name, for messages.

    Raises:
        ConfigurationError: it cannot; the message says why, and what would.
    """
    kind = provider["type"]
    if kind not in _PROVIDERS:
        raise ConfigurationError(
            f"{source}: engine.provider.type {kind} cannot be used with {ENGINE}: which nodes a job has is asked of"
            f" Slurm and PBS only. There are {', '.join(_PROVIDERS)}."
        )
    launcher = provider.get("launcher")
    if not isinstance(launcher, dict) or launcher.get("type") != "SimpleLauncher":
        raise ConfigurationError(
            f"{source}: engine.provider.launcher must be `{{type: SimpleLauncher}}` with {ENGINE}: its workers are"
            " started once for a block, not on every node."
        )
    if (program := engine.get("mpi_launcher", "mpiexec")) not in LAUNCHERS:
        raise ConfigurationError(
            f"{source}: engine.mpi_launcher cannot be {program!r}; there are {', '.join(LAUNCHERS)}."
        )
    workers, nodes = engine.get("max_workers_per_block", 1), provider.get("nodes_per_block", 1)
    if isinstance(workers, int) and isinstance(nodes, int) and workers > nodes:
        raise ConfigurationError(
            f"{source}: engine.max_workers_per_block is {workers}, and a block has {nodes} node(s): each worker needs"
            " at least one."
        )


def share_of_nodes(nodes: int, workers: int) -> dict[str, Any]:
    """What each worker of a block gets, as Parsl's resource specification: equal shares, and one rank on each node.

    Args:
        nodes: of the block.
        workers: of the block.

    Example:
        >>> share_of_nodes(4, 2)
        {'num_nodes': 2, 'ranks_per_node': 1, 'num_ranks': 2}
    """
    share = max(1, nodes // workers)
    return {"num_nodes": share, "ranks_per_node": 1, "num_ranks": share}
