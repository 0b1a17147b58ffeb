"""The peers: the same two workers under Parsl, the standard library and, where installed, Dask and Ray."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from tests.benchmarks.measuring import Pool, no_op

ROOT = Path(__file__).parents[2]


class Futures:
    """A pool behind a ``submit`` that returns a future.

    Args:
        submit: takes the function and one argument.
    """

    def __init__(self, submit: Callable[[Callable[[int], None], int], Any]) -> None:
        self._submit = submit

    def call(self) -> None:
        """Run one no-op."""
        self._submit(no_op, 0).result()

    def call_many(self, count: int) -> None:
        """Run many."""
        futures = [self._submit(no_op, number) for number in range(count)]
        for future in futures:
            future.result()


@contextmanager
def process_pool(workers: int) -> Iterator[Pool]:
    """``concurrent.futures.ProcessPoolExecutor``: no network, nothing durable; the floor."""
    with ProcessPoolExecutor(workers) as executor:
        yield Futures(executor.submit)


def parsl_htex(prefetch: int) -> Callable[[int], AbstractContextManager[Pool]]:
    """Parsl's HighThroughputExecutor, used directly: Parsl's own DataFlowKernel on top would only add to it.

    Args:
        prefetch: tasks a node's manager may hold beyond what its workers run; Parsl's default is 0.
    """

    @contextmanager
    def started(workers: int) -> Iterator[Pool]:
        from parsl.executors import HighThroughputExecutor
        from parsl.providers import LocalProvider

        # Its programs are looked up on PATH; its workers import the no-op by name.
        os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        os.environ["PYTHONPATH"] = str(ROOT)
        with tempfile.TemporaryDirectory(prefix="htex-") as directory:
            executor = HighThroughputExecutor(
                label="htex",
                address="127.0.0.1",
                max_workers_per_node=workers,
                cores_per_worker=1e-6,
                prefetch_capacity=prefetch,
                encrypted=False,
                provider=LocalProvider(init_blocks=1, min_blocks=1, max_blocks=1),
            )
            executor.run_dir = directory
            scripts = Path(directory, "submit_scripts")
            scripts.mkdir()
            executor.provider.script_dir = str(scripts)
            executor.start()
            try:
                executor.scale_out_facade(1)
                yield Futures(lambda function, number: executor.submit(function, {}, number))
            finally:
                executor.scale_in(1)
                executor.shutdown()

    return started


@contextmanager
def dask(workers: int) -> Iterator[Pool]:
    """Dask distributed on this machine."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        yield Futures(lambda function, number: client.submit(function, number, pure=False))


class RayPool:
    """Ray remote functions.

    Args:
        ray: the module, initialised.
    """

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        self._no_op = ray.remote(no_op)

    def call(self) -> None:
        """Run one no-op."""
        self._ray.get(self._no_op.remote(0))

    def call_many(self, count: int) -> None:
        """Run many."""
        self._ray.get([self._no_op.remote(number) for number in range(count)])


@contextmanager
def ray(workers: int) -> Iterator[Pool]:
    """Ray on this machine."""
    import ray as module

    module.init(num_cpus=workers, include_dashboard=False, log_to_driver=False)
    try:
        yield RayPool(module)
    finally:
        module.shutdown()


PEERS: dict[str, Callable[[int], AbstractContextManager[Pool]]] = {
    "Parsl HTEX": parsl_htex(prefetch=0),
    "Parsl HTEX, prefetch 64": parsl_htex(prefetch=64),
    "ProcessPoolExecutor": process_pool,
    "Dask distributed": dask,
    "Ray": ray,
}
ALWAYS = ["Parsl HTEX", "Parsl HTEX, prefetch 64", "ProcessPoolExecutor"]
