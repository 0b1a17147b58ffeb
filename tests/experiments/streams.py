"""Light sources at work: each submits its datasets as they are measured, and looks at every answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import faas
from faas.futures import TaskFuture
from tests.experiments.routing import Routing
from tests.experiments.workloads import FUNCTIONS, MODULES, Dataset


@dataclass(frozen=True)
class Stream:
    """Datasets of one kind from one source, in equal batches at equal times.

    Args:
        source: the light source.
        function: what is to be done with them.
        batches: how many.
        batch: datasets in each.
        every_s: between two of them.
        from_s: when the first one is there, from the start of the phase.
    """

    source: str
    function: str
    batches: int
    batch: int
    every_s: float
    from_s: float = 0.0

    @property
    def tasks(self) -> int:
        """All its datasets."""
        return self.batches * self.batch

    @property
    def ends_s(self) -> float:
        """When the last batch is there."""
        return self.from_s + (self.batches - 1) * self.every_s


@dataclass
class Submitted:
    """A dataset on its way, and when its answer was there."""

    source: str
    dataset: Dataset
    target: str
    sent_at: float
    future: TaskFuture
    seen_at: float = 0.0
    """When the client had the result."""


class LightSource:
    """A client that registers the functions once, then submits and gathers.

    Args:
        name: of its identity.
        client: with its token.
        lasts_s: calibrated durations, by function and site.
        deliver: makes an argument of a dataset's frames; without it the sites make them from a seed.
    """

    def __init__(
        self,
        name: str,
        client: faas.Client,
        lasts_s: Mapping[str, Mapping[str, float]],
        deliver: Callable[[faas.Client, Any], Any] | None = None,
    ) -> None:
        self.name = name
        self.client = client
        self._lasts_s = lasts_s
        self._deliver = None if deliver is None else partial(deliver, client)
        self._function_ids = {
            function: client.register_function(code, name=function, modules=MODULES)
            for function, code in FUNCTIONS.items()
        }

    def measure(
        self,
        streams: Sequence[Stream],
        routing: Routing,
        seeds: Iterator[int],
        began_at: float,
        over: threading.Event,
    ) -> tuple[str, list[Submitted]]:
        """Submit streams as they come, and wait until every dataset has ended.

        Args:
            streams: of this source.
            routing: names where each dataset goes.
            seeds: one for each.
            began_at: the start of the phase.
            over: once it is set, no more are submitted, and what does not run yet is taken back.

        Returns:
            The task group, and what was submitted.
        """
        sent: list[Submitted] = []
        batches = sorted(
            (stream.from_s + number * stream.every_s, index, stream)
            for index, stream in enumerate(streams)
            for number in range(stream.batches)
        )
        with faas.Executor(client=self.client) as executor:
            for at_s, _, stream in batches:
                if over.wait(max(0.0, began_at + at_s - time.time())):
                    self.client.cancel(task_group_id=executor.task_group_id, running=False)
                    break
                for target in routing.targets(stream.batch):
                    executor.endpoint_id = target
                    sent.append(self._submit(executor, Dataset(stream.function, next(seeds))))
        return executor.task_group_id, sent

    def _submit(self, executor: faas.Executor, dataset: Dataset) -> Submitted:
        arguments = dataset.arguments(self._lasts_s[dataset.function], self._deliver)
        function_id = self._function_ids[dataset.function]
        sent_at = time.time()
        future = executor.submit_to_registered_function(function_id, arguments)
        submitted = Submitted(self.name, dataset, executor.endpoint_id, sent_at, future)

        def seen(_: object) -> None:
            submitted.seen_at = time.time()

        future.add_done_callback(seen)
        return submitted
