"""Matrices have the eigenvalues planted in them, and diagonalization finds those."""

from __future__ import annotations

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

import eigenvalues

VALUES = st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=24)


@given(values=VALUES, seed=st.integers(0, 1000))
def test_planted_eigenvalues_are_found(values: list[float], seed: int) -> None:
    matrix = eigenvalues.planted(values, seed)
    assert (matrix == matrix.T).all()
    assert matrix.trace() == pytest.approx(sum(values), abs=1e-7)  # by another way than diagonalization
    found = eigenvalues.diagonalize(matrix)
    assert found["eigenvalues"] == pytest.approx(sorted(values), abs=1e-8)
    assert found["residual"] < 1e-8


def test_a_changed_matrix_has_other_eigenvalues() -> None:
    matrix = eigenvalues.planted([1.0, 2.0, 3.0], seed=1)
    matrix[0, 0] += 0.5
    assert eigenvalues.diagonalize(matrix)["eigenvalues"] != pytest.approx([1.0, 2.0, 3.0], abs=1e-3)


def test_directions_differ_from_seed_to_seed() -> None:
    first, second = (eigenvalues.planted([1.0, 2.0, 3.0], seed) for seed in (1, 2))
    assert numpy.abs(first - second).max() > 0.1
