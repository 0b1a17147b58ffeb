"""A Globus Compute configuration with `GlobusMPIEngine` at a real Slurm: functions start programs on several nodes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.services.federation import Federation
from tests.sites.cluster import Cluster
from tests.sites.site import Site

LIMIT_S = 180
GLOBUS = """\
display_name: MPI
engine:
  type: GlobusMPIEngine
  mpi_launcher: srun
  max_workers_per_block: {{ WORKERS }}
  address: 127.0.0.1
  provider:
    type: SlurmProvider
    partition: debug
    exclusive: False
    launcher:
      type: SimpleLauncher
    nodes_per_block: 2
    min_blocks: 0
    max_blocks: 1
    walltime: 00:10:00
"""


def ranks(number: int, meeting: str, present: int) -> tuple[list[str], str]:
    """The node of each rank, and those it was given, once so many calls run at the same time."""
    import os
    import pathlib
    import subprocess
    import time

    (pathlib.Path(meeting) / str(number)).touch()
    while len(list(pathlib.Path(meeting).iterdir())) < present:
        time.sleep(0.1)
    command = [*os.environ["PARSL_MPI_PREFIX"].split(), "sh", "-c", "echo $SLURMD_NODENAME $SLURM_PROCID"]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    if told.returncode:
        raise OSError(told.stderr)
    nodes = sorted(line.split()[0] for line in told.stdout.splitlines())
    return nodes, os.environ["PARSL_MPI_NODELIST"]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_function_starts_one_rank_on_each_of_its_nodes(workers: int, slurm: Cluster, tmp_path: Path) -> None:
    (tmp_path / "globus.yaml").write_text(GLOBUS)
    options = ["--engine-config", str(tmp_path / "globus.yaml"), "--set", f"WORKERS={workers}"]
    options += ["--set", "scheduler.status_period_s=1", "--set", "blocks.max_idletime_s=120"]
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    with Federation(tmp_path / "f") as federation:
        federation.add_endpoint("lab", options=options, workers=workers, environment=slurm.environment())
        lab = Site(federation, slurm)
        with lab.executor() as executor:
            futures = [executor.submit(ranks, number, str(meeting), workers) for number in range(workers)]
            answers = [future.result(LIMIT_S) for future in futures]
            again = executor.submit(ranks, 0, str(meeting), workers).result(LIMIT_S)
        (block,) = lab.blocks()
        assert (block.nodes, block.workers) == (2, workers)
        (job,) = slurm.live_jobs()
        assert job.nodes == 2
        for nodes, given in [*answers, again]:
            assert nodes == sorted(given.split(","))
            assert len(nodes) == 2 // workers
        # Those that run at the same time have nodes of their own.
        assert len({node for nodes, _ in answers for node in nodes}) == 2
    assert slurm.left_jobs() == []
