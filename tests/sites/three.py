"""The reference's three supercomputers in small: theta, summit and cori, independent clusters started side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tests.sites.cluster import Cluster, start_together
from tests.sites.configuration import Hardware

_NODES = {"theta": 4, "summit": 3, "cori": 4}
_HARDWARE = {"theta": Hardware(), "summit": Hardware(cpus=4, memory_mb=8000, gpus=2), "cori": Hardware()}


@contextmanager
def three_clusters() -> Iterator[Mapping[str, Cluster]]:
    """Run all three for the length of a ``with`` block.

    Yields:
        The clusters by name, every node idle.
    """
    clusters = {name: Cluster(name, nodes=nodes, hardware=_HARDWARE[name]) for name, nodes in _NODES.items()}
    try:
        start_together(list(clusters.values()))
        yield clusters
    finally:
        for cluster in clusters.values():
            cluster.stop()
