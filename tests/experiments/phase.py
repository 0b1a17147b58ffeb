"""One phase of the experiment: both light sources at once, one routing, and all that is known of it afterwards."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import psutil

import faas
from faas.models import Block
from tests.experiments.machines import MACHINES, Facility
from tests.experiments.reduction import Run
from tests.experiments.routing import Routing
from tests.experiments.streams import LightSource, Stream, Submitted

_AT_ONCE = 4
_FULL_WITHIN_S = 180.0
_SETTLE_S = 4.0
"""New workers' first tasks are over then: each has started an interpreter, and imported numpy."""


class Exposed(Exception):
    """A light source could see what is not its own."""


@dataclass(frozen=True)
class Phase:
    """What one phase was, and what came of it.

    Args:
        name: of the phase.
        sites: that could get work.
        streams: what was submitted when.
        began_at: its start, in seconds since the epoch.
        full_at: since when all workers of the sites were there and at work, for a saturated phase; else its start.
        until: when submissions ended, in seconds since the epoch.
        runs: every dataset that ran.
        blocks: the batch jobs of each site.
        cpu: share of the machine's processors that were busy meanwhile, with all that runs on it.
    """

    name: str
    sites: tuple[str, ...]
    streams: Sequence[Stream]
    began_at: float
    full_at: float
    until: float
    runs: Sequence[Run]
    blocks: Mapping[str, Sequence[Block]]
    cpu: float


def run_phase(
    facility: Facility,
    sources: Mapping[str, LightSource],
    name: str,
    sites: tuple[str, ...],
    streams: Sequence[Stream],
    routings: Mapping[str, Routing],
    seeds: Iterator[int],
    saturated_s: float | None = None,
) -> Phase:
    """Let both sources submit their streams at the same time, starting with empty queues everywhere.

    Args:
        facility: where.
        sources: the light sources, by name.
        name: of the phase.
        sites: that may get work.
        streams: of all sources.
        routings: by source.
        seeds: of the datasets.
        saturated_s: for how long to go on once all workers of the sites are there; what does not run then is taken
            back. None if the streams are to be done to their end.

    Raises:
        Exposed: a source saw what is not its own.
    """
    facility.wait_until_empty()
    over = threading.Event()
    began_at, cpu_before = time.time(), _cpu()
    full_at, until = began_at, began_at + max(stream.ends_s for stream in streams)
    with ThreadPoolExecutor(len(sources)) as threads:
        measuring = {
            source: threads.submit(
                each.measure,
                [stream for stream in streams if stream.source == source],
                routings[source],
                seeds,
                began_at,
                over,
            )
            for source, each in sources.items()
        }
        try:
            if saturated_s is not None:
                _wait_until_full(facility, sites)
                time.sleep(_SETTLE_S)
                full_at = time.time()
                time.sleep(saturated_s)
                until = time.time()
                over.set()
            measured = {source: each.result() for source, each in measuring.items()}
        except BaseException:
            over.set()  # the threads are waited for
            raise
    cpu_after = _cpu()
    runs: list[Run] = []
    for source, (group_id, submitted) in measured.items():
        _check_apart(sources, source, group_id, submitted)
        runs += _runs(sources[source].client, submitted)
    facility.wait_until_empty()
    blocks = {
        site: [block for block in facility.owner.get_endpoint(site).blocks if block.requested_at >= began_at]
        for site in MACHINES
    }
    busy, total = (after - before for after, before in zip(cpu_after, cpu_before, strict=True))
    return Phase(name, sites, streams, began_at, full_at, until, runs, blocks, busy / total)


def _wait_until_full(facility: Facility, sites: tuple[str, ...]) -> None:
    """Wait until every worker of some sites is there."""
    deadline = time.monotonic() + _FULL_WITHIN_S
    while any(facility.owner.get_endpoint(site).workers < MACHINES[site].all_workers for site in sites):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{', '.join(sites)}: not all workers are there after {_FULL_WITHIN_S:g} s.")
        time.sleep(0.2)


def _runs(client: faas.Client, submitted: Sequence[Submitted]) -> list[Run]:
    """What the service recorded of each dataset that ran, joined with what the client saw."""
    ran = [each for each in submitted if not isinstance(each.future.exception(), faas.TaskCancelled)]
    with ThreadPoolExecutor(_AT_ONCE) as threads:  # a search shows no attempts
        return [
            Run.of(each, record)
            for each, record in zip(
                ran, threads.map(lambda each: client.get_task(each.future.task_id), ran), strict=True
            )
        ]


def _check_apart(
    sources: Mapping[str, LightSource], source: str, group_id: str, submitted: Sequence[Submitted]
) -> None:
    """Each source has its own results, and gets at nobody else's."""
    for other, each in sources.items():
        seen = each.client.search_tasks(task_group_id=group_id, limit=len(submitted)) if other == source else []
        strangers = {record["owner"] for record in seen} - {source}
        if strangers:
            raise Exposed(f"{source} was shown tasks of {', '.join(strangers)}.")
        if other != source:
            for reach in (each.client.get_task, each.client.get_result):
                try:
                    reach(submitted[0].future.task_id)
                except faas.NotFound:
                    continue
                raise Exposed(f"{other} could see task {submitted[0].future.task_id} of {source}.")


def _cpu() -> tuple[float, float]:
    """Processor seconds of this host: in use, and in all."""
    times = psutil.cpu_times()
    total = sum(times) - times.guest - times.guest_nice  # these two are in user and nice already
    return total - times.idle - times.iowait, total
