"""How soon and how fully batch allocations work, at three real Slurm clusters at once: `make benchmark-sites`.

Demand to ``sbatch``, demand to the first result, how busy registered workers are, and what an agent keeps in memory.
The clusters, the service and the agents share this machine with whatever else runs on it: look at its load first.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import re
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

import faas
from tests.benchmarks.deployment import resident_mb
from tests.benchmarks.utilization import Busy, Worked, utilization
from tests.sites.site import Site, sites
from tests.sites.three import three_clusters

_LIMIT_S = 600.0
_SHORTEST_S, _LONGEST_S = 0.5, 2.0
_IDLE_S = 2.0
_WATCH_S = 1.0
_BLOCKS, _WORKERS = 4, 2
SETTINGS = f"""\
scheduler: {{walltime_s: 1800, status_period_s: 1}}
blocks: {{max_blocks: {_BLOCKS}, max_idletime_s: {_IDLE_S:g}, horizon_s: 10}}
"""
MARKS = {"sbatch_s": 1.0, "first_result_s": 6.0, "utilization": 0.95, "agent_mb": 150.0}


def where() -> tuple[str, str]:
    """Do nothing. A function of its own: run times are measured by function."""
    import os

    return os.environ["SLURMD_NODENAME"], os.environ["SLURM_JOB_ID"]


def analyse(seconds: float) -> tuple[str, str, float, float]:
    """Compute briefly, then sleep until so many seconds are over; tells where and when."""
    import os
    import time

    began_at, end = time.time(), time.monotonic() + seconds
    sum(number * number for number in range(20_000))
    time.sleep(max(0.0, end - time.monotonic()))
    return os.environ["SLURMD_NODENAME"], os.environ["SLURM_JOB_ID"], began_at, time.time()


def main() -> None:
    """Measure and print."""
    arguments = _parser().parse_args()
    console = Console(stderr=True, highlight=False)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # on the way out everything started is stopped
    with tempfile.TemporaryDirectory(prefix="faas-benchmark-") as directory, three_clusters() as clusters:
        console.print("Starting the service, and an endpoint at each site")
        with sites(Path(directory) / "f", clusters, SETTINGS) as labs:
            report = {"machine": _machine(), "marks": MARKS}
            report["reaction"] = _reaction(labs["theta"], arguments.repeats, console)
            report["load"] = _load(labs, arguments.seconds, console)
            report["agent_mb"] = {name: resident_mb(_agent(lab)) for name, lab in labs.items()}
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    _print(report, Console(highlight=False))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.sites", description=__doc__)
    parser.add_argument("--repeats", type=int, default=10, help="of demand at an idle site; the median counts")
    parser.add_argument("--seconds", type=float, default=180.0, help="what the three sites together need for the load")
    parser.add_argument("--json", metavar="FILE", help="write everything measured to this file")
    return parser


def _agent(lab: Site) -> psutil.Process:
    return psutil.Process(lab.federation.state(lab.name).pid)


# Demand at a site that has scaled to zero


def _reaction(lab: Site, repeats: int, console: Console) -> dict[str, Any]:
    """From the submission of a task to the batch job, and to the task's result."""
    sbatch_s, result_s = [], []
    with lab.executor() as executor:
        for number in range(repeats + 1):
            lab.until(lambda: not lab.cluster.live_jobs(), "an empty queue")
            time.sleep(1.0)  # let it come to rest
            began = time.time()
            _, job_id = executor.submit(where).result(_LIMIT_S)
            took = time.time() - began
            if not number:  # the first registers the function
                continue
            result_s.append(took)
            sbatch_s.append(_submitted_at(lab, job_id) - began)
            console.print(f"  sbatch after {sbatch_s[-1]:.2f} s, result after {took:.2f} s")
    return {"sbatch_s": _all(sbatch_s), "first_result_s": _all(result_s)}


def _all(measured: list[float]) -> dict[str, Any]:
    return {"median": median(measured), "all": measured}


def _submitted_at(lab: Site, job_id: str) -> float:
    """When sbatch had answered with the job's id, by the agent's log; the scheduler itself tells whole seconds."""
    found = re.search(rf"^(\S+) .* is job {job_id} ", lab.log(), re.MULTILINE)
    if found is None:
        raise RuntimeError(f"the agent at {lab.name} wrote nothing of the submission of job {job_id}")
    return datetime.fromisoformat(found[1].replace("Z", "+00:00")).timestamp()


