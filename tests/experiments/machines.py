"""The reference's three machines in small: Slurm clusters of different size, speed and queue, one federation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import faas
from faas.credentials import read_credentials
from faas.models import Pool
from tests.services.federation import Federation
from tests.sites.cluster import Cluster
from tests.sites.configuration import Rules
from tests.sites.three import three_clusters

SOURCES = ("APS", "ALS")
"""The two light sources, each an identity of its own."""
POOL = "three-machines"
PUBLISHED_S = {
    "xpcs": {"theta": 102.0, "summit": 107.5, "cori": 50.8},
    "diagonalize": {"theta": 30.0, "summit": 15.0, "cori": 18.0},
}
"""Run times: those of photon correlation from the reference's benchmark, those of diagonalization like them."""
SCALE = 1 / 20
"""By how much all times are shorter here."""
SETTINGS = """\
profile: slurm
engine: {{address: 127.0.0.1}}
stop_grace_s: 0
allow: {{{allowed}}}
scheduler:
  walltime_s: {walltime_s}
  status_period_s: 1
  worker_init: export OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1
blocks: {{max_blocks: {nodes}, max_idletime_s: {max_idletime_s:g}, horizon_s: {horizon_s:g}, drain_s: {drain_s:g}}}
"""


@dataclass(frozen=True)
class Machine:
    """One site.

    Args:
        nodes: each a block.
        workers: on each node.
        queue_wait_s: how long its scheduler lets each job wait.
    """

    nodes: int
    workers: int
    queue_wait_s: int
    walltime_s: int = 1800
    max_idletime_s: float = 3.0
    horizon_s: float = 4.0
    drain_s: float = 60.0

    @property
    def all_workers(self) -> int:
        """When all nodes are there."""
        return self.nodes * self.workers


MACHINES: Mapping[str, Machine] = {
    "theta": Machine(nodes=4, workers=2, queue_wait_s=8),
    "summit": Machine(nodes=3, workers=4, queue_wait_s=4),
    "cori": Machine(nodes=4, workers=2, queue_wait_s=2),
}


def lasts_s(function: str) -> dict[str, float]:
    """How long a function takes here, by site.

    Example:
        >>> lasts_s("xpcs")["theta"]
        5.1
    """
    return {site: SCALE * seconds for site, seconds in PUBLISHED_S[function].items()}


def capacity_per_s(sites: tuple[str, ...], functions: tuple[str, ...] = tuple(PUBLISHED_S)) -> float:
    """Datasets a second that sites can do, of functions in equal numbers."""
    return sum(
        MACHINES[site].all_workers * len(functions) / sum(lasts_s(function)[site] for function in functions)
        for site in sites
    )


@dataclass(frozen=True)
class Facility:
    """The three machines, the service, and the clients of the light sources."""

    federation: Federation
    clusters: Mapping[str, Cluster]
    owner: faas.Client
    clients: Mapping[str, faas.Client]

    def wait_until_empty(self) -> None:
        """Wait until no machine has a job, and the service knows it."""
        for cluster in self.clusters.values():
            cluster.wait_until(lambda cluster=cluster: not cluster.live_jobs())  # type: ignore[misc]
            name = cluster.name
            cluster.wait_until(
                lambda name=name: all(block.ended_at for block in self.owner.get_endpoint(name).blocks)  # type: ignore[misc]
            )


@contextmanager
def facility(directory: Path) -> Iterator[Facility]:
    """Start everything, and stop it in the end.

    Args:
        directory: where the service and the agents keep everything.

    Yields:
        What is running; each light source has a token of its own, and a pool of the three machines.
    """
    with three_clusters() as clusters, Federation(directory) as federation:
        clients = {}
        for source in SOURCES:
            token = federation.faas(
                *("token", "create", "--identity", source, "--create-identity"),
                environment={"FAAS_CREDENTIALS": str(directory / "admin-credentials.json")},
            )
            clients[source] = faas.Client(url=f"http://127.0.0.1:{federation.port}", token=token.strip())
        for name, machine in MACHINES.items():
            clusters[name].set_rules(Rules(queue_wait_s=machine.queue_wait_s))
            settings = SETTINGS.format(
                allowed=", ".join(f"{source}: true" for source in SOURCES),
                nodes=machine.nodes,
                walltime_s=machine.walltime_s,
                max_idletime_s=machine.max_idletime_s,
                horizon_s=machine.horizon_s,
                drain_s=machine.drain_s,
            )
            environment = clusters[name].environment()
            federation.add_endpoint(name, workers=machine.workers, settings=settings, environment=environment)
        for client in clients.values():
            client.link.request("POST", "/v1/pools", Pool(name=POOL, endpoints=list(MACHINES)), response=Pool)
        known = read_credentials(directory / "credentials.json")
        with faas.Client(url=known.url, token=known.token) as owner:
            yield Facility(federation, clusters, owner, clients)
        for client in clients.values():
            client.close()
