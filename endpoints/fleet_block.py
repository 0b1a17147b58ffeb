"""A block as its own agent knows it: what the service is told of it, and what it is judged by."""

from __future__ import annotations

from math import inf

from endpoints.pilots import PilotBlock
from faas.models import Block

_MARGIN_S = 5.0
LIVE = ("requested", "queued", "running", "draining")


class FleetBlock:
    """A block, with what only its own agent needs to know of it."""

    def __init__(self, block: Block, drain_s: float) -> None:
        self.block = block
        self.managers: list[str] = []
        self.busy = 0
        self.worked = False
        self.proven = False
        """Whether it has ended a row of failures: its workers did something, or stayed for a while."""
        self.idle_s = 0.0
        self.seen_at = 0.0
        """When its managers were last there (monotonic)."""
        self.ending = ""
        """Why we cancelled it, or are about to; empty if we have not."""
        self.held = False
        self._drain_s = drain_s

    @property
    def live(self) -> bool:
        return self.block.state in LIVE

    def left_s(self, now: float) -> float:
        """Until its walltime is over."""
        block = self.block
        if not block.walltime_s:
            return inf
        return block.walltime_s - max(0.0, now - (block.started_at or now))

    def fits_s(self, now: float) -> float:
        """The longest run time that still fits."""
        return max(0.0, self.left_s(now) - _MARGIN_S)

    def too_late(self, now: float) -> bool:
        """Whether it takes no new work any more."""
        return self.left_s(now) <= self._drain_s

    def view(self, now: float) -> PilotBlock:
        """As the controller judges it."""
        block = self.block
        return PilotBlock(
            block_id=block.block_id,
            state=block.state,
            ready=block.ready_at is not None,
            busy=self.busy,
            idle_s=self.idle_s,
            running_s=now - block.started_at if block.started_at else 0.0,
            fits_s=self.fits_s(now),
        )


def fresh_s(walltime_s: float) -> float:
    """The longest run time that fits a block that has just started."""
    return walltime_s - _MARGIN_S if walltime_s else inf
