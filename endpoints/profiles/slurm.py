"""Profile ``slurm``: blocks are jobs of a Slurm cluster."""

from __future__ import annotations

from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from endpoints.allocation import clock
from endpoints.job_queue import SlurmQueue
from endpoints.profiles import profile
from endpoints.profiles.engine_parts import absent, worker_init
from endpoints.profiles.launchers import choose_launcher

if TYPE_CHECKING:
    from endpoints.configuration import Configuration


@profile("slurm", queue=lambda configuration: SlurmQueue(configuration.scheduler.command_timeout_s))
def slurm(configuration: Configuration, shape: str, directory: Path) -> Any:
    """A provider whose blocks are batch jobs, with what each node must have for the shape's workers."""
    with absent():
        from endpoints.profiles.slurm_provider import TellingSlurmProvider

    wanted, workers, scheduler = (
        configuration.shapes[shape],
        configuration.workers_per_node(shape),
        configuration.scheduler,
    )
    cores = scheduler.cores_per_node or ceil(workers * wanted.cores)
    # Since 22.05 srun does not ask for as many as the job has, and would bind all workers of a node to one core.
    srun = {"type": "SrunLauncher", "overrides": f"--ntasks-per-node=1 --cpus-per-task={cores}"}
    # A lost block is replaced by ours at once: a job that Slurm starts a second time would run on an old estimate.
    options = "\n".join(line for line in ("#SBATCH --no-requeue", scheduler.options.strip()) if line)
    return TellingSlurmProvider(
        partition=scheduler.partition or None,
        account=scheduler.account or None,
        qos=scheduler.qos or None,
        constraint=scheduler.constraint or None,
        nodes_per_block=scheduler.nodes_per_block,
        cores_per_node=cores,
        mem_per_node=ceil(workers * wanted.memory_gb) if wanted.memory_gb else None,
        gpus_per_node=workers * wanted.gpus or None,
        walltime=clock(scheduler.walltime_s),
        scheduler_options=options,
        worker_init=worker_init(directory, scheduler.worker_init),
        cmd_timeout=scheduler.command_timeout_s,
        exclusive=scheduler.exclusive,
        launcher=choose_launcher(scheduler, srun if scheduler.nodes_per_block > 1 else None),
    )
