"""A simulated site: blocks that wait in its queue, workers that run tasks, and the real pilot controller in charge."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from faas.models import DEFAULT_SHAPE, Offer
from router.landscape import Landscape, QueuedBlock
from router.policies import Capacity

from .controllers import PilotController
from .draws import Draws
from .scenario import SimulatedSite

_LEAST_WAIT_S = 1.0
_MAX_HELD = 2_000


@dataclass(eq=False)
class SimulatedBlock:
    """One batch job."""

    block_id: str
    slot: int
    requested_at: float
    starts_at: float
    ends_at: float = inf
    state: str = "queued"
    ready_at: float | None = None
    busy: int = 0
    idle_since: float = 0.0


@dataclass(eq=False)
class Running:
    """A task on a worker."""

    index: int
    block: SimulatedBlock
    started_at: float
    seconds: float
    fails: bool


@dataclass
class _Slot:
    """Room for one block. A request takes the place in the queue that the one before it left, if it gave it up."""

    requests: int = 0
    next_at: float = -inf


class SiteAgent:
    """What an agent does at its site, as far as the service and the scheduler can see.

    Args:
        name: of its endpoint.
        site: what it has.
        controller: judges its blocks.
        draws: how long each waits.
    """

    def __init__(self, name: str, site: SimulatedSite, controller: PilotController, draws: Draws) -> None:
        self.name = name
        self.site = site
        self.blocks: list[SimulatedBlock] = []
        """Those that live."""
        self._controller = controller
        self._draws = draws
        self._workers_per_block = site.nodes_per_block * site.workers_per_node
        self._drain_s = min(site.drain_s, site.walltime_s / 2)
        self._limits: Any = controller.Limits(
            max_blocks=site.max_blocks,
            workers_per_block=self._workers_per_block,
            fresh_s=site.walltime_s - self._drain_s,
            max_idletime_s=site.max_idletime_s,
            horizon_s=site.horizon_s,
        )
        self._slots = [_Slot() for _ in range(site.max_blocks)]
        self._held: deque[int] = deque()
        self._running: set[Running] = set()
        self._surplus_since: float | None = None
        self._requested = 0
        self._down_until = -inf
        self._taken_back: list[float] = []
        self._ended: list[tuple[float, float]] = []

    # Work

    def capacity(self, now: float) -> Capacity | None:
        """What to ask for; None if no worker is idle."""
        up = self._up()
        workers = len(up) * self._workers_per_block
        idle = workers - sum(block.busy for block in up)
        if idle - len(self._held) <= 0:
            return None
        longest_s = min(block.ends_at - now for block in up) - self._drain_s
        offer = Offer(
            shape=DEFAULT_SHAPE,
            workers=workers,
            idle_workers=idle,
            longest_s=None if longest_s == inf else longest_s,
        )
        return Capacity({DEFAULT_SHAPE: offer}, _MAX_HELD)

    def take(self, indices: Sequence[int]) -> None:
        """Tasks were granted."""
        self._held.extend(indices)

    def startable(self, now: float) -> Iterator[tuple[int, SimulatedBlock]]:
        """Tasks held, each with a block that has an idle worker for it: the fullest, so that others can go."""
        while self._held:
            free = [block for block in self._up() if block.busy < self._workers_per_block]
            if not free:
                return
            block = max(free, key=lambda block: (block.busy, -block.slot))
            block.busy += 1
            yield self._held.popleft(), block

    def run(self, running: Running) -> None:
        """A task began."""
        self._running.add(running)

    def finish(self, running: Running, now: float) -> bool:
        """A task ended; False if it was lost before."""
        if running not in self._running:
            return False
        self._running.remove(running)
        running.block.busy -= 1
        running.block.idle_since = now
        if running.block.state == "draining" and not running.block.busy:
            self._over(running.block, now)
        return True

    # Blocks

    def control(self, now: float, tasks: int, seconds: float | None) -> list[SimulatedBlock]:
        """Let the pilot controller judge, and do as it says.

        Args:
            now: when.
            tasks: demand told by the service.
            seconds: the same in worker-seconds, where known.

        Returns:
            Blocks newly requested.
        """
        busy = sum(block.busy for block in self.blocks)
        backlog = self._controller.Backlog(tasks=tasks + len(self._held), seconds=seconds, busy_workers=busy)
        views = [self._view(block, now) for block in self.blocks]
        surplus_s = now - self._surplus_since if self._surplus_since is not None else 0.0
        verdict = self._controller.decide(backlog, views, self._limits, surplus_s=surplus_s)
        accepting = sum(block.state != "draining" for block in self.blocks)
        if accepting <= verdict.wanted:
            self._surplus_since = None
        elif self._surplus_since is None:
            self._surplus_since = now
        requested: list[SimulatedBlock] = []
        by_id = {block.block_id: block for block in self.blocks}
        for decision in verdict.decisions:
            chosen = [by_id[block_id] for block_id in decision.block_ids if block_id in by_id]
            if decision.action == "request":
                requested += [self._request(now) for _ in range(decision.count)]
            elif decision.action == "drain":
                for block in chosen:
                    block.state = "draining"
                    if not block.busy:
                        self._over(block, now)
            else:
                for block in chosen:
                    self._taken_back.append(now - block.requested_at)
                    self._over(block, now)
        return requested

    def taken_back(self) -> list[float]:
        """How long each block had waited that was cancelled since this was last asked, in seconds."""
        told, self._taken_back = self._taken_back, []
        return told

    def ended(self) -> list[tuple[float, float]]:
        """Start and end of each block that ended since this was last asked."""
        told, self._ended = self._ended, []
        return told

    def ready(self, block: SimulatedBlock, now: float) -> bool:
        """A block's workers register, if it still lives and its site is up."""
        if block not in self.blocks or block.state != "queued" or block.starts_at + self.site.startup_s > now + 1e-6:
            return False
        block.state, block.ready_at, block.idle_since = "running", now, now
        block.ends_at = block.starts_at + self.site.walltime_s
        return True

    def kill(self, blocks: Sequence[SimulatedBlock], now: float) -> list[int]:
        """Blocks end, with what they run; returns the tasks that are lost."""
        lost = [running for running in self._running if running.block in blocks]
        self._running -= set(lost)
        for block in blocks:
            if block in self.blocks:
                self._over(block, now)
        return sorted(running.index for running in lost)

    def outage(self, now: float, until: float) -> list[int]:
        """The site loses its nodes until then; returns the tasks that are lost."""
        self._down_until = until
        for block in self.blocks:
            if block.state == "queued":
                block.starts_at = max(block.starts_at, until)
        lost = self.kill([block for block in self.blocks if block.state != "queued"], now)
        lost += self._held
        self._held.clear()
        return lost

    def describe(self, landscape: Landscape, now: float) -> None:
        """Tell the service of workers and blocks."""
        up = self._up()
        longest_s = min((block.ends_at - now for block in up), default=inf) - self._drain_s
        landscape.workers_told(
            self.name, DEFAULT_SHAPE, len(up) * self._workers_per_block, None if longest_s == inf else longest_s, now
        )
        lane = landscape.lane(self.name, DEFAULT_SHAPE)
        lane.queued = [
            QueuedBlock(block.block_id, block.requested_at, self._workers_per_block)
            for block in self.blocks
            if block.state == "queued"
        ]
        lane.blocks = len(self.blocks)
        lane.max_blocks = self.site.max_blocks
        lane.workers_per_block = self._workers_per_block
        lane.walltime_s = self.site.walltime_s - self._drain_s

    def _up(self) -> list[SimulatedBlock]:
        return [block for block in self.blocks if block.state == "running"]

    def _request(self, now: float) -> SimulatedBlock:
        taken = {block.slot for block in self.blocks}
        number = next(index for index in range(len(self._slots)) if index not in taken)
        slot = self._slots[number]
        if slot.next_at <= now:
            slot.next_at = now + max(_LEAST_WAIT_S, self._draws.wait_s(self.name, number, slot.requests))
            slot.requests += 1
        self._requested += 1
        starts_at = max(slot.next_at, self._down_until)
        block = SimulatedBlock(f"{self.name}-{self._requested}", number, now, starts_at)
        self.blocks.append(block)
        return block

    def _over(self, block: SimulatedBlock, now: float) -> None:
        self.blocks.remove(block)
        if block.state != "queued" or block.starts_at < now:
            self._ended.append((block.starts_at, now))
        block.state = "ended"

    def _view(self, block: SimulatedBlock, now: float) -> Any:
        started = block.ready_at is not None
        return self._controller.PilotBlock(
            block_id=block.block_id,
            state=block.state,
            ready=started,
            busy=block.busy,
            idle_s=now - block.idle_since if started and not block.busy else 0.0,
            running_s=now - block.starts_at if started else 0.0,
            fits_s=block.ends_at - self._drain_s - now,
        )
