"""What the federation did, as records and figures: throughput, utilization, backlog, latencies stage by stage.

>>> from datetime import timedelta
>>> import faas
>>> from faas import analytics
>>> history = faas.Client().history(since=timedelta(hours=1))                 # doctest: +SKIP
>>> analytics.stage_table(history)                              # doctest: +SKIP
>>> analytics.figure_overview(history).savefig("overview.png")  # doctest: +SKIP

Records need nothing but Python; figures need matplotlib, which comes with the extra ``notebook``.
"""

from __future__ import annotations

from faas.analytics.curves import (
    Steps,
    backlog,
    busy_workers,
    registered_workers,
    throughput,
    utilization,
    utilization_over_time,
)
from faas.analytics.figures import (
    figure_backlog,
    figure_overview,
    figure_stages,
    figure_throughput,
    figure_timeline,
    figure_utilization,
)
from faas.analytics.records import AttemptRecord, BlockRecord, History, TaskRecord
from faas.analytics.stages import STAGES, endpoint_table, quantile, stage_table, stages_of

__all__ = [
    "STAGES",
    "AttemptRecord",
    "BlockRecord",
    "History",
    "Steps",
    "TaskRecord",
    "backlog",
    "busy_workers",
    "endpoint_table",
    "figure_backlog",
    "figure_overview",
    "figure_stages",
    "figure_throughput",
    "figure_timeline",
    "figure_utilization",
    "quantile",
    "registered_workers",
    "stage_table",
    "stages_of",
    "throughput",
    "utilization",
    "utilization_over_time",
]
