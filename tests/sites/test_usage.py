"""What `faas usage` says a site's blocks cost, beside the scheduler's own record of its jobs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from faas.client import Client
from faas.credentials import read_credentials
from faas.executor import Executor
from tests.services.processes import Process, free_port
from tests.sites.cluster import Cluster

COMMAND = [sys.executable, "-m", "faas.commands.app"]
LIMIT_S = 120
SEEN_LATE_S = 5.0
"""An agent sees its jobs start and end by asking every two seconds; the scheduler counts whole seconds."""
CONFIGURATION = """
scheduler: {partition: debug, walltime_s: 600}
blocks: {max_blocks: 2, max_idletime_s: 2}
"""


class Deployment:
    """A service, and an endpoint whose blocks are jobs of the cluster."""

    def __init__(self, directory: Path, cluster: Cluster) -> None:
        self.directory = directory
        self.environment = {**cluster.environment(), "FAAS_HOME": str(directory), "COLUMNS": "80"}
        serve = [*COMMAND, "serve", "--data-dir", str(directory), "--port", str(free_port())]
        self.service = Process(serve, directory / "service.log")
        until((directory / "credentials.json").exists)
        self.faas("endpoint", "configure", "site", "--profile", "slurm", "--workers", "2")
        configuration = directory / "endpoints" / "site" / "config.yaml"
        configuration.write_text(configuration.read_text() + CONFIGURATION)
        self.start()

    def start(self) -> None:
        self.agent = Process(
            [*COMMAND, "endpoint", "start", "site"], self.directory / "agent.log", environment=self.environment
        )

    def faas(self, *arguments: str) -> str:
        ended = subprocess.run(
            [*COMMAND, *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT_S,
            env={**os.environ, **self.environment},
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def client(self) -> Client:
        credentials = read_credentials(self.directory / "credentials.json")
        return Client(url=credentials.url, token=credentials.token)

    def node_s(self, by: str = "endpoint") -> tuple[float, float]:
        """Node-seconds settled and reserved, added up over a listing."""
        rows = json.loads(self.faas("usage", "--by", by, "--json"))["rows"]
        return sum(row["settled_node_hours"] for row in rows) * 3600, sum(
            row["reserved_node_hours"] for row in rows
        ) * 3600

    def stop(self) -> None:
        self.agent.stop()
        self.service.stop()


def until(condition: Callable[[], object]) -> None:
    """Wait for what other processes do."""
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.1)


@pytest.fixture
def deployment(slurm: Cluster, tmp_path: Path) -> Iterator[Deployment]:
    made = Deployment(tmp_path, slurm)
    yield made
    made.stop()


def nap(seconds: float) -> float:
    import time

    time.sleep(seconds)
    return seconds


def wait_for(path: str) -> bool:
    import pathlib
    import time

    while not pathlib.Path(path).exists():
        time.sleep(0.1)
    return True


def test_usage_agrees_with_the_scheduler(deployment: Deployment, slurm: Cluster) -> None:
    asked = deployment.directory / "asked"
    with deployment.client() as client, Executor(client=client, endpoint_id="site") as executor:
        last = executor.submit(wait_for, str(asked))
        assert [future.result(LIMIT_S) for future in [executor.submit(nap, 1.0) for _ in range(12)]] == [1.0] * 12
        try:
            assert deployment.node_s()[1] > 0
        finally:
            asked.touch()
        assert last.result(LIMIT_S)
    slurm.wait_until(lambda: not slurm.live_jobs())  # given back when idle
    until(lambda: deployment.node_s()[1] == 0)
    record = slurm.usage()
    assert record
    tolerance_s = SEEN_LATE_S * len(record)
    for by in ("endpoint", "identity", "function"):
        settled_s, _ = deployment.node_s(by)
        assert settled_s == pytest.approx(sum(stay.node_seconds for stay in record), abs=tolerance_s)
    assert "idle (nobody)" not in deployment.faas("usage", "--by", "identity")


def test_a_killed_agents_blocks_are_settled_by_its_successor(deployment: Deployment, slurm: Cluster) -> None:
    with deployment.client() as client, Executor(client=client, endpoint_id="site") as executor:
        assert executor.submit(nap, 1.0).result(LIMIT_S) == 1.0
        held = executor.submit(nap, 3.0)
        deployment.agent.kill()
        deployment.start()
        assert held.result(LIMIT_S) == 3.0
    slurm.wait_until(lambda: not slurm.live_jobs())
    until(lambda: deployment.node_s()[1] == 0)
    record = slurm.usage()
    assert len(record) >= 2
    assert deployment.node_s()[0] == pytest.approx(
        sum(stay.node_seconds for stay in record), abs=SEEN_LATE_S * len(record)
    )
