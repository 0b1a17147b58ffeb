"""Fixtures: a small cluster, and the three sites; each test process starts its own at its first need, in half a second.

So tests may run in any number of processes and in any order, and none waits for another's cluster. Within a process
they share one, which is made as good as new after each test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import pytest

from tests.sites.cluster import Cluster
from tests.sites.three import three_clusters


@pytest.fixture(scope="session")
def _slurm() -> Iterator[Cluster]:
    with Cluster("slurm", nodes=3) as cluster:
        yield cluster


@pytest.fixture
def slurm(_slurm: Cluster) -> Iterator[Cluster]:
    """A cluster of three nodes with two CPUs each, all idle."""
    yield _slurm
    _slurm.reset()


@pytest.fixture(scope="session")
def _three_sites() -> Iterator[Mapping[str, Cluster]]:
    with three_clusters() as clusters:
        yield clusters


@pytest.fixture
def three_sites(_three_sites: Mapping[str, Cluster]) -> Iterator[Mapping[str, Cluster]]:
    """Theta, summit and cori, by name: clusters that know nothing of each other, all nodes idle."""
    yield _three_sites
    for cluster in _three_sites.values():
        cluster.reset()


@pytest.fixture
def at(slurm: Cluster, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Cluster]:
    """Makes this process one that talks to the cluster in the dialect given."""

    def use(dialect: str) -> Cluster:
        for name, value in slurm.environment(dialect).items():
            monkeypatch.setenv(name, value)
        return slurm

    return use
