"""What a task costs beyond its own run time, here and with the peers, in one run: `make benchmark`.

Every figure is for no-ops on two workers of this machine. Ours goes through everything: authenticated HTTP, a
durable database, leases, a warm child interpreter for each task, results in the store. Compare ratios
within one run only: machines differ, and so do hours on one machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import faas
from tests.benchmarks.deployment import Deployment, Federation, deployed, idle_cpu_percent, resident_mb
from tests.benchmarks.measuring import measure
from tests.benchmarks.peers import ALWAYS, PEERS

OURS = "faas-federation"
WORKERS = 2


def main() -> None:
    """Measure and print."""
    arguments = _parser().parse_args()
    console = Console(stderr=True, highlight=False)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # on the way out everything started is stopped
    sizes = [5_000, 20_000]
    with tempfile.TemporaryDirectory(prefix="faas-benchmark-") as directory:
        console.print(f"{OURS}: starting")
        with deployed(Path(directory) / "data", WORKERS) as deployment:
            ours = _measure_ours(deployment, console, arguments, sizes)
    results = {OURS: ours}
    for name in [*ALWAYS, *arguments.peers]:
        console.print(f"{name}: measuring")
        with PEERS[name](WORKERS) as pool:
            results[name] = measure(pool, calls=arguments.calls, sizes=sizes[:1], repeats=arguments.repeats)
        _say(results[name], console)
    report = {"machine": _machine(), "workers": WORKERS, "results": results, "ratios": _ratios(results)}
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    _print(report, Console())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.overhead", description="Overhead of a task.")
    parser.add_argument("--repeats", type=int, default=5, help="of each throughput measurement; the median counts")
    parser.add_argument("--calls", type=int, default=200, help="timed one by one for the latency")
    parser.add_argument("--tasks", type=int, default=100_000, help="run before memory is looked at")
    parser.add_argument("--idle-s", type=float, default=20.0, help="seconds of idleness watched")
    more = [name for name in PEERS if name not in ALWAYS]
    parser.add_argument("--peers", nargs="*", choices=more, default=[], help="further peers, if they are installed")
    parser.add_argument("--json", metavar="FILE", help="write everything measured to this file")
    return parser


def _measure_ours(
    deployment: Deployment, console: Console, arguments: argparse.Namespace, sizes: list[int]
) -> dict[str, Any]:
    with faas.Executor(client=deployment.client) as executor:
        federation = Federation(executor)
        console.print(f"{OURS}: measuring")
        federation.call_many(1_000)  # workers and runners come up with the first tasks
        measured = measure(federation, calls=arguments.calls, sizes=sizes, repeats=arguments.repeats)
        _say(measured, console)
        done = 1_000 + arguments.calls + max(20, arguments.calls // 5) + arguments.repeats * sum(sizes)
        console.print(f"{OURS}: {arguments.tasks:,} tasks in all")
        while done < arguments.tasks:
            federation.call_many(min(20_000, arguments.tasks - done))
            done += 20_000
    processes = {"service": deployment.service, "agent": deployment.agent}
    measured["tasks"] = max(done, arguments.tasks)
    measured["resident_mb"] = {name: resident_mb(process) for name, process in processes.items()}
    console.print(f"{OURS}: idle for {arguments.idle_s:g} s")
    time.sleep(5)  # let it come to rest
    measured["idle_cpu_percent"] = idle_cpu_percent(processes, arguments.idle_s)
    return measured


def _say(measured: dict[str, Any], console: Console) -> None:
    """Tell each system's figures as they come: the whole takes minutes."""
    rates = ", ".join(f"{int(size):,} at {found['median']:,.0f}/s" for size, found in measured["per_s"].items())
    console.print(f"  {measured['latency_ms']['p50']:.2f} ms, {rates}")


def _ratios(results: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Ours by theirs: throughput (more is better) and latency (less is better)."""
    ours = results[OURS]
    return {
        name: {
            "throughput": ours["per_s"]["5000"]["median"] / theirs["per_s"]["5000"]["median"],
            "latency": ours["latency_ms"]["p50"] / theirs["latency_ms"]["p50"],
        }
        for name, theirs in results.items()
        if name != OURS
    }


def _machine() -> dict[str, Any]:
    packages = ["faas-federation", "globus-compute-endpoint", "parsl"]
    versions = {}
    for package in packages:
        try:
            versions[package] = version(package)
        except ModuleNotFoundError:
            versions[package] = "not installed"
    return {
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "platform": platform.platform(),
        "python": platform.python_version(),
        "versions": versions,
    }


def _print(report: dict[str, Any], console: Console) -> None:
    machine, results = report["machine"], report["results"]
    table = Table(title=f"No-ops on {report['workers']} workers, {machine['cores']} cores, Python {machine['python']}")
    table.add_column("system")
    for heading in ("p50 ms", "p95 ms", "5,000 /s", "20,000 /s", "rate, ours to it"):
        table.add_column(heading, justify="right")
    for name, found in results.items():
        latency, rates = found["latency_ms"], found["per_s"]
        more = f"{rates['20000']['median']:,.0f}" if "20000" in rates else ""
        ratio = f"{report['ratios'][name]['throughput']:.1f}x" if name != OURS else ""
        figures = [f"{latency['p50']:.2f}", f"{latency['p95']:.2f}", f"{rates['5000']['median']:,.0f}", more, ratio]
        table.add_row(name, *figures)
    console.print(table)
    ours = results[OURS]
    memory, idle = ours["resident_mb"], ours["idle_cpu_percent"]
    console.print(f"After {ours['tasks']:,} tasks: service {memory['service']:.0f} MB, agent {memory['agent']:.0f} MB.")
    console.print(f"Idle: service {idle['service']:.2f} %, agent {idle['agent']:.2f} % of a core (engine apart).")


if __name__ == "__main__":
    main()
