"""An endpoint at a real cluster, in a federation of its own: what tests of pilots start from."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import faas
from faas.models import Block, Endpoint
from tests.services.federation import Federation
from tests.sites.cluster import Cluster

_LIMIT_S = 120.0
SETTINGS = """\
profile: slurm
engine: {address: 127.0.0.1}
retry: {first_s: 0.05, longest_s: 0.5}
stop_grace_s: 0
"""
QUICK_BLOCKS = "blocks: {max_blocks: 3, max_idletime_s: 3, horizon_s: 2, probe_s: 1, probe_max_s: 2}\n"
SCHEDULER = "scheduler: {walltime_s: 600, status_period_s: 1}\n"


class Site:
    """One endpoint whose blocks are jobs of one cluster.

    Args:
        federation: with the service.
        cluster: where the jobs run.
        name: of the endpoint.
    """

    def __init__(self, federation: Federation, cluster: Cluster, name: str = "lab") -> None:
        self.federation = federation
        self.cluster = cluster
        self.name = name
        self.client: faas.Client = federation.client()

    @contextmanager
    def executor(self, group_id: str | None = None) -> Iterator[faas.Executor]:
        """Calls that go to this endpoint; a test that has failed does not wait for them."""
        executor = faas.Executor(client=self.client, endpoint_id=self.name, task_group_id=group_id)
        try:
            yield executor
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            raise
        executor.shutdown()

    def told(self) -> Endpoint:
        """The endpoint, as the service knows it from the agent's heartbeats."""
        listed = self.client.link.request("GET", "/v1/endpoints", response=list[Endpoint])
        return next(each for each in listed if each.name == self.name)

    def blocks(self) -> list[Block]:
        """Its blocks, as the service was told."""
        return self.told().blocks

    def until(self, condition: Callable[[], object], what: str = "it") -> None:
        """Wait for what other processes do."""
        deadline = time.monotonic() + _LIMIT_S
        while not condition():
            assert time.monotonic() < deadline, f"{what} did not come about in time:\n{self.log()[-4000:]}"
            time.sleep(0.1)

    def log(self) -> str:
        """What the agent wrote."""
        return (self.federation.directory / "endpoints" / self.name / "agent.log").read_text()

    def replaced_after_s(self, job_id: str) -> float:
        """From the moment the agent knew of the end of a job's block to its request for another."""
        self.until(lambda: self._moments(job_id), "a replacement")
        ended, requested = self._moments(job_id)[0]
        return (requested - ended).total_seconds()

    def _moments(self, job_id: str) -> list[tuple[datetime, datetime]]:
        ended = None
        for line in self.log().splitlines():
            moment = datetime.fromisoformat(line.split()[0].replace("Z", "+00:00"))
            if re.search(rf"block \S+ \(job {job_id}\) is (ended|failed|draining)", line):
                ended = ended or moment
            elif ended is not None and "requesting" in line:
                return [(ended, moment)]
        return []


@contextmanager
def site(
    directory: Path,
    cluster: Cluster,
    settings: str = SCHEDULER + QUICK_BLOCKS,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Site]:
    """An endpoint that is ready for work at a cluster; afterwards, no job of it is left.

    Args:
        directory: for the federation.
        cluster: where it gets its blocks.
        settings: of its blocks and of the scheduler.
        environment: of its agent, besides what leads to the cluster.
    """
    with Federation(directory) as federation:
        federation.add_endpoint(
            "lab", settings=SETTINGS + settings, environment={**cluster.environment(), **(environment or {})}
        )
        yield Site(federation, cluster)
    assert cluster.left_jobs() == []


@contextmanager
def sites(
    directory: Path, clusters: Mapping[str, Cluster], settings: str = SCHEDULER + QUICK_BLOCKS
) -> Iterator[Mapping[str, Site]]:
    """An endpoint at each of several clusters, named like it, all in one federation; afterwards, no job is left.

    Args:
        directory: for the federation.
        clusters: by name.
        settings: of the blocks and the scheduler, the same at all.
    """
    with Federation(directory) as federation:
        for name, cluster in clusters.items():
            federation.add_endpoint(name, settings=SETTINGS + settings, environment=cluster.environment())
        yield {name: Site(federation, cluster, name) for name, cluster in clusters.items()}
    for cluster in clusters.values():
        assert cluster.left_jobs() == []
