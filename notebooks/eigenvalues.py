"""Diagonalization of symmetric matrices that were made with known eigenvalues; shipped to the sites."""

from __future__ import annotations

from typing import Any

import numpy
from numpy.typing import ArrayLike, NDArray


def planted(eigenvalues: ArrayLike, seed: int) -> NDArray[numpy.float64]:
    """A symmetric matrix with these eigenvalues, and eigenvectors that point anywhere.

    Args:
        eigenvalues: those it shall have.
        seed: the same gives the same eigenvectors.

    Example:
        >>> matrix = planted([1.0, 2.0], seed=3)
        >>> round(float(matrix.trace()), 9), round(float(numpy.linalg.det(matrix)), 9)
        (3.0, 2.0)
    """
    values = numpy.asarray(eigenvalues, dtype=float)
    directions, _ = numpy.linalg.qr(numpy.random.default_rng(seed).standard_normal((len(values), len(values))))
    matrix = (directions * values) @ directions.T
    symmetric: NDArray[numpy.float64] = (matrix + matrix.T) / 2  # to the last bit
    return symmetric


def diagonalize(matrix: NDArray[Any]) -> dict[str, Any]:
    """All eigenvalues of a symmetric matrix, and how well they and their vectors make it up again.

    Args:
        matrix: symmetric, or Hermitian.

    Returns:
        ``eigenvalues``, the smallest first; ``residual``, the largest entry of ``A V - V Λ``.

    Example:
        >>> diagonalize(numpy.array([[2.0, 1.0], [1.0, 2.0]]))["eigenvalues"]
        [1.0, 3.0]
    """
    values, vectors = numpy.linalg.eigh(matrix)
    return {
        "eigenvalues": [float(value) for value in values],
        "residual": float(numpy.abs(matrix @ vectors - vectors * values).max()),
    }
