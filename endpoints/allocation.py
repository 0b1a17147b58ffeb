"""What an owner decides about batch allocations: worker shapes, the scheduler's words, and how many blocks."""

from __future__ import annotations

from math import ceil
from typing import Any

from pydantic import Field, field_validator, model_validator

from endpoints.section import Section, Text


class WorkerShape(Section):
    """What each worker of a shape has to itself."""

    cores: float = Field(default=1.0, gt=0, le=4096)
    gpus: int = Field(default=0, ge=0, le=64)
    memory_gb: float | None = Field(default=None, gt=0, le=65_536)
    """None where memory is not shared out."""
    workers: int | None = Field(default=None, ge=1, le=4096)
    """Workers on each node; None for as many as the endpoint's ``workers`` cores make."""


_LAUNCHERS: dict[str, tuple[str, ...]] = {
    "SimpleLauncher": (),
    "SingleNodeLauncher": ("fail_on_any",),
    "SrunLauncher": ("overrides",),
    "SrunMPILauncher": ("overrides",),
    "AprunLauncher": ("overrides",),
    "JsrunLauncher": ("overrides",),
    "GnuParallelLauncher": (),
    "MpiExecLauncher": ("bind_cmd", "overrides"),
    "MpiRunLauncher": ("bash_location", "overrides"),
    "WrappedLauncher": ("prepend",),
}


class Launcher(Section):
    """How workers get to the nodes of a block: one of Parsl's launchers, with what it takes."""

    type: str
    overrides: Text = ""
    """Further options of its command."""
    bind_cmd: Text = ""
    bash_location: Text = ""
    prepend: Text = ""
    fail_on_any: bool = False
    debug: bool = True

    @model_validator(mode="after")
    def _fits(self) -> Launcher:
        if self.type not in _LAUNCHERS:
            raise ValueError(f"there is no launcher {self.type!r}; there are {', '.join(_LAUNCHERS)}")
        if wrong := self.model_fields_set - {"type", "debug", *_LAUNCHERS[self.type]}:
            raise ValueError(f"{self.type} takes no {', '.join(sorted(wrong))}")
        return self


class Scheduler(Section):
    """What a batch scheduler is told of each block."""

    account: Text = ""
    partition: Text = ""
    """Partition or queue."""
    qos: Text = ""
    constraint: Text = ""
    walltime_s: int = Field(default=1800, ge=60, le=30 * 86_400)
    nodes_per_block: int = Field(default=1, ge=1, le=10_000)
    cores_per_node: int | None = Field(default=None, ge=1, le=4096)
    """What to ask for of each node; None for as many cores as its workers have."""
    exclusive: bool = False
    """Share no node with other jobs."""
    whole_nodes: bool = False
    """LSF: ask for nodes (``-nnodes``), where the site gives out no slots."""
    select_options: Text = ""
    """PBS Pro: further parts of ``-l select``, such as ``ngpus=4`` or ``system=polaris``."""
    launcher: Launcher | None = None
    """How workers get to the nodes of a block; None for the profile's way."""
    options: str = ""
    """Further lines for the top of the batch script, as the scheduler reads them: ``#SBATCH -C haswell``."""
    worker_init: str = ""
    """Shell lines run on each node before the workers start."""
    command_timeout_s: int = Field(default=20, ge=1, le=600)
    """How long ``sbatch`` and its like may take."""
    status_period_s: float = Field(default=2.0, ge=0.2, le=600)
    """How often the scheduler is asked about the jobs that live."""

    @field_validator("options", "worker_init", mode="before")
    @classmethod
    def _lines(cls, value: Any) -> Any:
        """A list of lines reads as well as a block of text."""
        return "\n".join(map(str, value)) if isinstance(value, list) else value


class AgentJob(Section):
    """The batch job in which the agent itself runs, where login nodes do not let it: ``start --as-job``."""

    walltime_s: int = Field(default=8 * 3600, ge=60, le=30 * 86_400)
    """Of each job; before it ends, the job has submitted the next."""
    renew_s: float = Field(default=3600.0, gt=0, le=30 * 86_400)
    """How long before its end the next one is submitted: longer than jobs wait, but at most three quarters of it."""
    handover_s: float = Field(default=300.0, ge=0, le=86_400)
    """How long running tasks may go on once the next job is there; those that take longer run again."""
    finish_s: float = Field(default=120.0, ge=10, le=86_400)
    """How long before its end the agent stops, whether or not the next one is there; at most a quarter of it."""
    account: Text | None = None
    """None for the blocks' own, as in what follows."""
    partition: Text | None = None
    qos: Text | None = None
    constraint: Text | None = None
    options: str | None = None
    memory_gb: float | None = Field(default=1.0, gt=0, le=1024)
    """None to ask for none."""
    worker_init: str = ""
    """Shell lines run before the agent starts."""

    @field_validator("options", "worker_init", mode="before")
    @classmethod
    def _lines(cls, value: Any) -> Any:
        return "\n".join(map(str, value)) if isinstance(value, list) else value

    @property
    def renews_at_s(self) -> float:
        """When the next one is submitted, from the start of the job."""
        return self.walltime_s - min(self.renew_s, self.walltime_s * 3 / 4)

    @property
    def stops_at_s(self) -> float:
        """When it stops at the latest, from the start of the job."""
        return self.walltime_s - min(self.finish_s, self.walltime_s / 4)


class NodeHours(Section):
    """What may be spent; None for no limit."""

    per_day: float | None = Field(default=None, ge=0)
    """In any one UTC day."""
    total: float | None = Field(default=None, ge=0)
    """Ever, by this endpoint."""


class Blocks(Section):
    """How many blocks there are, of each shape, and when they end."""

    min_blocks: int = Field(default=0, ge=0, le=1000)
    max_blocks: int = Field(default=1, ge=1, le=1000)
    max_idletime_s: float = Field(default=30.0, ge=0, le=86_400)
    """A block without work for this long is given back."""
    drain_s: float = Field(default=60.0, ge=0, le=86_400)
    """A block takes no new work for this long before its walltime ends; at most half of the walltime."""
    horizon_s: float = Field(default=30.0, gt=0, le=86_400)
    """Blocks are added until the backlog would be done in about this time."""
    startup_s: float = Field(default=300.0, ge=1, le=86_400)
    """A job whose workers have not registered for this long is given up as failed."""
    max_failed_blocks: int = Field(default=3, ge=1, le=1000)
    """After so many failures in a row the endpoint reports itself broken, and tries again ever more rarely."""
    probe_s: float = Field(default=5.0, gt=0, le=3600)
    """A broken endpoint tries again after this long, and then each time after twice as long…"""
    probe_max_s: float = Field(default=300.0, gt=0, le=86_400)
    """…up to this."""
    max_node_hours: NodeHours = NodeHours()

    @model_validator(mode="after")
    def _in_order(self) -> Blocks:
        if self.min_blocks > self.max_blocks:
            raise ValueError(f"min_blocks ({self.min_blocks}) must not be above max_blocks ({self.max_blocks})")
        return self


def clock(walltime_s: float) -> str:
    """A walltime as HH:MM:SS, in whole minutes.

    Example:
        >>> clock(5400), clock(61)
        ('01:30:00', '00:02:00')
    """
    minutes = whole_minutes(walltime_s)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:00"


def whole_minutes(walltime_s: float) -> int:
    """A walltime as schedulers count it.

    Example:
        >>> whole_minutes(60), whole_minutes(61)
        (1, 2)
    """
    return ceil(walltime_s / 60)
