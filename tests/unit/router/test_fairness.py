"""Weighted fair share: in turn, by deficit, and without waste."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.fairness import HALF_LIFE_S, Account, allot, deficits, next_in_turn

NAMES = st.sampled_from(["APS", "ALS", "LCLS", "NSLS"])
ACCOUNTS = st.dictionaries(NAMES, st.builds(Account, st.floats(0, 1e6), st.just(0.0), st.floats(0.1, 10)))
WANTED = st.dictionaries(NAMES, st.floats(0, 1e6), min_size=1)


def test_use_fades() -> None:
    assert Account(100.0).used_by(HALF_LIFE_S) == pytest.approx(50)
    assert Account(100.0).charged(10.0, HALF_LIFE_S).used_by(HALF_LIFE_S) == pytest.approx(60)
    assert Account(5.0).charged(-100.0, 0.0).used_s == 0.0


def test_two_sources_get_their_weights_and_an_idle_ones_share_is_used() -> None:
    served = {"APS": Account(weight=2.0), "ALS": Account()}
    for now in range(300):
        first = next_in_turn({"APS": 1, "ALS": 2}, served, float(now))[0]
        served[first] = served[first].charged(10.0, float(now))
    assert served["APS"].used_s / served["ALS"].used_s == pytest.approx(2, rel=0.05)
    assert next_in_turn({"APS": 1}, served, 300.0) == ["APS"]
    assert allot({"APS": 500.0}, served, 400.0, 300.0) == {"APS": pytest.approx(400)}


@given(ACCOUNTS, st.lists(NAMES, min_size=1), st.floats(0, 1e5))
def test_deficits_add_up_to_nothing(accounts: dict[str, Account], wanting: list[str], now: float) -> None:
    told = deficits(accounts, wanting, now)
    assert set(told) == set(wanting)
    assert sum(told.values()) == pytest.approx(0, abs=1e-6 * (1 + sum(one.used_s for one in accounts.values())))


@given(WANTED, ACCOUNTS, st.floats(0, 1e6))
def test_all_is_given_nobody_gets_more_than_wanted_and_who_is_ahead_waits(
    wanted: dict[str, float], accounts: dict[str, Account], capacity_s: float
) -> None:
    got = allot(wanted, accounts, capacity_s, 0.0)
    total = sum(wanted.values())
    assert sum(got.values()) == pytest.approx(min(capacity_s, total), rel=1e-6, abs=1e-3)
    level = {}
    for name, seconds in got.items():
        assert -1e-6 <= seconds <= wanted[name] * (1 + 1e-9) + 1e-6
        account = accounts.get(name, Account())
        level[name] = (account.used_s + seconds) / account.weight
    # Whoever got something is no further ahead than anybody who wanted more.
    for name, seconds in got.items():
        if seconds > 1e-3:
            behind = [level[other] for other in got if got[other] < wanted[other] - 1e-3]
            assert level[name] <= min(behind, default=level[name]) * (1 + 1e-6) + 1e-1
