"""The demo's spectra: read right, copied with the right noise, and what is missing is said."""

from __future__ import annotations

import json
from typing import Any

import pytest

pytest.importorskip("PyMca5", reason="PyMca5 is not installed: pip install 'faas-federation[demo]'")

import numpy

import xrf_spectra


@pytest.mark.parametrize(
    ("spectrum", "channels", "total"),
    [(xrf_spectra.steel(), 2048, 5_607_017), (xrf_spectra.cobalt_standard(), 4096, 56_640_073)],
    ids=lambda value: getattr(value, "name", None),
)
def test_measured_spectra_are_read_whole(spectrum: xrf_spectra.Spectrum, channels: int, total: int) -> None:
    assert spectrum.counts.shape == (channels,)
    assert int(spectrum.counts.sum()) == total


@pytest.mark.parametrize("spectrum", [xrf_spectra.steel(), xrf_spectra.cobalt_standard()], ids=lambda value: value.name)
def test_configurations_are_plain_and_small(spectrum: xrf_spectra.Spectrum) -> None:
    assert len(json.dumps(spectrum.configuration)) < 16_384
    assert json.loads(json.dumps(spectrum.configuration)) == spectrum.configuration


def test_known_amounts_of_steel_come_from_its_certificate() -> None:
    known = xrf_spectra.steel().known
    assert known["Cr K"].mass_fraction == pytest.approx(0.1837)
    assert known["Fe Ka"].mass_fraction == pytest.approx(0.64314)


def test_copies_have_counting_noise_and_shorter_exposures_fewer_counts() -> None:
    measured = xrf_spectra.cobalt_standard()
    copies = measured.with_noise(copies=20, exposure=0.25, random=numpy.random.default_rng(seed=3))
    assert [copy.copy_number for copy in copies] == list(range(1, 21))
    counts = numpy.array([copy.counts for copy in copies], dtype=float)
    expected = measured.counts * 0.25
    bright = expected > 100
    assert counts.mean(axis=0)[bright] == pytest.approx(expected[bright], rel=0.15)
    ratio = counts.var(axis=0, ddof=1)[bright] / expected[bright]  # 1 for Poisson
    assert ratio.mean() == pytest.approx(1.0, abs=0.05)


def found(fraction: float, sigma: float = 0.0, *, is_found: bool = True) -> dict[str, Any]:
    return {"groups": {"Co K": {"found": is_found, "mass_fraction": fraction, "mass_fraction_sigma": sigma}}}


def test_missing_names_what_was_not_found_or_came_out_wrong() -> None:
    standard = xrf_spectra.cobalt_standard()
    assert xrf_spectra.missing(standard, found(500e-6)) == []
    assert xrf_spectra.missing(standard, found(540e-6, sigma=10e-6)) == []
    assert "known to be 0.0005" in xrf_spectra.missing(standard, found(540e-6, sigma=1e-6))[0]
    assert "was not found" in xrf_spectra.missing(standard, found(500e-6, is_found=False))[0]
    assert "was not found" in xrf_spectra.missing(standard, {"groups": {}})[0]
