"""PSI/J, the one library that still speaks Cobalt, submits, watches and cancels jobs by that dialect."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import psij
from psij.executors.batch.cobalt import CobaltExecutorConfig

from tests.sites.cluster import Cluster


def test_a_job_is_submitted_watched_and_cancelled(at: Callable[[str], Cluster], tmp_path: Path) -> None:
    cluster = at("cobalt")
    executor = psij.JobExecutor.get_instance(
        "cobalt",
        config=CobaltExecutorConfig(
            work_directory=tmp_path / "psij", queue_polling_interval=1, initial_queue_polling_delay=0
        ),
    )

    def job(*command: str) -> Any:
        return psij.Job(
            psij.JobSpec(
                executable="/bin/sh",
                arguments=["-c", *command],
                directory=tmp_path,
                stdout_path=tmp_path / "stdout",
                launcher="single",
                environment={"GIVEN": "told"},
                resources=psij.ResourceSpecV1(node_count=2, processes_per_node=1),
                attributes=psij.JobAttributes(
                    queue_name="debug",
                    account="science",
                    # Its template for Cobalt forgets the job's own name and duration.
                    custom_attributes={"cobalt.jobname": "nonce-1", "cobalt.time": "00:05:00"},
                ),
            )
        )

    first = job("echo $SLURMD_NODENAME $GIVEN")
    executor.submit(first)
    status = first.wait(timedelta(seconds=60))
    assert status is not None and status.state is psij.JobState.COMPLETED, status
    (seen,) = cluster.jobs()
    assert (seen.name, seen.nodes, seen.account, seen.job_id) == ("nonce-1", 2, "science", first.native_id)
    assert "TimeLimit=00:05:00" in cluster.run("scontrol", "show", "job", seen.job_id)
    node, given = (tmp_path / "stdout").read_text().split()
    assert (node in cluster.nodes, given) == (True, "told")

    second = job("sleep 600")
    executor.submit(second)
    second.wait(timedelta(seconds=60), [psij.JobState.ACTIVE])
    second.cancel()
    second.wait(timedelta(seconds=60))
    assert second.status.final
    assert cluster.wait_for(second.native_id, "CANCELLED")
