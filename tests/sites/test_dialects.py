"""Parsl's own providers submit, watch and cancel jobs, by Slurm's commands and by those of other schedulers."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from parsl.jobs.states import JobState
from parsl.providers import LSFProvider, PBSProProvider, SlurmProvider

from tests.sites.cluster import Cluster
from tests.sites.configuration import Rules

_PROVIDERS: dict[str, Callable[[], Any]] = {
    "": lambda: SlurmProvider(partition="debug", account="science", walltime="00:05:00", exclusive=False),
    "pbspro": lambda: PBSProProvider(
        queue="debug", account="science", walltime="00:05:00", select_options="mem=1gb", cpus_per_node=2
    ),
    "lsf": lambda: LSFProvider(queue="debug", project="science", walltime="00:05:00"),
}


@pytest.mark.parametrize("dialect", _PROVIDERS)
class TestProvider:
    def provider(self, dialect: str, folder: Path) -> Any:
        provider = _PROVIDERS[dialect]()
        provider.script_dir = str(folder)
        return provider

    def test_submits_and_sees_the_end(self, dialect: str, at: Callable[[str], Cluster], tmp_path: Path) -> None:
        cluster = at(dialect)
        provider = self.provider(dialect, tmp_path)
        job_id = provider.submit(f"echo $SLURMD_NODENAME > {tmp_path}/node", 1, job_name="nonce-1")
        (job,) = cluster.jobs()
        assert job_id.partition(".")[0] == job.job_id
        assert "nonce-1" in job.name
        assert (job.partition, job.account, job.nodes) == ("debug", "science", 1)
        cluster.wait_until(lambda: provider.status([job_id])[0].state is JobState.COMPLETED)
        assert (tmp_path / "node").read_text().strip() in cluster.nodes

    def test_sees_queue_and_run_and_cancels(self, dialect: str, at: Callable[[str], Cluster], tmp_path: Path) -> None:
        cluster = at(dialect)
        provider = self.provider(dialect, tmp_path)
        with cluster.queue_closed():
            job_id = provider.submit("sleep 600", 1)
            assert provider.status([job_id])[0].state is JobState.PENDING
        cluster.wait_until(lambda: provider.status([job_id])[0].state is JobState.RUNNING)
        assert provider.cancel([job_id]) == [True]
        cluster.wait_until(lambda: not cluster.live_jobs())
        assert cluster.job(job_id.partition(".")[0]).state == "CANCELLED"


@pytest.mark.parametrize(
    ("dialect", "command", "words", "code"),
    [
        ("pbspro", "qsub -q nowhere script", "qsub: Unknown queue", 170),
        ("pbspro", "qsub -A nobody script", "Invalid account", 32),
        ("pbspro", "qsub -l walltime=99:00:00 script", "violates queue and/or server resource limits", 188),
        ("pbspro", "qsub script", "would exceed limit", 175),
        ("pbspro", "qsub --nonsense script", "--nonsense", 2),
        ("pbspro", "qstat 9999.slurm", "qstat: Unknown Job Id 9999.slurm", 153),
        ("pbspro", "qdel 9999.slurm", "qdel: Unknown Job Id 9999.slurm", 153),
        ("lsf", "bsub -q nowhere script", "nowhere: No such queue. Job not submitted.", 255),
        ("lsf", "bsub -P nobody script", "nobody: Invalid project name", 255),
        ("lsf", "bsub -W 99:00 script", "RUNLIMIT", 255),
        ("lsf", "bsub script", "job slot limit", 255),
        ("lsf", "bjobs 9999", "Job <9999> is not found", 255),
        ("lsf", "bkill 9999", "No matching job found", 255),
        ("cobalt", "qsub -q nowhere script", "queue 'nowhere' does not exist", 1),
        ("cobalt", "qsub -A nobody script", "project 'nobody'", 1),
        ("cobalt", "qsub script", "limit of jobs", 1),
        ("cobalt", "qsub /nonexistent", "not found", 1),
        ("cobalt", "qstat 9999", "", 1),
    ],
)
def test_refusals(
    at: Callable[[str], Cluster], tmp_path: Path, dialect: str, command: str, words: str, code: int
) -> None:
    cluster = at(dialect)
    cluster.set_rules(Rules(max_jobs=0 if command.endswith("sub script") else None))
    _script(tmp_path, "true")
    done = subprocess.run(command.split(), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert words in done.stderr
    assert done.returncode == code
    assert not cluster.live_jobs()


@pytest.mark.parametrize(
    ("dialect", "command", "variables"),
    [
        ("pbspro", "qsub script", "$PBS_JOBID $PBS_ENVIRONMENT $PBS_NODEFILE"),
        ("lsf", "bsub script", "$LSB_JOBID $LSB_QUEUE $LSB_DJOB_HOSTFILE"),
        ("cobalt", "qsub -n 2 -t 5 script", "$COBALT_JOBID $COBALT_JOBSIZE $COBALT_NODEFILE"),
    ],
)
def test_a_job_has_the_variables_of_its_scheduler(
    at: Callable[[str], Cluster], tmp_path: Path, dialect: str, command: str, variables: str
) -> None:
    cluster = at(dialect)
    # Slurm would take the first for its own, and stop at an option of another scheduler's that it does not know.
    _script(
        tmp_path,
        "#PBS -l select=2:ncpus=1,walltime=00:05:00 -N named",
        "#BSUB -nnodes 2 -W 5 -J named",
        "#COBALT --jobname=named",
        "#SBATCH --nodes=99",
        f"set -- {variables}",
        f'echo "$1 $2 $(sort "$3" | tr "\\n" " ")${{SECRET-}}" > {tmp_path}/seen',
    )
    done = subprocess.run(
        command.split(), cwd=tmp_path, env={**os.environ, "SECRET": "told"}, capture_output=True, text=True, check=True
    )
    (job,) = cluster.jobs()
    cluster.wait_for(job.job_id, "COMPLETED")
    job_id, second, *nodes = (tmp_path / "seen").read_text().split()
    assert job.name == "named"
    assert job_id in done.stdout
    assert job_id.partition(".")[0] == job.job_id
    assert second == {"pbspro": "PBS_BATCH", "lsf": "debug", "cobalt": "2"}[dialect]
    # LSF alone gives a job all the submitter's variables unasked.
    assert nodes == ["slurm1", "slurm2", *(["told"] if dialect == "lsf" else [])]


@pytest.mark.parametrize(
    ("dialect", "command", "launch"),
    [
        ("pbspro", "qsub -l select=2:ncpus=2 script", "mpiexec -n 4 --ppn 2"),
        ("lsf", "bsub -nnodes 2 script", "jsrun -n 4 -r 2"),
        ("cobalt", "qsub -n 2 script", "aprun -n 4 -N 2"),
    ],
)
def test_a_job_starts_programs_on_all_its_nodes(
    at: Callable[[str], Cluster], tmp_path: Path, dialect: str, command: str, launch: str
) -> None:
    cluster = at(dialect)
    _script(tmp_path, f"{launch} sh -c 'echo $SLURMD_NODENAME' > {tmp_path}/nodes")
    subprocess.run(command.split(), cwd=tmp_path, capture_output=True, check=True)
    (job,) = cluster.jobs()
    cluster.wait_for(job.job_id, "COMPLETED")
    assert sorted((tmp_path / "nodes").read_text().split()) == ["slurm1", "slurm1", "slurm2", "slurm2"]


def _script(folder: Path, *lines: str) -> None:
    script = folder / "script"
    script.write_text("\n".join(["#!/bin/bash", *lines, ""]))
    script.chmod(0o755)
