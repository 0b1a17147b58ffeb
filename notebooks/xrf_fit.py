"""The analysis: fit one X-ray fluorescence spectrum with PyMca5 and say what the sample holds.

The whole module is shipped to the sites (``register_function(..., modules=[xrf_fit])``), so that a
runner configures each model once and fits many spectra with it while it is warm.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy
from numpy.typing import ArrayLike
from PyMca5.PyMcaPhysics.xrf import ClassMcaTheory, ConcentrationsTool, Elements

DETECTION_SIGMAS = 5.0
"""An element is found when its peak area exceeds this many standard deviations of the area."""


def fit_spectrum(counts: ArrayLike, configuration: dict[str, Any], exposure: float = 1.0) -> dict[str, Any]:
    """Fit one spectrum: energy calibration, peak areas, and mass fractions by fundamental parameters.

    Args:
        counts: Counts per channel.
        configuration: A PyMca fit configuration, as a dictionary of plain values.
        exposure: Counting time, as a multiple of the one in the configuration.

    Returns:
        ``chi_square`` (reduced), ``zero_kev`` and ``gain_kev`` (the refined calibration), ``flux`` (photons per
        second: given, or with ``usematrix`` the one that makes the reference element come out as the matrix says),
        and ``groups``: for each element and shell, such as ``"Co K"``, its ``area``, ``area_sigma``, ``found``,
        ``mass_fraction`` and ``mass_fraction_sigma`` (from counting statistics alone).
    """
    spectrum = numpy.asarray(counts, dtype=float)
    with contextlib.redirect_stdout(io.StringIO()):  # PyMca prints how long its own steps took
        model, configured = _model(json.dumps(configuration, sort_keys=True))
        channels = numpy.arange(spectrum.size, dtype=float)
        model.setData(channels, spectrum, xmin=configured["fit"]["xmin"], xmax=configured["fit"]["xmax"])
        model.estimate()
        _, fit = model.startFit(digest=1)
        fractions, used = _mass_fractions(model, fit, configured["concentrations"], exposure)
        if configured["fit"]["strategyflag"]:  # it has changed the matrix of this model: start the next one afresh
            _model.cache_clear()
    fitted = dict(zip(fit["parameters"], fit["fittedpar"], strict=True))
    groups = {}
    for group in fractions["groups"]:
        area, sigma = float(fractions["fitarea"][group]), float(fractions["sigmaarea"][group])
        fraction = float(fractions["mass fraction"][group])
        groups[group] = {
            "area": area,
            "area_sigma": sigma,
            "found": area > DETECTION_SIGMAS * sigma,
            "mass_fraction": fraction,
            "mass_fraction_sigma": fraction * sigma / area if area > 0 else 0.0,
        }
    return {
        "chi_square": float(fit["chisq"]),
        "zero_kev": float(fitted["Zero"]),
        "gain_kev": float(fitted["Gain"]),
        "flux": float(used["Flux"]),
        "groups": groups,
    }


@lru_cache(maxsize=8)
def _model(configuration_json: str) -> tuple[Any, dict[str, Any]]:
    """Return a configured model; configuring takes longer than a fit, so a warm runner does it once."""
    model = ClassMcaTheory.ClassMcaTheory()
    complete = model.configure()  # PyMca's defaults, which a configuration need not repeat
    for section, values in json.loads(configuration_json).items():
        if section == "peaks":
            complete[section] = values
        else:
            complete.setdefault(section, {}).update(values)
    return model, copy.deepcopy(model.configure(complete))


def _mass_fractions(
    model: Any, fit: dict[str, Any], concentrations: dict[str, Any], exposure: float
) -> tuple[dict[str, Any], dict[str, Any]]:
    tool = ConcentrationsTool.ConcentrationsTool()
    settings = {**tool.configure(), **concentrations}
    settings["time"] = float(settings["time"]) * exposure
    fractions, used = tool.processFitResult(
        config=settings,
        fitresult={"result": fit},
        elementsfrommatrix=False,
        fluorates=model._fluoRates,
        addinfo=True,
    )
    return fractions, used


def calibrate_energy(counts: ArrayLike, lines: Mapping[str, float], half_width: int = 12) -> tuple[float, float]:
    """Find zero and gain of a spectrum from K-alpha peaks that are known roughly.

    Args:
        counts: Counts per channel.
        lines: Element to the channel near which its K-alpha peak is found.
        half_width: Channels on either side that belong to a peak.

    Returns:
        Zero in keV and gain in keV per channel.
    """
    spectrum = numpy.asarray(counts, dtype=float)
    channels = numpy.arange(spectrum.size)
    positions, energies = [], []
    for element, near in lines.items():
        position = near
        for _ in range(3):  # centre the window on the peak
            window = slice(round(position) - half_width, round(position) + half_width + 1)
            above = spectrum[window] - spectrum[window].min()
            position = float((channels[window] * above).sum() / above.sum())
        positions.append(position)
        energies.append(_k_alpha_kev(element))
    gain, zero = numpy.polyfit(positions, energies, 1)
    return float(zero), float(gain)


def _k_alpha_kev(element: str) -> float:
    """Mean energy of the two unresolved K-alpha lines."""
    lines = [Elements.Element[element][name] for name in ("KL3", "KL2")]
    return float(sum(line["energy"] * line["rate"] for line in lines) / sum(line["rate"] for line in lines))
