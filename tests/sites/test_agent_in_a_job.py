"""The agent in a batch job of a real Slurm: it renews itself, hands over, and is stopped with all it has."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import faas
from endpoints.agent_jobs import job_prefix
from faas.credentials import read_credentials
from tests.services.federation import COMMAND, Federation
from tests.sites.cluster import Cluster
from tests.sites.jobs import Job
from tests.sites.site import SETTINGS

LIMIT_S = 180
# The next job is submitted 30 s after the start of one: three quarters of its walltime are the most.
JOB = "agent_job: {walltime_s: 120, renew_s: 90, handover_s: 30, finish_s: 15, memory_gb: 0.5}\n"
BLOCKS = "scheduler: {walltime_s: 600, status_period_s: 1}\nblocks: {max_blocks: 1, max_idletime_s: 5}\n"


def where(x: int, seconds: float = 0.0) -> tuple[int, str]:
    import os
    import time

    time.sleep(seconds)
    return x, os.environ["SLURM_JOB_ID"]


class LoginNode:
    """Commands given beside the cluster; the endpoint is ``lab``."""

    def __init__(self, federation: Federation, cluster: Cluster) -> None:
        self.federation = federation
        self.cluster = cluster
        self.directory = federation.directory / "endpoints" / "lab"
        self._environment = {**cluster.environment(), "FAAS_HOME": str(federation.directory)}

    def faas(self, *arguments: str, code: int = 0) -> str:
        ended = subprocess.run(
            [*COMMAND, *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT_S,
            env={**os.environ, **self._environment},
        )
        assert ended.returncode == code, ended.stderr + ended.stdout
        return ended.stdout + ended.stderr

    def agents(self) -> list[Job]:
        """The agent's own jobs, ended ones included."""
        endpoint_id = read_credentials(self.directory / "credentials.json").endpoint_id
        return [job for job in self.cluster.jobs() if job.name.startswith(job_prefix(endpoint_id))]

    def log(self) -> str:
        return (self.directory / "agent.log").read_text()

    def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + LIMIT_S
        while not condition():
            assert time.monotonic() < deadline, self.log()[-4000:]
            time.sleep(0.1)


@pytest.fixture
def login_node(slurm: Cluster, tmp_path: Path) -> Iterator[LoginNode]:
    with Federation(tmp_path / "f") as federation:
        federation.faas("endpoint", "configure", "lab")
        federation.reconfigure("lab", SETTINGS + BLOCKS + JOB)
        node = LoginNode(federation, slurm)
        try:
            yield node
        finally:
            node.faas("endpoint", "stop", "lab")
            assert slurm.left_jobs() == []


def test_it_is_followed_by_another_job_and_no_task_is_lost(login_node: LoginNode) -> None:
    assert "runs in batch job" in login_node.faas("endpoint", "start", "lab", "--as-job")
    assert "already has batch job" in login_node.faas("endpoint", "start", "lab", "--as-job", code=3)
    assert login_node.faas("endpoint", "start", "lab", "--as-job", "--unless-running") == ""
    with faas.Executor(client=login_node.federation.client(), endpoint_id="lab") as executor:
        assert executor.submit(where, 1, 1.0).result(LIMIT_S)[0] == 1
        (first,) = login_node.agents()
        assert first.job_id in login_node.faas("endpoint", "status", "lab")

        # Some of these run while the next job takes over.
        futures = [executor.submit(where, x, 1.0) for x in range(100)]
        login_node.until(lambda: len(login_node.agents()) >= 2)
        answers = [future.result(LIMIT_S) for future in futures]
        assert [x for x, _ in answers] == list(range(100))
        assert len({job_id for _, job_id in answers}) >= 2, "blocks of both agents"
    login_node.until(lambda: login_node.agents()[0].state == "COMPLETED")
    assert "this one hands over" in login_node.log()
    attempts = [
        attempt["state"]
        for future in futures
        for attempt in login_node.federation.client().get_task(future.task_id)["attempts"]
    ]
    assert "lost" not in attempts, "running tasks had time to end, and those that waited were given back"

    login_node.faas("endpoint", "stop", "lab")
    assert login_node.cluster.left_jobs() == []
    assert login_node.agents()[-1].state == "CANCELLED"


def test_it_is_stopped_in_the_middle_of_a_renewal_and_while_it_waits(login_node: LoginNode) -> None:
    cluster = login_node.cluster
    login_node.faas("endpoint", "start", "lab", "--as-job")
    login_node.until(lambda: login_node.agents()[0].state == "RUNNING")
    cluster.close_queue("debug")  # the next job comes 30 s after this one
    login_node.until(lambda: len(login_node.agents()) == 2)
    assert {job.state for job in login_node.agents()} == {"RUNNING", "PENDING"}
    login_node.faas("endpoint", "stop", "lab")
    assert cluster.left_jobs() == []


def test_what_the_scheduler_says_of_it_is_told(login_node: LoginNode) -> None:
    login_node.federation.reconfigure("lab", SETTINGS + BLOCKS + "agent_job: {account: newcomers}\n")
    said = login_node.faas("endpoint", "start", "lab", "--as-job", code=1)
    assert "Invalid account" in said
    assert "runs in batch job" not in login_node.faas("endpoint", "status", "lab")
    login_node.federation.reconfigure("lab", "profile: local\n")
    assert "has no batch scheduler" in login_node.faas("endpoint", "start", "lab", "--as-job", code=1)
