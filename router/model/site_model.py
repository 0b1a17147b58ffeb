"""What the router has learned of its sites, in one object that can be kept and restored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .queue_waits import QueueWaits
from .run_times import RunTimeModel
from .transfers import Transfers


class SiteModel:
    """Run times, queue waits and transfers. Pure: told of what happened, asked for what to expect."""

    def __init__(self) -> None:
        self.run_times = RunTimeModel()
        self.queue_waits = QueueWaits()
        self.transfers = Transfers()

    def service_s(
        self,
        function_ids: Sequence[str],
        endpoint_ids: Sequence[str],
        *,
        sizes_bytes: Sequence[float | None] | None = None,
        store: str = "",
    ) -> NDArray[np.float64]:
        """For how long each function's next task keeps a worker at each endpoint, inputs fetched.

        Args:
            function_ids: rows.
            endpoint_ids: columns.
            sizes_bytes: inputs of a task of each function, None where not known.
            store: where the inputs are.

        Returns:
            Seconds, optimistic where little is known; NaN for functions that never ran.
        """
        table = self.run_times.table(function_ids, endpoint_ids, sizes_bytes)
        if sizes_bytes and store:
            per_byte = np.array([self.transfers.seconds(store, endpoint_id, 1.0) for endpoint_id in endpoint_ids])
            table += np.array([size or 0.0 for size in sizes_bytes])[:, None] * per_byte[None, :]
        return table

    def to_rows(self) -> dict[str, list[tuple[Any, ...]]]:
        """All that was learned, as rows of plain values by what they are of."""
        return {
            "run_times": list(self.run_times.to_rows()),
            "queue_waits": list(self.queue_waits.to_rows()),
            "transfers": list(self.transfers.to_rows()),
        }

    @classmethod
    def from_rows(cls, rows: Mapping[str, Sequence[tuple[Any, ...]]]) -> SiteModel:
        """A model that knows what ``to_rows`` told."""
        model = cls()
        model.run_times = RunTimeModel.from_rows(rows.get("run_times", ()))
        model.queue_waits = QueueWaits.from_rows(rows.get("queue_waits", ()))
        model.transfers = Transfers.from_rows(rows.get("transfers", ()))
        return model
