"""The demo's analysis on real spectra: what is there is found, in the right amount, and what is not is missed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("PyMca5", reason="PyMca5 is not installed: pip install 'faas-federation[demo]'")

import numpy

import xrf_fit
import xrf_spectra

NEIGHBOURS = ["Ti K", "V K", "Cr K", "Mn K", "Fe K", "Ni K", "Cu K", "Zn K"]


@pytest.fixture(scope="module")
def standard() -> xrf_spectra.Spectrum:
    return xrf_spectra.cobalt_standard()


@pytest.fixture(scope="module")
def fitted_standard(standard: xrf_spectra.Spectrum) -> dict[str, Any]:
    return xrf_fit.fit_spectrum(standard.counts, standard.configuration)


@pytest.fixture(scope="module")
def fitted_steel() -> dict[str, Any]:
    steel = xrf_spectra.steel()
    return xrf_fit.fit_spectrum(steel.counts, steel.configuration)


def test_calibration_puts_zero_energy_on_the_noise_peak(standard: xrf_spectra.Spectrum) -> None:
    """The electronic noise, at zero energy, was not used for the calibration, and so can check it."""
    lines = {"Ti": 990, "Cr": 1175, "Co": 1474, "Zn": 1815}
    zero_kev, gain_kev = xrf_fit.calibrate_energy(standard.counts, lines)
    assert zero_kev + gain_kev * int(standard.counts.argmax()) == pytest.approx(0.0, abs=0.02)


def test_standard_is_fitted_within_its_noise(fitted_standard: dict[str, Any]) -> None:
    assert 0.8 < fitted_standard["chi_square"] < 1.5
    assert all(fitted_standard["groups"][f"{element} K"]["found"] for element in ("Ca", "Ti", "Co", "Zn", "Se", "Sr"))
    assert fitted_standard["groups"]["Pb L"]["found"]


def test_elements_next_to_cobalt_come_out_at_one_amount(fitted_standard: dict[str, Any]) -> None:
    """Cobalt is the internal standard; that its neighbours agree tests attenuation, yields and peak areas."""
    amounts = [fitted_standard["groups"][group]["mass_fraction"] for group in NEIGHBOURS]
    assert max(amounts) < 1.08 * min(amounts)
    assert numpy.median(amounts) == pytest.approx(500e-6, rel=0.03)


def test_cobalt_is_measured_once_the_flux_is_known(fitted_standard: dict[str, Any]) -> None:
    standard = xrf_spectra.cobalt_standard(flux=fitted_standard["flux"])
    copies = standard.with_noise(copies=8, exposure=0.1, random=numpy.random.default_rng(seed=7))
    fits = [xrf_fit.fit_spectrum(copy.counts, copy.configuration, copy.exposure)["groups"]["Co K"] for copy in copies]
    mean = numpy.mean([fit["mass_fraction"] for fit in fits])
    error = fits[0]["mass_fraction_sigma"] / len(fits) ** 0.5
    assert mean == pytest.approx(500e-6, abs=4 * error + 0.01 * 500e-6)
    scatter = numpy.std([fit["mass_fraction"] for fit in fits], ddof=1)
    assert 0.3 < scatter / fits[0]["mass_fraction_sigma"] < 2.5


def test_a_spectrum_without_cobalt_is_told_apart(
    standard: xrf_spectra.Spectrum, fitted_standard: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Take cobalt's peaks (found in the measured spectrum) out of it: the fit no longer finds any."""
    known_flux = xrf_spectra.cobalt_standard(flux=fitted_standard["flux"])
    counts = standard.counts.astype(float) - _peaks_of("Co K", known_flux)
    without = xrf_spectra.Spectrum(standard.name, counts.clip(0), known_flux.configuration, standard.known)
    result = xrf_fit.fit_spectrum(without.counts, without.configuration)
    assert not result["groups"]["Co K"]["found"]
    assert xrf_spectra.missing(without, result) == ["XRFSpectrum.mca copy 0: Co K was not found"]
    assert result["groups"]["Ni K"]["found"]


def _peaks_of(group: str, spectrum: xrf_spectra.Spectrum) -> Any:
    """Return what one element contributes to the fit of a spectrum, channel by channel."""
    model, configured = xrf_fit._model(json.dumps(spectrum.configuration, sort_keys=True))
    first, last = configured["fit"]["xmin"], configured["fit"]["xmax"]
    model.setData(numpy.arange(spectrum.counts.size, dtype=float), spectrum.counts.astype(float), xmin=first, xmax=last)
    model.estimate()
    _, fit = model.startFit(digest=1)
    contribution = numpy.zeros(spectrum.counts.size)
    fitted = numpy.asarray(fit[f"y{group}"]) - numpy.asarray(fit["continuum"])
    contribution[numpy.asarray(fit["xdata"], dtype=int)] = fitted
    return contribution


def test_steel_comes_out_as_certified(fitted_steel: dict[str, Any]) -> None:
    """Starting from a matrix of pure iron: NIST SRM 1155 by its certificate."""
    groups = fitted_steel["groups"]
    certified = {"Cr K": 0.1837, "Fe Ka": 0.64314, "Ni K": 0.1235, "Cu K": 0.00175}
    for group, fraction in certified.items():
        assert groups[group]["mass_fraction"] == pytest.approx(fraction, rel=0.06), group
    assert groups["Mn K"]["mass_fraction"] == pytest.approx(0.01619, rel=0.15)
    assert groups["V K"]["mass_fraction"] == pytest.approx(0.0005, rel=0.25)
    assert groups["Fe Kb"]["mass_fraction"] == pytest.approx(groups["Fe Ka"]["mass_fraction"], rel=0.02)
    assert xrf_spectra.missing(xrf_spectra.steel(), fitted_steel) == []


def test_a_warm_model_gives_what_a_fresh_one_does(
    standard: xrf_spectra.Spectrum, fitted_standard: dict[str, Any]
) -> None:
    xrf_fit.fit_spectrum(standard.counts // 10, standard.configuration)
    again = xrf_fit.fit_spectrum(standard.counts, standard.configuration)
    xrf_fit._model.cache_clear()
    fresh = xrf_fit.fit_spectrum(standard.counts, standard.configuration)
    for group in fitted_standard["groups"]:
        assert again["groups"][group]["area"] == pytest.approx(fresh["groups"][group]["area"], rel=1e-6)


def test_analysis_needs_no_display(tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    code = "import sys, xrf_fit; print([name for name in sys.modules if 'PyQt' in name or 'PySide' in name])"
    output = subprocess.check_output([sys.executable, "-c", code], cwd=root / "notebooks", text=True)
    assert output.strip().endswith("[]")
