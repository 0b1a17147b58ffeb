"""What is known of every endpoint's workers and blocks: kept up by events, and told as of one moment."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf

import numpy as np

from router.model import SiteModel
from router.model.queue_waits import STEPS
from router.plan import Floats, LaneKey, Workers

_OVERDUE = 0.1
"""What has outrun its prediction is expected to take this part of it more."""
_MANY_BLOCKS = 64
"""As many an endpoint is taken to be allowed that does not tell."""
_UNKNOWN_S = 60.0
"""How long tasks of unknown run time are taken to run."""


@dataclass
class QueuedBlock:
    """A block that was asked for and has no workers yet."""

    block_id: str
    requested_at: float
    workers: int


@dataclass
class Lane:
    """The workers of one shape at one endpoint."""

    workers: int = 0
    """Alive, as last told."""
    ends_at: float = inf
    """When the first of them has to go."""
    queued: list[QueuedBlock] = field(default_factory=list)
    blocks: int = 0
    """Blocks that live, queued ones included."""
    max_blocks: int | None = None
    """None where it was not told."""
    workers_per_block: int = 1
    walltime_s: float = inf
    running: dict[str, deque[tuple[float, float]]] = field(default_factory=dict)
    """By function, for each task it was granted and has not ended: when it should end, and how long it should run."""
    _free_at: Floats | None = None

    @property
    def possible_blocks(self) -> int:
        """Blocks that could still be asked for."""
        return max(0, (_MANY_BLOCKS if self.max_blocks is None else self.max_blocks) - self.blocks)

    @property
    def tasks(self) -> int:
        """Granted and not ended."""
        return sum(map(len, self.running.values()))

    def granted(self, function_id: str, tasks: int, run_s: float | None, now: float) -> None:
        """It got tasks."""
        seconds = _UNKNOWN_S if run_s is None else run_s
        self.running.setdefault(function_id, deque()).extend([(now + seconds, seconds)] * tasks)
        self._free_at = None

    def ended(self, function_id: str, tasks: int) -> None:
        """Tasks ended there, whatever became of them: those that were to end first."""
        running = self.running.get(function_id)
        for _ in range(min(tasks, len(running or ()))):
            running.popleft()  # type: ignore[union-attr]  # the range is empty without it
        if not running:
            self.running.pop(function_id, None)
        self._free_at = None

    def free_at(self, now: float) -> Floats:
        """When each of its workers takes its next task; in the past for those that are idle."""
        if self._free_at is None:
            held = [one for tasks in self.running.values() for one in tasks]
            if len(held) > self.workers:
                # More than one each: short tasks, handed out in advance.
                seconds = sum(run_s for _, run_s in held) / max(1, self.workers)
                begun = min(end_at - run_s for end_at, run_s in held)
                self._free_at = np.full(self.workers, begun + seconds)
            else:
                ends = [max(end_at, now + _OVERDUE * run_s if end_at < now else end_at) for end_at, run_s in held]
                self._free_at = np.array([-inf] * (self.workers - len(ends)) + ends, dtype=np.float64)
        return self._free_at


class Landscape:
    """All lanes of all endpoints, as far as requests, grants, reports and heartbeats tell.

    Pure but for its memory: every method takes the time, and none asks for it.

    Example:
        >>> landscape = Landscape()
        >>> landscape.lane("theta", "default").workers = 2
        >>> landscape.lane("theta", "default").granted("fit", 1, 100.0, now=0.0)
        >>> landscape.workers(10.0, SiteModel()).free_at.tolist()
        [-inf, 100.0]
    """

    def __init__(self) -> None:
        self._lanes: dict[LaneKey, Lane] = {}

    def lane(self, endpoint_id: str, shape: str) -> Lane:
        """The lane of that name; made when first asked for."""
        return self._lanes.setdefault((endpoint_id, shape), Lane())

    def workers_told(self, endpoint_id: str, shape: str, workers: int, longest_s: float | None, now: float) -> None:
        """A lease request told how many workers are alive, and how long they live at least."""
        lane = self.lane(endpoint_id, shape)
        if lane.workers != workers:
            lane.workers = workers
            lane._free_at = None
        lane.ends_at = inf if longest_s is None else now + longest_s

    def gone(self, endpoint_id: str) -> None:
        """An endpoint fell silent, drains or is paused: it has no part in anything until it is heard of again."""
        for key in [key for key in self._lanes if key[0] == endpoint_id]:
            del self._lanes[key]

    @property
    def lanes(self) -> list[LaneKey]:
        """Every lane, in the order in which ``workers`` numbers them."""
        return list(self._lanes)

    def backlog(self) -> Mapping[str, int]:
        """Tasks granted and not ended, by endpoint."""
        found: dict[str, int] = {}
        for (endpoint_id, _), lane in self._lanes.items():
            found[endpoint_id] = found.get(endpoint_id, 0) + lane.tasks
        return found

    def workers(
        self, now: float, model: SiteModel, *, running: bool = True, queued: bool = True, potential: bool = False
    ) -> Workers:
        """Everybody who could work, as a plan takes them.

        Args:
            now: on the clock of the events.
            model: tells how long blocks wait.
            running: those that are there.
            queued: those of queued blocks, spread over the waits that are likely.
            potential: those of blocks that could still be asked for, likewise.
        """
        lanes: list[int] = []
        free: list[Floats] = []
        ends: list[float | Floats] = []
        weights: list[float] = []
        for index, (key, lane) in enumerate(self._lanes.items()):
            if running and lane.workers:
                lanes.append(index)
                free.append(lane.free_at(now))
                ends.append(lane.ends_at)
                weights.append(1.0)
            may_come = sum(block.workers for block in lane.queued) if queued else 0
            if potential:
                may_come += lane.possible_blocks * lane.workers_per_block
            if may_come:
                waits = model.queue_waits.of(*key, [now - block.requested_at for block in lane.queued]).steps()
                lanes.append(index)
                free.append(now + waits)
                ends.append(now + waits + lane.walltime_s)
                weights.append(may_come / STEPS)
        if not lanes:
            return Workers.none()
        counts = [len(each) for each in free]
        return Workers(
            np.repeat(np.array(lanes, dtype=np.intp), counts),
            np.concatenate(free),
            np.concatenate([_each(end, count) for end, count in zip(ends, counts, strict=True)]),
            np.repeat(weights, counts),
        )


def _each(end: float | Floats, count: int) -> Floats | list[float]:
    return [end] * count if isinstance(end, float) else end
