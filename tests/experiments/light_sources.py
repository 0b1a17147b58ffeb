"""Two light sources feed three machines at once: the reference's experiment in small, on real Slurm clusters.

APS and ALS, each with an identity of its own, stream datasets (photon correlation of Brownian suspensions, and matrices
to diagonalize) to theta, summit and cori: each machine alone, then all three in one federation, then one stream
under each way to choose the site. Every answer is checked against the known one. About six minutes; `--quick` two.

    python -m tests.experiments.light_sources [--quick] [--keep DIR]
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import msgspec
import pytest
from rich.console import Console
from rich.table import Table

import faas
from tests.experiments.machines import MACHINES, POOL, PUBLISHED_S, SCALE, SOURCES, capacity_per_s, facility, lasts_s
from tests.experiments.phase import Exposed, Phase, run_phase
from tests.experiments.prediction import predicted_makespan_s
from tests.experiments.reduction import (
    STAGES,
    busy_share,
    node_seconds,
    queue_waits_s,
    stages_by_route,
    throughput_per_s,
    turnaround,
)
from tests.experiments.routing import POLICIES, SERVICE_POLICY, Fixed, RoundRobin, Routing, find_routing
from tests.experiments.scenario import scenario
from tests.experiments.streams import LightSource, Stream
from tests.services.processes import ServiceFailed

KINDS = [(source, function) for source in SOURCES for function in PUBLISHED_S]
DELIVERIES: dict[str, Callable[[faas.Client, Any], Any] | None] = {
    "generated": None,
    "passed": lambda client, frames: frames,
    "stored": lambda client, frames: client.put(frames),
}
"""How frames get to the sites: made there from a seed, within each task's arguments, or as objects in the store."""
MARKS = {"federated_by_sum": 0.95, "cpu": 0.5, "prediction": 0.15}
_SATURATED, _STREAM = 1.3, 0.9
_ENDLESS_S = 600.0
"""Load by capacity: more than can be done, and a little less."""
_BATCH = 2


@dataclass(frozen=True)
class Plan:
    """How long each part takes, in seconds.

    Args:
        saturated_s: each phase in which there is more work than the sites can do, once all their workers are there.
        stream_s: the stream under each policy.
    """

    saturated_s: float
    stream_s: float


FULL, QUICK = Plan(saturated_s=16, stream_s=36), Plan(saturated_s=8, stream_s=12)


def main() -> int:
    """Run the experiment.

    Returns:
        The exit code: 1 when an answer was wrong, or there is something missing.
    """
    arguments = _parser().parse_args()
    console = Console(stderr=True, highlight=False)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # on the way out everything started is stopped
    kept = Path(arguments.keep or tempfile.mkdtemp(prefix="faas-light-sources-")).absolute()
    kept.mkdir(parents=True, exist_ok=True)
    try:
        report = run(
            kept, QUICK if arguments.quick else FULL, arguments.policies, DELIVERIES[arguments.frames], console
        )
    except (Exposed, TimeoutError, ServiceFailed, faas.FaasError, pytest.skip.Exception) as error:
        console.print(f"The experiment failed: {error}", style="bold red")
        return 1
    _print(report, Console(highlight=False))
    print(f"In {kept}: figures, report.json, every dataset in records.json, logs, and scenarios for `faas simulate`")
    wrong: list[str] = report["wrong"]
    for line in wrong[:20]:
        console.print(f"WRONG: {line}", style="bold red")
    return 1 if wrong else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.experiments.light_sources", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--quick", action="store_true", help="shorter phases: a look, not a measurement")
    parser.add_argument("--keep", metavar="DIR", help="where the figures and numbers go; by default a new directory")
    parser.add_argument(
        "--policies",
        nargs="+",
        choices=POLICIES,
        default=POLICIES,
        help=f"what to compare: {SERVICE_POLICY} is the service's choice, the others bind at submission",
    )
    parser.add_argument(
        "--frames",
        choices=DELIVERIES,
        default="generated",
        help="make frames at the site from a seed, pass them as arguments, or put them into the store",
    )
    return parser


