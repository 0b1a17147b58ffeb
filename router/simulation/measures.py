"""What a simulation came to, in the figures that people compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

import numpy as np

from .draws import Draws
from .world import History


@dataclass(frozen=True)
class Measures:
    """Figures of one policy, over one or several seeds (then means)."""

    makespan_s: float
    """From the first arrival to the last end."""
    bound_s: float
    """The least it could have been; see ``fluid_bound``."""
    over_bound: float
    """Makespan by bound."""
    turnaround_p95_s: float
    """95th percentile, from a dataset's arrival to its result: what a beamline feels."""
    turnaround_median_s: float
    node_hours: float
    """Allocated, from each block's start to its end."""
    node_hours_by_work: float
    """The same, by the node-hours that the tasks themselves took."""
    failed: float
    """Tasks without a result."""
    longest_hold_s: float
    """The longest promise."""

    def as_dict(self) -> dict[str, float]:
        """By name, as JSON has them."""
        return asdict(self)


def measure(history: History, draws: Draws, bound_s: float) -> Measures:
    """The figures of one simulation.

    Args:
        history: what happened.
        draws: what it happened to.
        bound_s: of the same draws.
    """
    first = min(task.arrived_at for task in history.tasks)
    ended = np.array([task.ended_at for task in history.tasks])
    turnaround = ended - np.array([task.arrived_at for task in history.tasks])
    makespan_s = float(ended.max()) - first
    allocated_s = sum(block.nodes * (block.ended_at - block.started_at) for block in history.blocks)
    worked_s = sum(
        task.run_s / draws.sites[task.site].workers_per_node for task in history.tasks if task.state == "succeeded"
    )
    return Measures(
        makespan_s=makespan_s,
        bound_s=bound_s,
        over_bound=makespan_s / bound_s,
        turnaround_p95_s=float(np.percentile(turnaround, 95)),
        turnaround_median_s=float(np.median(turnaround)),
        node_hours=allocated_s / 3600,
        node_hours_by_work=allocated_s / worked_s if worked_s else float("inf"),
        failed=sum(task.state == "failed" for task in history.tasks),
        longest_hold_s=history.longest_hold_s,
    )


def mean_of(measures: Sequence[Measures]) -> Measures:
    """Their means; of ``longest_hold_s``, the longest."""
    means = {each.name: float(np.mean([getattr(one, each.name) for one in measures])) for each in fields(Measures)}
    means["longest_hold_s"] = max(one.longest_hold_s for one in measures)
    return Measures(**means)