# A backlog for all sites


class Watch(threading.Thread):
    """Notes how many workers each block has had, and how busy the machine was.

    Args:
        client: asks the service.
    """

    def __init__(self, client: faas.Client) -> None:
        super().__init__(daemon=True)
        self._client = client
        self.began_at = time.time()
        self._over = threading.Event()
        self.registered: dict[str, dict[str, Worked]] = {}
        self.cpu_percent: list[float] = []

    def run(self) -> None:
        """Look about once a second."""
        psutil.cpu_percent()
        while not self._over.wait(_WATCH_S):
            self.cpu_percent.append(psutil.cpu_percent())
            for endpoint in self._client.get_endpoints():
                blocks = self.registered.setdefault(endpoint.name, {})
                for block in endpoint.blocks:
                    if block.ready_at is not None and block.ready_at > self.began_at:
                        before = blocks.get(block.block_id)
                        workers = max(block.workers, before.workers if before else 0)
                        blocks[block.block_id] = Worked(block.job_id, block.ready_at, block.ended_at, workers)

    def stop(self) -> None:
        """Look no more."""
        self._over.set()
        self.join()


def _load(labs: Mapping[str, Site], seconds: float, console: Console) -> dict[str, Any]:
    """Keep three sites busy at once with one backlog, and see how busy they were."""
    lab = labs["theta"]
    for each in labs.values():
        each.until(lambda each=each: not each.cluster.live_jobs(), "an empty queue")  # type: ignore[misc]
    workers = _BLOCKS * _WORKERS * len(labs)
    count = int(seconds * workers / ((_SHORTEST_S + _LONGEST_S) / 2))
    chance = random.Random(1)
    watch = Watch(lab.federation.client())
    console.print(f"{count:,} tasks of {_SHORTEST_S:g} to {_LONGEST_S:g} s for {workers} workers")
    watch.start()
    with faas.Executor(client=lab.client, endpoint_id="any") as executor:
        futures = [executor.submit(analyse, chance.uniform(_SHORTEST_S, _LONGEST_S)) for _ in range(count)]
        answers = [future.result(_LIMIT_S) for future in futures]
    watch.stop()
    busy = {
        name: [Busy(job_id, *times) for node, job_id, *times in answers if node in each.cluster.nodes]
        for name, each in labs.items()
    }
    empty_at = max(each.started_at for at_site in busy.values() for each in at_site)
    return {
        "tasks": count,
        "tasks_at": {name: len(found) for name, found in busy.items()},
        "blocks_at": {name: len(watch.registered.get(name, {})) for name in labs},
        "nodes": len({node for node, *_ in answers}),
        "until_empty_s": empty_at - watch.began_at,
        "cpu_percent": median(watch.cpu_percent),
        "utilization": {
            name: utilization(busy[name], list(watch.registered.get(name, {}).values()), empty_at) for name in labs
        },
    }


def _machine() -> dict[str, Any]:
    return {
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "platform": platform.platform(),
        "python": platform.python_version(),
    }


def _print(report: dict[str, Any], console: Console) -> None:
    machine, load, reaction = report["machine"], report["load"], report["reaction"]
    table = Table(title=f"Three Slurm clusters, {machine['cores']} cores, load {machine['load']:.1f} at the start")
    table.add_column("what")
    for heading in ("measured", "asked"):
        table.add_column(heading, justify="right")
    table.add_row("demand to sbatch, median", f"{reaction['sbatch_s']['median']:.2f} s", "<= 1 s")
    table.add_row("demand to first result, median", f"{reaction['first_result_s']['median']:.2f} s", "<= 6 s")
    for name, share in load["utilization"].items():
        what = f"busy of registered worker-seconds, {name} ({load['tasks_at'][name]:,} tasks)"
        table.add_row(what, f"{share:.3f}", ">= 0.95")
    for name, megabytes in report["agent_mb"].items():
        table.add_row(f"agent's resident memory, {name}", f"{megabytes:.0f} MB", "< 150 MB")
    console.print(table)
    console.print(
        f"{load['tasks']:,} tasks on {load['nodes']} nodes; the backlog was empty after {load['until_empty_s']:.0f} s."
        f" The machine was {load['cpu_percent']:.0f} % busy meanwhile."
    )


if __name__ == "__main__":
    main()
