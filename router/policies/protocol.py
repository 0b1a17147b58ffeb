"""What a policy is: from what waits, what a site has and what is foreseen, what the site should run now."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, overload

import numpy as np
from numpy.typing import NDArray

from faas.models import DEFAULT_SHAPE, LeaseRequest, Offer
from registry.endpoints import Site
from registry.leases import QueuedClass, Share
from router.outlook import Outlook
from router.plan import Plan

from .holds import Hold, Holds

LOOKAHEAD_S = 0.5
"""Estimated work a worker may hold in advance: enough to hide the way to the service and back."""


@dataclass(frozen=True)
class Capacity:
    """What the asking endpoint has to offer."""

    offers: Mapping[str, Offer]
    """Its workers by shape."""
    max_tasks: int
    """In all."""

    @classmethod
    def of(cls, request: LeaseRequest) -> Capacity:
        """What a lease request offers; workers that are not told by shape are of the default one."""
        offers = request.offers or [
            Offer(
                shape=DEFAULT_SHAPE,
                workers=request.workers,
                idle_workers=request.idle_workers,
                held_s=request.held_s,
            )
        ]
        return cls({offer.shape: offer for offer in offers}, request.max_tasks)

    def takes(self, candidate: QueuedClass, run_s: Mapping[str, float]) -> bool:
        """Whether there are workers of the shape a class needs, which live long enough for its tasks."""
        offer = self.offers.get(candidate.shape)
        if offer is None:
            return False
        # Of unknown run time it is worth a try, as long as there is any time at all.
        return offer.longest_s is None or 0 < offer.longest_s >= run_s.get(candidate.function_id, 0.0)


class Waiting(Sequence[QueuedClass]):
    """The classes an endpoint may run now, in the order of their claims: priority first, then who waits longest.

    Ordered once, and good for every endpoint that may run the same classes on workers of the same shapes.

    Args:
        classes: in any order.
    """

    def __init__(self, classes: Iterable[QueuedClass]) -> None:
        self._ordered = sorted(classes, key=_claim)
        self._positions: dict[int, int] | None = None
        self._short: list[int] | None = None
        self._shapes: dict[str, NDArray[np.bool_]] = {}
        self._rows: tuple[Plan, NDArray[np.intp]] | None = None

    def __len__(self) -> int:
        return len(self._ordered)

    @overload
    def __getitem__(self, index: int) -> QueuedClass: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[QueuedClass]: ...
    def __getitem__(self, index: int | slice) -> QueuedClass | Sequence[QueuedClass]:
        return self._ordered[index]

    def __iter__(self) -> Iterator[QueuedClass]:
        return iter(self._ordered)

    def position(self, class_id: int) -> int | None:
        """Where a class stands; None if it does not wait."""
        if self._positions is None:
            self._positions = {one.class_id: position for position, one in enumerate(self._ordered)}
        return self._positions.get(class_id)

    def short(self, run_s: Mapping[str, float]) -> list[int]:
        """Positions of the classes whose tasks are short enough to be had in advance, as first asked."""
        if self._short is None:
            self._short = [
                position
                for position, one in enumerate(self._ordered)
                if run_s.get(one.function_id, LOOKAHEAD_S) < LOOKAHEAD_S
            ]
        return self._short

    def of_shape(self, shape: str) -> NDArray[np.bool_]:
        """Which of the classes wait for workers of a shape."""
        found = self._shapes.get(shape)
        if found is None:
            found = self._shapes[shape] = np.array([one.shape == shape for one in self._ordered], dtype=bool)
        return found

    def rows(self, plan: Plan) -> NDArray[np.intp]:
        """The row of each class in a plan; -1 where the plan does not know it."""
        if self._rows is None or self._rows[0] is not plan:
            known = plan.classes
            self._rows = (plan, np.array([known.get(one.class_id, -1) for one in self._ordered], dtype=np.intp))
        return self._rows[1]


def _claim(candidate: QueuedClass) -> tuple[int, int]:
    return -candidate.priority, candidate.head


@dataclass(frozen=True)
class Choice:
    """What a policy decided."""

    shares: list[Share] = field(default_factory=list)
    """How many tasks of which class, in the order they are to be taken."""
    holds: list[Hold] = field(default_factory=list)
    """What was kept back from workers that stay idle. Ask again when the first of them ends."""


class Policy(Protocol):
    """Chooses among the classes that wait. Pure: what it knows is in its arguments, what it decides in its answer.

    ``bind`` and ``early`` are for policies that choose an endpoint when a task is submitted; those that bind late
    derive from ``LateBinding``.
    """

    early: bool
    """Whether tasks are bound to an endpoint at submission."""

    def choose(self, site: Site, capacity: Capacity, waiting: Waiting, outlook: Outlook, holds: Holds) -> Choice:
        """Decide what the endpoint gets.

        Args:
            site: the endpoint that asks.
            capacity: what it has to offer.
            waiting: the classes with queued tasks that may run there.
            outlook: what is predicted, and known of the other endpoints.
            holds: promises made before and not kept yet.

        Returns:
            What to take, and what is kept back.
        """
        ...

    def bind(self, function_id: str, candidates: Sequence[str], outlook: Outlook, number: int) -> str | None:
        """Choose an endpoint at submission.

        Args:
            function_id: what is to run.
            candidates: ids of the endpoints that could run it, in a stable order; at least one.
            outlook: what is predicted, and known of the endpoints.
            number: a running number of such submissions.

        Returns:
            The endpoint's id; None to decide when an endpoint asks.

        Raises:
            InvalidRequest: the policy needs the submitter to name one endpoint.
        """
        ...


class LateBinding:
    """Binds nothing at submission: the base of policies that decide when an endpoint asks."""

    early = False

    def bind(self, function_id: str, candidates: Sequence[str], outlook: Outlook, number: int) -> str | None:
        """See ``Policy.bind``."""
        return None
