"""Profile ``pbspro``: blocks are jobs of PBS Pro or OpenPBS."""

from __future__ import annotations

from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from endpoints.allocation import clock
from endpoints.profiles import profile
from endpoints.profiles.engine_parts import absent, worker_init
from endpoints.profiles.launchers import choose_launcher
from endpoints.profiles.pbspro_queue import PbsQueue

if TYPE_CHECKING:
    from endpoints.configuration import Configuration


@profile("pbspro", queue=lambda configuration: PbsQueue(configuration.scheduler.command_timeout_s))
def pbspro(configuration: Configuration, shape: str, directory: Path) -> Any:
    """A provider whose blocks are batch jobs, with what each node must have for the shape's workers."""
    with absent():
        from endpoints.profiles.pbspro_provider import TellingPBSProProvider

    wanted, scheduler = configuration.shapes[shape], configuration.scheduler
    workers, several = configuration.workers_per_node(shape), scheduler.nodes_per_block > 1
    select = [scheduler.select_options.strip(":")]
    if wanted.gpus and "ngpus=" not in scheduler.select_options:
        select.append(f"ngpus={workers * wanted.gpus}")
    if wanted.memory_gb and "mem=" not in scheduler.select_options:
        select.append(f"mem={ceil(workers * wanted.memory_gb)}gb")
    # A lost block is replaced by ours at once: a job that PBS starts a second time would run on an old estimate.
    options = ["#PBS -r n", scheduler.options.strip()]
    if scheduler.exclusive:
        options.append("#PBS -l place=scatter:excl")
    return TellingPBSProProvider(
        account=scheduler.account or None,
        queue=scheduler.partition or None,
        nodes_per_block=scheduler.nodes_per_block,
        cpus_per_node=scheduler.cores_per_node or ceil(workers * wanted.cores),
        select_options=":".join(filter(None, select)),
        scheduler_options="\n".join(filter(None, options)),
        walltime=clock(scheduler.walltime_s),
        worker_init=worker_init(directory, scheduler.worker_init),
        cmd_timeout=scheduler.command_timeout_s,
        launcher=choose_launcher(scheduler, {"type": "MpiExecLauncher", "overrides": "-ppn 1"} if several else None),
    )
