"""Keeps up what policies foresee by, from what agents ask for, report and tell; and asks the policy."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from typing import Any

from faas.models import AttemptKey, Block, Demand, Heartbeat, ReportRequest
from registry import leases
from registry.database import Transaction
from registry.endpoints import Site
from registry.leases import COUNTED, Granted, QueuedClass
from router.landscape import QueuedBlock
from router.model import SiteModel
from router.plan import LaneKey, PlannedClass
from router.planner import Planner
from router.policies import POLICIES, Capacity, Choice, Holds, Policy, Waiting
from router.quarantine import Quarantine
from router.run_times import RunTimes

log = logging.getLogger(__name__)

_LOOKED_AT = 32
"""So many of the classes that wait are compared with what the plan knew of them."""
_MAX_CLASSES = 10_000
_OVER = frozenset({"ended", "failed"})


@dataclass(frozen=True)
class _Out:
    """A task that an endpoint was granted and has not ended."""

    function_id: str
    shape: str
    lease_number: int
    granted_at: float


@dataclass(frozen=True)
class Predicted:
    """What is known of a function at an endpoint."""

    run_s: float | None
    """For how long a task would keep a worker; None where it never ran."""
    wait_s: float | None
    """Until a worker is free; None where there is none, and no block that would bring one."""
    quarantined: bool
    """Whether it gets nothing of this function, or a probe at most."""


class Foresight:
    """The policy with all that it decides by: site model, landscape, promises, quarantine.

    Safe from any thread, as decisions are made within transactions. What happened is taken in once it is durable.
    Everything but the model begins anew with the service, and is known again after a heartbeat of each endpoint.
    Service replicas each foresee by what they were told themselves.

    Args:
        policy: any but ``first_free``, which needs none of this.
        planner: with the model.
        run_times: measured run times by function.
        clock: of everything here, in seconds.
        wall: of what agents tell, in seconds since the epoch.
    """

    def __init__(
        self,
        policy: Policy,
        planner: Planner,
        run_times: RunTimes,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.policy = policy
        self.planner = planner
        self._run_times = run_times
        self._clock = clock
        self._wall = wall
        self._lock = threading.Lock()
        self._holds = Holds()
        self._promised: dict[int, int] = {}
        self._quarantine = Quarantine()
        self._out: dict[str, dict[AttemptKey, _Out]] = {}
        self._answered: dict[str, tuple[str, int]] = {}
        self._lanes_of: dict[int, frozenset[LaneKey]] = {}
        self._planned: dict[int, int] = {}
        self._ready: dict[str, dict[str, bool]] = {}
        self._began_at = wall()
        self._bound = 0

    # Decisions

    def choose(self, transaction: Transaction, site: Site, capacity: Capacity, waiting: list[QueuedClass]) -> Choice:
        """What an endpoint gets now.

        Args:
            transaction: in which it asks.
            site: the endpoint.
            capacity: what it has to offer.
            waiting: the classes it may run.

        Returns:
            What to take, and what is kept back from it: it is to be asked for again when the first hold ends.
        """
        with self._lock:
            now = self._clock()
            try:
                return self._choose(transaction, site, capacity, waiting, now)
            except Exception:
                # A federation that runs on, work-conserving, is worth more than the best of decisions.
                log.exception("the policy failed; %s gets work as with first_free", site.name)
                outlook = self.planner.bound_outlook(now, self._run_times.seconds, {})
                return POLICIES["first_free"].choose(site, capacity, Waiting(waiting), outlook, Holds())

    def _choose(
        self, transaction: Transaction, site: Site, capacity: Capacity, waiting: list[QueuedClass], now: float
    ) -> Choice:
        run_s = self._run_times.seconds
        if self.policy.early:
            outlook = self.planner.bound_outlook(now, run_s, {})
            return self.policy.choose(site, capacity, Waiting(waiting), outlook, self._holds)
        allowed = self._allowed(site.endpoint_id, waiting, now)
        if any(one.queued > min(self._planned.get(one.class_id, 0), COUNTED) for one in allowed[:_LOOKED_AT]):
            self.planner.stale()
        outlook = self.planner.outlook(now, partial(self._classes, transaction, now), run_s)
        choice = self.policy.choose(site, capacity, Waiting(allowed), outlook, self._holds)
        for hold in choice.holds:
            if self._holds.promise(hold):
                self._promised[hold.head] = hold.class_id
        return choice

    def seconds_until(self, choice: Choice) -> float:
        """How long until what was kept back may be had after all; infinite where nothing was."""
        return min((hold.until for hold in choice.holds), default=inf) - self._clock()

    def bind(self, function_id: str, candidates: Sequence[str], backlog: Mapping[str, int]) -> str | None:
        """Choose an endpoint at submission, for policies that bind early.

        Args:
            function_id: what is to run.
            candidates: the endpoints that could, in a stable order.
            backlog: unfinished tasks bound to each.

        Raises:
            InvalidRequest: the policy needs another target.
        """
        with self._lock:
            self._bound += 1
            outlook = self.planner.bound_outlook(self._clock(), self._run_times.seconds, backlog)
            return self.policy.bind(function_id, candidates, outlook, self._bound - 1)

    def demand(self, transaction: Transaction) -> dict[str, Demand]:
        """Each endpoint's share of what waits, for its pilot controller."""
        with self._lock:
            now = self._clock()
            return self.planner.apportion(now, self._classes(transaction, now)).demand

    def forgive(self, endpoint_id: str, function_id: str, class_id: int, before: int) -> bool:
        """Take in a failure of a task's own code, and judge whether it is its endpoint's rather than the task's.

        Args:
            endpoint_id: where it failed.
            function_id: what ran.
            class_id: of the task.
            before: how often the task was lost or forgiven before.

        Returns:
            Whether it is to run elsewhere, uncharged; never where there is no other endpoint for it.
        """
        if self.policy.early:
            return False
        with self._lock:
            now = self._clock()
            charge = self._quarantine.failed(function_id, endpoint_id, now, forgiven=before)
            return charge == "elsewhere" and self._has_other(class_id, function_id, endpoint_id, now)

    def _classes(self, transaction: Transaction, now: float) -> list[PlannedClass]:
        """All that waits, and where it may run; those endpoints that are not heard from any more are forgotten."""
        sites = leases.eligible_everywhere(transaction)
        self._forget_all_but(sites)
        lanes: dict[int, list[LaneKey]] = {}
        known: dict[int, QueuedClass] = {}
        for endpoint_id, found in sites.items():
            for one in found:
                lanes.setdefault(one.class_id, []).append((endpoint_id, one.shape))
                known[one.class_id] = one
        for lane in {lane for each in lanes.values() for lane in each}:
            self.planner.landscape.lane(*lane)
        many = any(one.queued >= COUNTED for one in known.values())
        queued = leases.count_queued(transaction) if many else {}
        shared: dict[frozenset[LaneKey], frozenset[LaneKey]] = {}
        planned = []
        for class_id in sorted(known):
            one = known[class_id]
            everywhere = frozenset(lanes[class_id])
            self._lanes_of[class_id] = shared.setdefault(everywhere, everywhere)
            open_lanes = frozenset(
                lane for lane in everywhere if self._quarantine.room(one.function_id, lane[0], now) != 0
            )
            where = shared.setdefault(open_lanes or everywhere, open_lanes or everywhere)
            tasks = max(one.queued, queued.get(class_id, 0))
            planned.append(PlannedClass(class_id, one.function_id, tasks, one.priority, where))
        self._planned = {one.class_id: one.tasks for one in planned}
        while len(self._lanes_of) > _MAX_CLASSES:
            del self._lanes_of[next(iter(self._lanes_of))]
        for head, class_id in list(self._promised.items()):
            if class_id not in known or known[class_id].head != head:
                del self._promised[head]
                self._holds.moved(class_id, known[class_id].head if class_id in known else None)
        return planned

    def _allowed(self, endpoint_id: str, waiting: list[QueuedClass], now: float) -> list[QueuedClass]:
        """Without what is quarantined there, as long as another endpoint may run it; a probe is one task."""
        allowed = []
        for one in waiting:
            room = self._quarantine.room(one.function_id, endpoint_id, now)
            if room is None or not self._has_other(one.class_id, one.function_id, endpoint_id, now):
                allowed.append(one)
            elif room:
                allowed.append(replace(one, queued=min(one.queued, room)))
        return allowed

    def _has_other(self, class_id: int, function_id: str, endpoint_id: str, now: float) -> bool:
        others = {other for other, _ in self._lanes_of.get(class_id, ()) if other != endpoint_id}
        return any(self._quarantine.room(function_id, other, now) is None for other in others)

    def predict(self, function_id: str, endpoint_id: str, shape: str) -> Predicted:
        """What is known of a function at an endpoint now."""
        with self._lock:
            now = self._clock()
            run_s = self.planner.expected_s(function_id, endpoint_id)
            wait_s = None
            if (endpoint_id, shape) in self.planner.landscape.lanes:
                lane = self.planner.landscape.lane(endpoint_id, shape)
                free_at = lane.free_at(now)
                if len(free_at):
                    wait_s = max(0.0, float(free_at.min()) - now)
                elif lane.queued:
                    ages = [now - block.requested_at for block in lane.queued]
                    wait_s = self.planner.model.queue_waits.of(endpoint_id, shape, ages).quantile(0.5)
            return Predicted(run_s, wait_s, self._quarantine.room(function_id, endpoint_id, now) is not None)

    # What was learned

    def learned(self) -> dict[str, list[tuple[Any, ...]]]:
        """The site model as rows of plain values."""
        with self._lock:
            return self.planner.model.to_rows()

    def recall(self, rows: Mapping[str, Sequence[tuple[Any, ...]]]) -> None:
        """Know again what ``learned`` told."""
        try:
            model = SiteModel.from_rows(rows)
        except (TypeError, ValueError):
            log.exception("what was learned of the sites cannot be read: it is learned anew")
            return
        with self._lock:
            self.planner.model = model

    # What agents tell

    def asked(self, endpoint_id: str, capacity: Capacity) -> None:
        """An endpoint asks for work, and so tells of its workers."""
        with self._lock:
            now = self._clock()
            for shape, offer in capacity.offers.items():
                self.planner.landscape.workers_told(endpoint_id, shape, offer.workers, offer.longest_s, now)

    def granted(self, endpoint_id: str, session_id: str, number: int, tasks: Collection[Granted]) -> None:
        """An endpoint was granted tasks; the same answer again says nothing new."""
        with self._lock:
            of_session, last = self._answered.get(endpoint_id, ("", 0))
            if not tasks or (of_session == session_id and number <= last):
                return
            self._answered[endpoint_id] = (session_id, number)
            now = self._clock()
            out = self._out.setdefault(endpoint_id, {})
            for task in tasks:
                out[task.key] = _Out(task.function_id, task.shape, number, now)
                if (class_id := self._promised.pop(task.key.sequence, None)) is not None:
                    self._holds.moved(class_id, None)
            for (function_id, shape), count in Counter((task.function_id, task.shape) for task in tasks).items():
                expected_s = self.planner.expected_s(function_id, endpoint_id)
                self.planner.landscape.lane(endpoint_id, shape).granted(function_id, count, expected_s, now)
                self._quarantine.granted(function_id, endpoint_id, now)

    def reported(self, endpoint_id: str, request: ReportRequest) -> None:
        """What became of attempts: workers are free again, and run times are learned."""
        with self._lock:
            out = self._out.get(endpoint_id, {})
            over: list[_Out] = []
            run_s: dict[str, list[float]] = {}
            began: dict[str, float] = {}
            for outcome in request.outcomes:
                if outcome.state == "started" or (held := out.pop(outcome.attempt, None)) is None:
                    continue
                over.append(held)
                if outcome.state == "succeeded":
                    began[held.function_id] = max(began.get(held.function_id, -inf), held.granted_at)
                    if outcome.run_s is not None:
                        run_s.setdefault(held.function_id, []).append(outcome.run_s)
            self._ended(endpoint_id, over)
            for function_id, each in run_s.items():
                mean_s = sum(each) / len(each)
                self.planner.model.run_times.learn(function_id, endpoint_id, mean_s, calls=len(each))
            now = self._clock()
            for function_id, granted_at in began.items():
                self._quarantine.succeeded(function_id, endpoint_id, now, started_at=granted_at)

    def heard(self, endpoint_id: str, beat: Heartbeat) -> None:
        """A heartbeat: blocks that wait or live, and tasks that are not held any more."""
        with self._lock:
            out = self._out.get(endpoint_id, {})
            held = set(beat.held)
            lost = [key for key, one in out.items() if one.lease_number <= beat.lease_number and key not in held]
            self._ended(endpoint_id, [out.pop(key) for key in lost])
            if beat.blocks or endpoint_id in self._ready:
                self._take_blocks(endpoint_id, beat.blocks)
            if not beat.workers:
                for other, shape in self.planner.landscape.lanes:
                    if other == endpoint_id:
                        self.planner.landscape.workers_told(endpoint_id, shape, 0, None, self._clock())

    def _ended(self, endpoint_id: str, over: list[_Out]) -> None:
        for (function_id, shape), count in Counter((one.function_id, one.shape) for one in over).items():
            self.planner.landscape.lane(endpoint_id, shape).ended(function_id, count)

    def _take_blocks(self, endpoint_id: str, told: Collection[Block]) -> None:
        before = self._ready.get(endpoint_id, {})
        live: dict[str, list[Block]] = {}
        for block in told:
            self._learn_wait(endpoint_id, block, before.get(block.block_id))
            if block.state not in _OVER:
                live.setdefault(block.shape, []).append(block)
        ready = {block.block_id: block.ready_at is not None for each in live.values() for block in each}
        if ready != before:
            self.planner.stale()
        self._ready[endpoint_id] = ready
        mine = {shape for other, shape in self.planner.landscape.lanes if other == endpoint_id}
        ahead_s = self._clock() - self._wall()
        for shape in mine | live.keys():
            lane = self.planner.landscape.lane(endpoint_id, shape)
            blocks = live.get(shape, [])
            lane.blocks = len(blocks)
            lane.workers_per_block = max((block.workers for block in blocks), default=0) or lane.workers_per_block
            lane.walltime_s = max((block.walltime_s for block in blocks), default=0.0) or lane.walltime_s
            lane.queued = [
                QueuedBlock(block.block_id, block.requested_at + ahead_s, lane.workers_per_block)
                for block in blocks
                if block.ready_at is None
            ]

    def _learn_wait(self, endpoint_id: str, block: Block, was_ready: bool | None) -> None:
        """How long a block waited, told once: when it gets ready, or ends without."""
        waits = self.planner.model.queue_waits
        if block.ready_at is not None:
            if was_ready is False or (
                was_ready is None and block.ready_at > self._began_at and block.state not in _OVER
            ):
                waits.started(endpoint_id, block.shape, max(0.0, block.ready_at - block.requested_at))
        elif block.state in _OVER and was_ready is False:
            ended_at = self._wall() if block.ended_at is None else block.ended_at
            waits.cancelled(endpoint_id, block.shape, max(0.0, ended_at - block.requested_at))

    def _forget_all_but(self, online: Collection[str]) -> None:
        known = {endpoint_id for endpoint_id, _ in self.planner.landscape.lanes}
        for endpoint_id in known.difference(online):
            self.planner.landscape.gone(endpoint_id)
            self._out.pop(endpoint_id, None)
            self._ready.pop(endpoint_id, None)
            self._answered.pop(endpoint_id, None)
            self.planner.stale()
