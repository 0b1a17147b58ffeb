"""Wire models of usage: what was spent, and by whom."""

from __future__ import annotations

from typing import Literal

from .common import Model

UsageBy = Literal["endpoint", "identity", "function"]


class UsageRow(Model, kw_only=True):
    """What one endpoint gave, or one identity or function used; a row without an id is what nobody used."""

    id: str
    name: str
    owner: str = ""
    """Of the endpoint or function."""
    settled_node_hours: float = 0.0
    """Of blocks that ended, their idle time included."""
    reserved_node_hours: float = 0.0
    """What live blocks may yet cost: nodes x walltime."""
    busy_worker_hours: float = 0.0
    """In which a task ran."""
    worker_hours: float = 0.0
    """In which there were workers, in blocks."""
    utilisation: float | None = None
    """Busy worker-hours of all worker-hours; None where there were no blocks."""
    attempts: int = 0


class Usage(Model, kw_only=True):
    """Usage as far as the caller may know it; each column adds up to the same by whatever it is listed."""

    by: UsageBy
    since: float | None = None
    until: float
    rows: list[UsageRow] = []
