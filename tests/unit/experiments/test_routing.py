"""The reference's two ways to bind at submission, as the experiment does them."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from tests.experiments.routing import Fixed, RoundRobin, ShortestBacklog

BACKLOGS = st.dictionaries(st.sampled_from(["theta", "summit", "cori"]), st.integers(0, 30), min_size=1)


def test_round_robin_goes_on_where_it_stopped() -> None:
    routing = RoundRobin(["theta", "summit", "cori"])
    assert routing.targets(2) + routing.targets(2) == ["theta", "summit", "cori", "theta"]


def test_a_fixed_target_takes_all() -> None:
    assert Fixed("three").targets(3) == ["three"] * 3


@given(backlog=BACKLOGS, count=st.integers(0, 40))
def test_backlogs_are_evened_out(backlog: dict[str, int], count: int) -> None:
    """No site that got one is left with more than one above any other."""
    got = Counter(ShortestBacklog(lambda: backlog).targets(count))
    after = {site: backlog[site] + got[site] for site in backlog}
    assert sum(got.values()) == count
    assert all(after[site] <= min(after.values()) + 1 for site in got)


def test_each_submission_asks_anew() -> None:
    seen = iter([{"theta": 0, "cori": 1}, {"theta": 5, "cori": 1}])
    routing = ShortestBacklog(lambda: next(seen))
    assert routing.targets(1) + routing.targets(1) == ["theta", "cori"]
