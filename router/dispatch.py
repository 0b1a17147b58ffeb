"""Dispatch: what a site that asks for work gets, decided at that moment, with grants for just that."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass

from faas.models import AttemptKey, Demand, Grant, LeaseRequest, LeaseResponse
from registry import leases, objects
from registry.database import Database, StandingWork, Transaction
from registry.endpoints import Site
from registry.identities import Principal
from registry.leases import Granted, QueuedClass, Share
from registry.objects import StoredObject
from router.affinity import near, pick
from router.foresight import Foresight
from router.grants import grant_each
from router.minted import Minted
from router.outlook import Outlook
from router.policies import POLICIES, Capacity, Holds, Waiting
from router.references import NOTHING, Granting, References, look_up
from router.run_times import RunTimes
from router.store import Store
from router.wakeups import WORK, Wakeups, session

MAX_WAIT_S = 25.0
"""Polls stay shorter than the 30 s after which proxies cut idle connections."""
_SEGMENTS_IN_STOCK = 2
_DEMAND_FRESH_S = 1.0
_DEMAND_PAUSE_S = 0.2
_LEAST_PAUSE_S = 0.02
"""Between two looks at what was held back."""
_FIRST_FREE = POLICIES["first_free"]


@dataclass(frozen=True)
class _Answer:
    tasks: list[Granted]
    segments: list[StoredObject]
    references: References


@dataclass
class _Asking:
    """A lease request while it is open."""

    endpoint_id: str
    session_id: str
    request: LeaseRequest
    capacity: Capacity
    held_back_until: float = math.inf
    """When (monotonic) something that was kept back from it may be had after all."""

    def held_back_s(self) -> float:
        """Seconds until then."""
        return max(_LEAST_PAUSE_S, self.held_back_until - time.monotonic())


class Dispatch:
    """Answers lease requests by a policy, and reckons each endpoint's share of the backlog.

    Args:
        database: with the tasks.
        store: where segments are.
        wakeups: wakes requests that wait.
        run_times: measured.
        foresight: what other policies than ``first_free`` decide by; None for that one, which needs nothing.
        minted: segments granted.
        granting: grants for what tasks refer to.
    """

    def __init__(
        self,
        database: Database,
        store: Store,
        wakeups: Wakeups,
        run_times: RunTimes,
        foresight: Foresight | None,
        minted: Minted,
        granting: Granting,
    ) -> None:
        self._database = database
        self._store = store
        self._wakeups = wakeups
        self._run_times = run_times
        self._foresight = foresight
        self._minted = minted
        self._granting = granting
        self._standing: dict[str, StandingWork[_Answer | None]] = {}
        self._demand: dict[str, Demand] = {}
        self._demand_at = float("-inf")
        self._apportioning = asyncio.Lock()

    async def lease(self, principal: Principal, session_id: str, request: LeaseRequest) -> LeaseResponse:
        """Grant work to a session; waits for some to appear.

        Raises:
            Conflict: the session is over.
        """
        endpoint_id = principal.endpoint_id
        asking = _Asking(endpoint_id, session_id, request, Capacity.of(request))
        if self._foresight is not None:
            self._foresight.asked(endpoint_id, asking.capacity)
        # An agent asks once at a time. A request before this one has nobody who listens any more, and must not be
        # granted what this one does not ask for: its workers may be gone.
        if (older := self._standing.pop(session_id, None)) is not None:
            older.withdraw()
        standing = self._standing[session_id] = self._database.stand_by(self._lease_if_any, asking)

        async def look() -> _Answer | None:
            # Whatever made work has mostly brought the answer along. Else reading first spares a wait a commit.
            answer = standing.result()
            if self._standing.get(session_id) is not standing:
                return answer or _Answer([], [], NOTHING)
            if answer is None and await self._database.glance(self._has_work, asking):
                answer = await self._database.write(self._lease, asking)
            return answer if answer and answer.tasks else None

        wait_s = min(request.wait_s, MAX_WAIT_S)
        try:
            answer = await self._wakeups.until(look, wait_s, WORK, session(session_id), recheck_s=asking.held_back_s)
        finally:
            standing.withdraw()
            if self._standing.get(session_id) is standing:
                del self._standing[session_id]
        if answer is None or not answer.tasks:
            return LeaseResponse(number=request.number)
        if self._foresight is not None:
            self._foresight.granted(endpoint_id, session_id, request.number, answer.tasks)
        tasks = await self._granting.leased(answer.tasks, answer.references)
        self._minted.remember(endpoint_id, answer.segments)
        segments = await grant_each(self._store, answer.segments, "PUT")
        stock: dict[str, list[Grant]] = {}
        for segment in answer.segments:
            stock.setdefault(segment.owner_id, []).append(segments[segment.object_id])
        return LeaseResponse(
            number=request.number,
            tasks=tasks,
            segments=stock,
            run_s={
                function_id: self._run_times.seconds[function_id]
                for function_id in {task.function_id for task in answer.tasks}
                if function_id in self._run_times.seconds
            },
        )

    def _has_work(self, transaction: Transaction, asking: _Asking) -> bool:
        def wanted(site: Site, waiting: list[QueuedClass]) -> bool:
            if self._foresight is not None:
                return bool(self._choose(transaction, site, waiting, asking))
            return any(asking.capacity.takes(candidate, self._run_times.seconds) for candidate in waiting)

        return leases.has_work(transaction, asking.endpoint_id, asking.session_id, asking.request.number, wanted)

    def _lease_if_any(self, transaction: Transaction, asking: _Asking) -> _Answer | None:
        answer = self._lease(transaction, asking)
        return answer if answer.tasks else None

    def _choose(self, transaction: Transaction, site: Site, waiting: list[QueuedClass], asking: _Asking) -> list[Share]:
        if self._foresight is None:
            outlook = Outlook(run_s=self._run_times.seconds)
            return _FIRST_FREE.choose(site, asking.capacity, Waiting(near(waiting)), outlook, Holds()).shares
        choice = self._foresight.choose(transaction, site, asking.capacity, near(waiting))
        asking.held_back_until = time.monotonic() + self._foresight.seconds_until(choice)
        return choice.shares

    def _lease(self, transaction: Transaction, asking: _Asking) -> _Answer:
        def choose(site: Site, waiting: list[QueuedClass]) -> list[Share]:
            return self._choose(transaction, site, waiting, asking)

        endpoint_id, request = asking.endpoint_id, asking.request
        granted = leases.lease(
            transaction, endpoint_id, asking.session_id, request.number, request.max_tasks, choose, pick
        )
        segments = [
            objects.create(transaction, owner_id, "segment", endpoint_id=endpoint_id)
            for owner_id in sorted({task.owner_id for task in granted})
            for _ in range(_SEGMENTS_IN_STOCK - max(0, request.segments.get(owner_id, 0)))
        ]
        return _Answer(granted, segments, look_up(transaction, endpoint_id, granted))

    async def renew(
        self, principal: Principal, session_id: str, attempt: AttemptKey, names: list[str]
    ) -> dict[str, Grant]:
        """Fresh grants for what an attempt of a session refers to; names it does not refer to are left out.

        Raises:
            Conflict: the session is over, or the attempt is not one that it holds.
        """
        task, references = await self._database.read(_held, principal.endpoint_id, session_id, attempt)
        return await self._granting.again(task, references, names)

    async def demand(self, endpoint_id: str, *, since: float | None = None) -> Demand:
        """The endpoint's share of the backlog.

        Args:
            endpoint_id: the endpoint.
            since: no older than this (monotonic), for whoever was woken by a change; else at most a second old.
        """
        if self._demand_at < (time.monotonic() - _DEMAND_FRESH_S if since is None else since):
            async with self._apportioning:
                if since is not None:
                    # Each submission of many wakes: together they are worth one look.
                    await asyncio.sleep(self._demand_at + _DEMAND_PAUSE_S - time.monotonic())
                if self._demand_at < (time.monotonic() - _DEMAND_FRESH_S if since is None else since):
                    began = time.monotonic()
                    self._demand = await self._database.read(self._apportion)
                    self._demand_at = began
        return self._demand.get(endpoint_id, Demand())

    def _apportion(self, transaction: Transaction) -> dict[str, Demand]:
        """Split each class's backlog evenly over the online endpoints that may run it, there by shape of worker."""
        if self._foresight is not None:
            return self._foresight.demand(transaction)
        queued = leases.count_queued(transaction)
        if not queued:
            return {}
        sites = leases.eligible_everywhere(transaction)
        takers: dict[int, int] = {}
        for waiting in sites.values():
            for candidate in waiting:
                takers[candidate.class_id] = takers.get(candidate.class_id, 0) + 1
        shares = {}
        for endpoint_id, waiting in sites.items():
            loads: dict[str, list[tuple[float, float | None]]] = {}
            for candidate in waiting:
                share = queued.get(candidate.class_id, 0) / takers[candidate.class_id]
                run_s = self._run_times.seconds.get(candidate.function_id)
                loads.setdefault(candidate.shape, []).append((share, None if run_s is None else share * run_s))
            total = _demand([load for shape in loads.values() for load in shape])
            total.shapes = {shape: _demand(load) for shape, load in loads.items()}
            shares[endpoint_id] = total
        return shares


def _held(
    transaction: Transaction, endpoint_id: str, session_id: str, attempt: AttemptKey
) -> tuple[Granted, References]:
    task = leases.held(transaction, endpoint_id, session_id, attempt)
    return task, look_up(transaction, endpoint_id, [task])


def _demand(loads: list[tuple[float, float | None]]) -> Demand:
    """The sum of shares of classes, each with its tasks and, where known, seconds."""
    seconds = [each for _, each in loads if each is not None]
    return Demand(
        # Upwards: of one task for three sites, each that may run it is told, or none would get ready for it.
        tasks=math.ceil(sum(tasks for tasks, _ in loads)),
        seconds=sum(seconds) if len(seconds) == len(loads) else None,
    )