def run(
    kept: Path, plan: Plan, policies: Sequence[str], deliver: Callable[[faas.Client, Any], Any] | None, console: Console
) -> dict[str, Any]:
    """Run all phases, and write what came of them.

    Args:
        kept: the directory for it.
        plan: how long.
        policies: to compare.
        deliver: makes an argument of a dataset's frames; None to have the sites make them.
        console: told of the progress.

    Returns:
        All figures.

    Raises:
        Exposed: a source saw what is not its own.
        TaskFailed: a dataset could not be analysed.
    """
    seeds = itertools.count(1)
    with tempfile.TemporaryDirectory(prefix="faas-experiment-") as directory:
        console.print("Starting three Slurm clusters, the service, and an endpoint at each cluster")
        with _logs_kept(Path(directory) / "f", kept), facility(Path(directory) / "f") as place:
            durations = {function: lasts_s(function) for function in PUBLISHED_S}
            sources = {name: LightSource(name, client, durations, deliver) for name, client in place.clients.items()}

            everywhere = tuple(MACHINES)

            def phase(
                name: str,
                sites: tuple[str, ...],
                planned: Sequence[Stream],
                routings: Mapping[str, Routing],
                saturated_s: float | None = None,
            ) -> Phase:
                console.print(f"{name}: ", end="")
                done = run_phase(place, sources, name, sites, planned, routings, seeds, saturated_s)
                console.print(f"{len(done.runs)} datasets done, processors {done.cpu:.0%} busy")
                return done

            def saturated(name: str, sites: tuple[str, ...], target: str) -> Phase:
                planned = streams(_SATURATED * capacity_per_s(sites), _ENDLESS_S)
                return phase(name, sites, planned, dict.fromkeys(SOURCES, Fixed(target)), plan.saturated_s)

            # Before anything counts, every function has run at every site: how long they run is known from then on.
            few = [Stream(source, function, 1, 2 * len(MACHINES), 1.0) for source, function in KINDS]
            calibration = phase("calibration", everywhere, few, {name: RoundRobin(everywhere) for name in SOURCES})
            alone = {site: saturated(f"{site} alone", (site,), site) for site in everywhere}
            federated = saturated("federated", everywhere, POOL)
            stream = streams(_STREAM * capacity_per_s(everywhere), plan.stream_s)
            compared = {
                policy: phase(
                    policy,
                    everywhere,
                    stream,
                    {name: find_routing(policy, client, POOL, everywhere) for name, client in place.clients.items()},
                )
                for policy in policies
            }
    report = _report(calibration, alone, federated, compared)
    every = [calibration, *alone.values(), federated, *compared.values()]
    for name, each in compared.items():
        path = kept / f"scenario-{name}.yaml"
        path.write_text(scenario(each, [other for other in every if other is not each]), encoding="utf-8")
        report["policies"][name]["predicted_makespan_s"] = predicted_makespan_s(path, name)
    records = {phase.name: {"runs": [asdict(run) for run in phase.runs], "blocks": _blocks(phase)} for phase in every}
    (kept / "records.json").write_text(json.dumps(records) + "\n", encoding="utf-8")
    (kept / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    from tests.experiments.figures import draw

    draw(kept, alone, federated, compared)
    return report


@contextmanager
def _logs_kept(directory: Path, kept: Path) -> Iterator[None]:
    """Keep what the service and the agents wrote, whatever happens."""
    try:
        yield
    finally:
        for log in [directory / "service.log", *directory.glob("endpoints/*/agent.log")]:
            if log.exists():
                name = "service" if log.parent == directory else log.parent.name
                shutil.copyfile(log, kept / f"{name}.log")


def streams(rate_per_s: float, length_s: float) -> list[Stream]:
    """One stream of each kind from each source, together so many datasets a second.

    Args:
        rate_per_s: of all.
        length_s: until the last batches.
    """
    every_s = _BATCH * len(KINDS) / rate_per_s
    return [
        # One after the other rather than all at once, as instruments that know nothing of each other.
        Stream(source, function, int(length_s / every_s), _BATCH, every_s, number * every_s / len(KINDS))
        for number, (source, function) in enumerate(KINDS)
    ]


def _report(
    calibration: Phase, alone: Mapping[str, Phase], federated: Phase, compared: Mapping[str, Phase]
) -> dict[str, Any]:
    phases = [calibration, *alone.values(), federated, *compared.values()]
    rates = {site: _throughput(phase) for site, phase in alone.items()}
    together = _throughput(federated)
    return {
        "machine": {"cores": os.cpu_count(), "platform": platform.platform(), "python": platform.python_version()},
        "marks": MARKS,
        "machines": {name: asdict(machine) for name, machine in MACHINES.items()},
        "durations_s": {function: lasts_s(function) for function in PUBLISHED_S},
        "scale": SCALE,
        "throughput_per_s": {"alone": rates, "sum_of_alone": sum(rates.values()), "federated": together},
        "federated_by_sum": together / sum(rates.values()),
        "cpu": fmean(phase.cpu for phase in phases),
        "phases": {phase.name: _described(phase) for phase in phases},
        "policies": {name: _outcome(phase) for name, phase in compared.items()},
        "checked": sum(len(phase.runs) for phase in phases),
        "wrong": [
            f"{phase.name}, {run.source} at {run.site}: {run.complaint}"
            for phase in phases
            for run in phase.runs
            if run.complaint
        ],
    }


def _throughput(phase: Phase) -> float:
    """While all workers were there, and more work than they could do."""
    return throughput_per_s(phase.runs, phase.full_at, phase.until)


def _outcome(phase: Phase) -> dict[str, Any]:
    last = max(run.seen_at for run in phase.runs)
    return {
        "makespan_s": last - phase.began_at,
        "turnaround_s": turnaround(phase.runs),
        "node_s": sum(node_seconds(blocks, last) for blocks in phase.blocks.values()),
        "datasets_at": _counts(phase),
    }


def _blocks(phase: Phase) -> dict[str, Any]:
    return {site: [msgspec.to_builtins(block) for block in blocks] for site, blocks in phase.blocks.items()}


def _counts(phase: Phase) -> dict[str, int]:
    return {site: sum(run.site == site for run in phase.runs) for site in MACHINES}


def _described(phase: Phase) -> dict[str, Any]:
    end = min(phase.until, max(run.ended_at for run in phase.runs))
    waits = {site: queue_waits_s(blocks) for site, blocks in phase.blocks.items()}
    return {
        "datasets": len(phase.runs),
        "datasets_at": _counts(phase),
        "full_s": phase.full_at - phase.began_at,
        "until_s": phase.until - phase.began_at,
        "streams": [asdict(stream) for stream in phase.streams],
        "cpu": phase.cpu,
        "task_cpu_s": sum(run.cpu_s for run in phase.runs),
        "longest_computation_s": max(run.needed_s for run in phase.runs),
        "queue_wait_s": {site: wait for site, (wait, _) in waits.items()},
        "startup_s": {site: startup for site, (_, startup) in waits.items()},
        "utilization": {
            site: busy_share(
                [run for run in phase.runs if run.site == site], phase.blocks[site], MACHINES[site].workers, end
            )
            for site in phase.sites
        },
        "stages": {function: stages_by_route(phase.runs, function) for function in PUBLISHED_S},
    }


def _print(report: dict[str, Any], console: Console) -> None:
    rates = report["throughput_per_s"]
    table = Table(title=f"Datasets per second, all workers busy; {report['checked']:,} answers checked")
    for heading in ("", *rates["alone"], "sum", "federated", "by sum", "asked"):
        table.add_column(heading, justify="right")
    table.add_row(
        "throughput",
        *(f"{rate:.2f}" for rate in rates["alone"].values()),
        f"{rates['sum_of_alone']:.2f}",
        f"{rates['federated']:.2f}",
        f"{report['federated_by_sum']:.3f}",
        f">= {MARKS['federated_by_sum']}",
    )
    together = report["phases"]["federated"]["utilization"]
    table.add_row(
        "utilization",
        *(f"{report['phases'][f'{site} alone']['utilization'][site]:.0%}" for site in rates["alone"]),
        "",
        "/".join(f"{share:.0%}" for share in together.values()),
        "",
        "",
    )
    console.print(table)
    first = next(iter(report["policies"]), "federated")
    table = Table(title=f"Stages of photon correlation in seconds, median (95th percentile), {first}")
    for heading in ("route", "datasets", *STAGES):
        table.add_column(heading, justify="right")
    for route, found in report["phases"][first]["stages"]["xpcs"].items():
        stages = (f"{found[stage]['median']:.2f} ({found[stage]['p95']:.2f})" for stage in STAGES)
        table.add_row(route, str(found["count"]), *stages)
    console.print(table)
    table = Table(title="One stream, by who chooses the site")
    for heading in (
        "policy",
        "makespan",
        "predicted",
        "turnaround, median",
        "95th percentile",
        "node-seconds",
        *MACHINES,
    ):
        table.add_column(heading, justify="right")
    for name, outcome in report["policies"].items():
        table.add_row(
            name,
            f"{outcome['makespan_s']:.1f} s",
            "" if outcome["predicted_makespan_s"] is None else f"{outcome['predicted_makespan_s']:.1f} s",
            *(f"{outcome['turnaround_s'][which]:.1f} s" for which in ("median", "p95")),
            f"{outcome['node_s']:.0f}",
            *(str(count) for count in outcome["datasets_at"].values()),
        )
    console.print(table)
    console.print(f"Processors of this machine: {report['cpu']:.0%} busy (asked: at most {MARKS['cpu']:.0%}).")


if __name__ == "__main__":
    sys.exit(main())
