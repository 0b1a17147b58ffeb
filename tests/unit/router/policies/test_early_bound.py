"""Policies that choose an endpoint at submission."""

from __future__ import annotations

import pytest

from faas.errors import InvalidRequest
from router.outlook import Outlook
from router.policies import POLICIES, Fastest, FirstFree, Pinned, RoundRobin, ShortestBacklog

SITES = ["theta", "summit", "cori"]


def test_pinned_takes_the_one_endpoint_that_was_named() -> None:
    assert Pinned().bind("f", ["theta"], Outlook(), 7) == "theta"
    with pytest.raises(
        InvalidRequest, match=r"needs one endpoint, and this target names 3\. Name an endpoint"
    ) as refused:
        Pinned().bind("f", SITES, Outlook(), 0)
    assert refused.value.field == "target"


def test_round_robin_goes_round() -> None:
    assert [RoundRobin().bind("f", SITES, Outlook(), number) for number in range(4)] == [*SITES, "theta"]


def test_shortest_backlog_goes_where_least_is_unfinished_and_round_among_equals() -> None:
    outlook = Outlook(backlog={"theta": 3, "summit": 1, "cori": 2})
    assert ShortestBacklog().bind("f", SITES, outlook, 0) == "summit"
    assert [ShortestBacklog().bind("f", SITES, Outlook(), number) for number in range(3)] == SITES


def test_who_binds_late_binds_nothing() -> None:
    for policy in (FirstFree(), Fastest()):
        assert policy.bind("f", SITES, Outlook(), 0) is None
    assert {name for name, policy in POLICIES.items() if policy.early} == {"pinned", "round_robin", "shortest_backlog"}
