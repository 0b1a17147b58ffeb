"""Queue waits with those that still wait, transfers, arrivals, and the whole model kept."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.model import QueueWaits, SiteModel, Transfers, WaitDistribution
from router.model.arrivals import Arrivals


def test_waits_are_learned_by_lane() -> None:
    random = np.random.default_rng(1)
    waits = QueueWaits()
    for _ in range(50):
        waits.started("theta", "default", random.exponential(600))
        waits.started("cori", "default", random.exponential(30))
    theta, cori = waits.of("theta", "default"), waits.of("cori", "default")
    assert 150 < theta.quantile(0.5) < 1200
    assert 8 < cori.quantile(0.5) < 60
    assert theta.chance(60) < 0.3 < cori.chance(60)


def test_blocks_that_still_wait_count() -> None:
    waits = QueueWaits()
    for _ in range(10):
        waits.started("theta", "default", 60.0)
    usual = waits.of("theta", "default").quantile(0.5)
    # One that has waited ten times as long tells that something is different today…
    assert waits.of("theta", "default", [600.0]).quantile(0.5) > 1.5 * usual
    # …and one that was cancelled after that did not start, either.
    waits.cancelled("theta", "default", 600.0)
    assert waits.of("theta", "default").quantile(0.5) > 1.5 * usual


@given(st.floats(1, 20), st.floats(0.1, 1e5), st.floats(0, 0.99))
def test_quantile_and_chance_are_each_others_inverse(starts: float, exposure_s: float, probability: float) -> None:
    distribution = WaitDistribution(starts, exposure_s)
    assert distribution.chance(distribution.quantile(probability)) == pytest.approx(probability, abs=1e-6)
    steps = distribution.steps()
    assert (np.diff(steps) >= 0).all() and (steps >= 0).all()


def test_transfers_by_pair_and_where_there_is_none_by_endpoint() -> None:
    transfers = Transfers()
    assert transfers.seconds("s3", "theta", 1e9) == 0.0
    for _ in range(30):
        transfers.learn("s3", "theta", 1e9, 20.0)
        transfers.learn("s3", "cori", 1e9, 5.0)
        transfers.learn("s3", "cori", 10, 5.0)  # too small to tell
    assert transfers.seconds("s3", "theta", 2e9) == pytest.approx(40)
    assert transfers.seconds("s3", "cori", 1e9) == pytest.approx(5)
    assert transfers.seconds("other", "cori", 1e9) == pytest.approx(5)
    assert 5 < transfers.seconds("s3", "summit", 1e9) < 20


def test_a_stream_has_a_rate_and_a_burst_has_none() -> None:
    stream, burst = Arrivals(), Arrivals()
    for second in range(0, 200, 2):
        stream.came(3, float(second))
    for second in range(3):
        burst.came(10_000, second * 0.1)
    assert stream.per_s(200.0) == pytest.approx(1.5)
    assert burst.per_s(5.0) == burst.per_s(60.0) == 0.0
    assert stream.per_s(500.0) == 0.0  # it has ended


def test_the_whole_model_is_kept() -> None:
    model = SiteModel()
    model.run_times.learn("xpcs", "theta", 100.0, size_bytes=1e8)
    model.queue_waits.started("theta", "default", 300.0)
    model.transfers.learn("s3", "theta", 1e9, 10.0)
    again = SiteModel.from_rows(model.to_rows())
    assert again.to_rows() == model.to_rows()
    assert SiteModel.from_rows({}).to_rows() == {"run_times": [], "queue_waits": [], "transfers": []}


def test_service_times_have_transfers_in_them() -> None:
    model = SiteModel()
    for _ in range(20):
        model.run_times.learn("xpcs", "theta", 100.0, size_bytes=1e9)
        model.transfers.learn("s3", "theta", 1e9, 30.0)
    told = model.service_s(["xpcs", "xpcs"], ["theta"], sizes_bytes=[1e9, None], store="s3")
    assert told[:, 0] == pytest.approx([130, 100], rel=0.1)
