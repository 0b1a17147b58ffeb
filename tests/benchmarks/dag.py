"""What dependencies cost: chains of tasks beside as many tasks without: `python -m tests.benchmarks.dag`.

The embedded default, two workers. Each task of a chain takes the result of the one before as its argument; the others
take a number.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

from rich.console import Console

import faas
from tests.benchmarks.deployment import deployed

MARK = 0.8
_LIMIT_S = 600.0


def step(number: int) -> int:
    """Take a number or what became of one."""
    return number


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--length", type=int, default=100, help="of each chain")
    parser.add_argument("--fan", type=int, default=100, help="how many chains")
    parser.add_argument("--rounds", type=int, default=3, help="of each; the median counts")
    arguments = parser.parse_args()
    console = Console(highlight=False)
    found: dict[str, list[float]] = {"independent": [], "chains": []}
    with (
        tempfile.TemporaryDirectory(prefix="faas-dag-") as directory,
        deployed(Path(directory), 2) as deployment,
        faas.Executor(client=deployment.client) as executor,
    ):
        function_id = deployment.client.register_function(step)
        executor.submit_to_registered_function(function_id, (0,)).result(_LIMIT_S)
        for _ in range(arguments.rounds):
            for kind, rates in found.items():
                rate = _rate(executor, function_id, arguments.length, arguments.fan, kind == "chains")
                console.print(f"{kind}: {rate:,.0f} tasks/s")
                rates.append(rate)
    ratio = median(found["chains"]) / median(found["independent"])
    console.print(f"chains run at {ratio:.2f} of the rate of independent tasks; asked is {MARK}")


def _rate(executor: faas.Executor, function_id: str, length: int, fan: int, chained: bool) -> float:
    begin = time.perf_counter()
    futures: list[faas.TaskFuture] = []
    last: list[faas.TaskFuture | int] = list(range(fan))
    for _ in range(length):
        level = [executor.submit_to_registered_function(function_id, (each,)) for each in last]
        futures += level
        if chained:
            last = list(level)
    for future in futures:
        future.result(_LIMIT_S)
    return length * fan / (time.perf_counter() - begin)


if __name__ == "__main__":
    main()
