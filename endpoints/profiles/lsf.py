"""Profile ``lsf``: blocks are jobs of IBM Spectrum LSF."""

from __future__ import annotations

from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from endpoints.allocation import clock
from endpoints.profiles import profile
from endpoints.profiles.engine_parts import absent, worker_init
from endpoints.profiles.launchers import choose_launcher
from endpoints.profiles.lsf_queue import LsfQueue
from faas.errors import ConfigurationError

if TYPE_CHECKING:
    from endpoints.configuration import Configuration


def _check(configuration: Configuration) -> None:
    if configuration.scheduler.nodes_per_block > 1 and configuration.scheduler.launcher is None:
        raise ConfigurationError(
            "LSF has no one way to start workers on all nodes of a block. Say which this site has, for instance"
            " `scheduler: {launcher: {type: JsrunLauncher}}`, or set nodes_per_block to 1."
        )


@profile("lsf", queue=lambda configuration: LsfQueue(configuration.scheduler.command_timeout_s), check=_check)
def lsf(configuration: Configuration, shape: str, directory: Path) -> Any:
    """A provider whose blocks are batch jobs, with what each node must have for the shape's workers."""
    with absent():
        from endpoints.profiles.lsf_provider import TellingLSFProvider

    wanted, scheduler = configuration.shapes[shape], configuration.scheduler
    workers = configuration.workers_per_node(shape)
    cores = scheduler.cores_per_node or ceil(workers * wanted.cores)
    # A lost block is replaced by ours at once: a job that LSF starts a second time would run on an old estimate.
    options = ["#BSUB -rn", scheduler.options.strip()]
    if scheduler.exclusive and not scheduler.whole_nodes:
        options.append("#BSUB -x")
    if wanted.gpus and not scheduler.whole_nodes:
        options.append(f"#BSUB -gpu num={workers * wanted.gpus}")
    return TellingLSFProvider(
        project=scheduler.account or None,
        queue=scheduler.partition or None,
        nodes_per_block=scheduler.nodes_per_block,
        cores_per_block=scheduler.nodes_per_block * cores,
        cores_per_node=cores,
        # Only some machines give out nodes (``-nnodes``); everywhere else it is slots.
        request_by_nodes=scheduler.whole_nodes,
        # Without it, LSF reads the directives in a script only where its administrators chose so.
        bsub_redirection=True,
        scheduler_options="\n".join(filter(None, options)),
        walltime=clock(scheduler.walltime_s),
        worker_init=worker_init(directory, scheduler.worker_init),
        cmd_timeout=scheduler.command_timeout_s,
        launcher=choose_launcher(scheduler),
    )
