"""The reference's three supercomputers in small: theta, summit and cori, independent clusters started side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.sites.cluster import Cluster, start_together

_NODES = {"theta": 4, "summit": 3, "cori": 4}
_CPUS = {"theta": 2, "summit": 4, "cori": 2}


@contextmanager
def three_clusters(folder: Path | None = None) -> Iterator[Mapping[str, Cluster]]:
    """Run all three for the length of a ``with`` block.

    Args:
        folder: where each gets a folder of its name; temporary ones if none is given.

    Yields:
        The clusters by name, every node idle.
    """
    clusters = {
        name: Cluster(name, nodes=nodes, cpus=_CPUS[name], folder=folder / name if folder else None)
        for name, nodes in _NODES.items()
    }
    try:
        start_together(list(clusters.values()))
        yield clusters
    finally:
        for cluster in clusters.values():
            cluster.stop()
