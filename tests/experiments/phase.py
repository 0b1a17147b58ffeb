"""One phase of the experiment: both light sources at once, one routing, and all that is known of it afterwards."""

from __future__ import annotations

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


class WrongAnswer(Exception):
    """A dataset's answer is not the known one, or went to somebody else."""


@dataclass(frozen=True)
class Phase:
    """What one phase was, and what came of it.

    Args:
        name: of the phase.
        sites: that could get work.
        streams: what was submitted when.
        began_at: its start, in seconds since the epoch.
        until_s: its end for throughput, from the start: the last batch was there then, or what waited was taken back.
        runs: every dataset that ran.
        blocks: the batch jobs of each site.
        cpu: share of the machine's processors that were busy meanwhile, with all that runs on it.
    """

    name: str
    sites: tuple[str, ...]
    streams: Sequence[Stream]
    began_at: float
    until_s: float
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
    cut_s: float | None = None,
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
        cut_s: when what does not run yet is taken back; None if all is to be done.

    Raises:
        WrongAnswer: an answer is wrong, or a source saw what is not its own.
    """
    facility.wait_until_empty()
    began_at, cpu_before = time.time(), _cpu()
    with ThreadPoolExecutor(len(sources)) as threads:
        measuring = {
            source: threads.submit(
                each.measure,
                [stream for stream in streams if stream.source == source],
                routings[source],
                seeds,
                began_at,
                cut_s,
            )
            for source, each in sources.items()
        }
        measured = {source: each.result() for source, each in measuring.items()}
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
    until_s = cut_s if cut_s is not None else max(stream.ends_s for stream in streams)
    return Phase(name, sites, streams, began_at, until_s, runs, blocks, busy / total)


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
            raise WrongAnswer(f"{source} was shown tasks of {', '.join(strangers)}.")
        if other != source:
            for reach in (each.client.get_task, each.client.get_result):
                try:
                    reach(submitted[0].future.task_id)
                except faas.NotFound:
                    continue
                raise WrongAnswer(f"{other} could see task {submitted[0].future.task_id} of {source}.")


def _cpu() -> tuple[float, float]:
    """Processor seconds of this host: in use, and in all."""
    times = psutil.cpu_times()
    total = sum(times) - times.guest - times.guest_nice  # these two are in user and nice already
    return total - times.idle - times.iowait, total
