"""Run times learned by function, endpoint and size: planted parameters come out, and doubt is told."""

from __future__ import annotations

from math import exp, inf, nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.model import RunTimeModel

FUNCTIONS = {"xpcs": 100.0, "fit": 20.0, "plot": 3.0}
SITES = {"theta": 1.0, "summit": 0.8, "cori": 2.0}


def learned(
    seed: int = 1, *, spread: float = 0.1, times: int = 30, without: tuple[str, str] = ("", "")
) -> RunTimeModel:
    """A model that has seen every function at every site, but for one pair."""
    random = np.random.default_rng(seed)
    model = RunTimeModel()
    pairs = [(f, s) for f in FUNCTIONS for s in SITES if (f, s) != without]
    for _ in range(times):
        for index in random.permutation(len(pairs)):
            function, site = pairs[index]
            noise = exp(spread * random.standard_normal() - spread**2 / 2)
            model.learn(function, site, FUNCTIONS[function] / SITES[site] * noise)
    return model


def predicted(model: RunTimeModel, function: str, site: str, size: float | None = None) -> float:
    prediction = model.predict(function, site, size_bytes=size)
    assert prediction is not None
    return prediction.seconds


def test_planted_run_times_come_out() -> None:
    model = learned()
    for function, seconds in FUNCTIONS.items():
        for site, speed in SITES.items():
            assert predicted(model, function, site) == pytest.approx(seconds / speed, rel=0.1)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("site", SITES)
def test_a_pair_never_seen_is_predicted_from_its_function_and_its_site(function: str, site: str) -> None:
    model = learned(without=(function, site))
    assert predicted(model, function, site) == pytest.approx(FUNCTIONS[function] / SITES[site], rel=0.35)


def test_run_times_grow_with_sizes_as_measured() -> None:
    random = np.random.default_rng(3)
    model = RunTimeModel()
    for size in 10 ** random.uniform(6, 9, 200):
        model.learn("xpcs", "theta", 100 * (size / 1e8) ** 0.8 * exp(0.05 * random.standard_normal()), size_bytes=size)
    for size in (1e6, 1e7, 1e9):
        assert predicted(model, "xpcs", "theta", size) == pytest.approx(100 * (size / 1e8) ** 0.8, rel=0.25)
    # Of a size nobody told, it is as of the usual one.
    assert model.predict("xpcs", "theta") is not None


def test_without_evidence_run_times_do_not_depend_on_sizes() -> None:
    model = RunTimeModel()
    for _ in range(10):
        model.learn("xpcs", "theta", 100.0, size_bytes=1e8)
    assert predicted(model, "xpcs", "theta", 1e9) == pytest.approx(100, rel=0.05)


def test_doubt_shrinks_with_evidence_and_so_does_optimism() -> None:
    model = RunTimeModel()
    for _ in range(10):
        model.learn("xpcs", "theta", 100.0)
    few = model.predict("xpcs", "cori")
    assert few is not None and few.optimistic_s < 0.7 * few.seconds  # worth a try
    for _ in range(10):
        model.learn("xpcs", "cori", 100.0)
    many = model.predict("xpcs", "cori")
    assert many is not None and many.spread < few.spread
    assert many.optimistic_s > 0.97 * many.seconds


def test_a_site_that_changes_is_noticed_and_one_hung_task_is_not() -> None:
    model = learned(times=50)
    model.learn("fit", "cori", 10_000.0)
    assert predicted(model, "fit", "cori") == pytest.approx(10, rel=0.25)
    for _ in range(40):
        model.learn("fit", "cori", 40.0)
    assert predicted(model, "fit", "cori") == pytest.approx(40, rel=0.25)


def test_what_never_ran_is_unknown_and_nonsense_teaches_nothing() -> None:
    model = RunTimeModel()
    for seconds in (nan, inf, -1.0):
        model.learn("xpcs", "theta", seconds)
    assert model.predict("xpcs", "theta") is None
    assert not model.knows("xpcs")
    assert np.isnan(model.table(["xpcs"], ["theta"])).all()


def test_the_table_is_what_is_predicted_pair_by_pair() -> None:
    model = learned(times=3, without=("fit", "cori"))
    functions, sites = [*FUNCTIONS, "new"], [*SITES, "nowhere"]
    table = model.table(functions, sites)
    for row, function in enumerate(functions[:-1]):
        for column, site in enumerate(sites):
            prediction = model.predict(function, site)
            assert prediction is not None
            assert table[row, column] == pytest.approx(prediction.optimistic_s)
    assert np.isnan(table[-1]).all()


def test_what_was_learned_is_kept() -> None:
    model = learned(times=3)
    again = RunTimeModel.from_rows(list(reversed(model.to_rows())))
    np.testing.assert_allclose(again.table([*FUNCTIONS], [*SITES]), model.table([*FUNCTIONS], [*SITES]))
    assert sorted(again.to_rows()) == sorted(model.to_rows())


@given(st.lists(st.tuples(st.sampled_from(["f", "g"]), st.sampled_from(["a", "b"]), st.floats(0, 1e9)), max_size=40))
def test_predictions_stay_finite_and_positive(seen: list[tuple[str, str, float]]) -> None:
    model = RunTimeModel()
    for function, site, seconds in seen:
        model.learn(function, site, seconds, size_bytes=seconds)
    for function, _, _ in seen:
        prediction = model.predict(function, "c", size_bytes=1e12)
        assert prediction is not None
        assert 0 < prediction.optimistic_s <= prediction.seconds < inf
