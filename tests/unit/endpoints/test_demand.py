"""What waits at the service, as the agent reckons with it between two heartbeats."""

from __future__ import annotations

from collections import Counter

from endpoints.demand import KnownDemand
from faas.models import Demand


def test_demand_without_shapes_is_for_the_smallest() -> None:
    known = KnownDemand("small")
    known.told(Demand(tasks=4, seconds=8.0))
    assert (known.of("small").tasks, known.of("big").tasks, known.tasks) == (4, 0, 4)


def test_what_is_leased_waits_no_more() -> None:
    known = KnownDemand("small")
    known.told(Demand(tasks=7, shapes={"small": Demand(tasks=4, seconds=8.0), "big": Demand(tasks=3)}))
    known.leased(Counter({"small": 1, "big": 9}))
    assert (known.of("small").tasks, known.of("small").seconds) == (3, 6.0)
    assert (known.of("big").tasks, known.of("big").seconds) == (0, None)
    known.told(Demand())
    assert known.tasks == 0
