"""The spectra: two measured ones that come with PyMca5, what is known of them, and copies with counting noise."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy
from numpy.typing import NDArray
from PyMca5 import PyMcaDataDir
from PyMca5.PyMcaIO import ConfigDict, specfilewrapper

import xrf_fit

DATA = Path(PyMcaDataDir.PYMCA_DATA_DIR)


@dataclass(frozen=True)
class Known:
    """What a sample is known to hold, and how closely the analysis must find it."""

    mass_fraction: float
    tolerance: float
    """Relative."""


@dataclass(frozen=True)
class Spectrum:
    """Counts, how to fit them, and what must be found."""

    name: str
    counts: NDArray[Any]
    configuration: dict[str, Any] = field(repr=False)
    known: dict[str, Known] = field(repr=False)
    exposure: float = 1.0
    """Counting time, as a multiple of the measured spectrum's."""
    copy_number: int = 0
    """0 for the measured spectrum itself."""

    def with_noise(self, copies: int, exposure: float, random: numpy.random.Generator) -> list[Spectrum]:
        """Return what repeated measurements might have counted.

        The measured counts stand for the expected ones, so their own noise stays in every copy:
        a full-exposure copy scatters sqrt(2) times as much about the truth as a measurement would.
        """
        expected = numpy.asarray(self.counts, dtype=float) * exposure
        return [
            Spectrum(
                self.name,
                random.poisson(expected).astype(numpy.uint32),
                self.configuration,
                self.known,
                exposure,
                copy_number,
            )
            for copy_number in range(1, copies + 1)
        ]


def missing(spectrum: Spectrum, result: dict[str, Any], sigmas: float = 4.0) -> list[str]:
    """Say what was to be found in a spectrum and was not, one line each; empty when all is well.

    Args:
        spectrum: What was analysed.
        result: What ``xrf_fit.fit_spectrum`` made of it.
        sigmas: Counting noise allowed on top of the tolerance.
    """
    complaints = []
    for group, known in spectrum.known.items():
        got = result["groups"].get(group)
        if got is None or not got["found"]:
            complaints.append(f"{spectrum.name} copy {spectrum.copy_number}: {group} was not found")
            continue
        allowed = known.tolerance * known.mass_fraction + sigmas * got["mass_fraction_sigma"]
        if abs(got["mass_fraction"] - known.mass_fraction) > allowed:
            complaints.append(
                f"{spectrum.name} copy {spectrum.copy_number}: {group} came out as {got['mass_fraction']:.3g}, "
                f"known to be {known.mass_fraction:.3g}"
            )
    return complaints


def steel() -> Spectrum:
    """Return stainless steel, NIST SRM 1155, with the configuration that lies beside it.

    The file assumes the certified composition as the sample's matrix. Here the matrix starts as pure iron, and
    PyMca is to find the composition by iteration, with secondary and tertiary excitation: without these,
    chromium, excited by the iron lines, comes out at twice its amount. The configuration's flux fixes the scale,
    and seems to have been set with this sample; so it is the ratios between elements that are put to the test.
    """
    configuration = _read_configuration(DATA / "Steel.cfg")
    certified = configuration["materials"]["SRM_1155_COMPLETE"]
    amounts = dict(zip(certified["CompoundList"], certified["CompoundFraction"], strict=True))
    configuration["attenuators"]["Matrix"][1] = "Fe"
    configuration["concentrations"]["usemultilayersecondary"] = 2
    configuration["fit"]["strategyflag"] = 1
    main = ["Cr K", "Mn K", "Fe Ka", "Ni K"]
    unused = ["-"] * 6
    configuration["SingleLayerStrategy"] = {
        "layer": "Auto",
        "iterations": 3,
        "completer": "-",
        "flags": [1] * len(main) + [0] * len(unused),
        "peaks": main + unused,
        "materials": [group.split()[0] for group in main] + unused,
    }
    tolerances = {"Cr K": 0.1, "Mn K": 0.2, "Fe Ka": 0.1, "Ni K": 0.1, "Cu K": 0.1}
    # The file gives the certificate's numbers, which are per cent.
    known = {group: Known(amounts[group.split()[0]] / 100, tolerance) for group, tolerance in tolerances.items()}
    return Spectrum("Steel.spe", _read_counts(DATA / "Steel.spe"), configuration, known)


def cobalt_standard(flux: float | None = None) -> Spectrum:
    """Return the multi-element thin-sample standard whose header tells how it was measured.

    The header gives beam energy, angles, detector, window, air path, the sample (100 micron of water) and 500 ppm of
    cobalt, but neither flux nor solid angle nor counting time. So cobalt is the internal standard, as the header
    advises: with ``flux=None`` the fit finds the flux for which cobalt comes out at 500 ppm, which says
    nothing about cobalt. With that flux given, cobalt is measured like any other element, and a copy's amount
    differs from 500 ppm by its noise. What the fit itself vouches for is the rest: titanium to strontium
    all come out between 470 and 515 ppm, as in a solution mixed to hold equal amounts of each.

    Args:
        flux: Photons per second, as found from the measured spectrum.
    """
    counts = _read_counts(DATA / "XRFSpectrum.mca")
    # The header: the main cobalt peak is close to channel 1474. The others are its neighbours in the periodic table.
    near = {"Ti": 990, "V": 1080, "Cr": 1175, "Mn": 1268, "Fe": 1370, "Co": 1474, "Ni": 1580, "Cu": 1695, "Zn": 1815}
    zero_kev, gain_kev = xrf_fit.calibrate_energy(counts, near)
    configuration = {
        "attenuators": {
            "atmosphere": [1, "Air", 0.0012048, 0.2, 1.0],
            "window": [1, "Be1", 1.848, 0.0008, 1.0],
            "Detector": [1, "Si1", 2.33, 0.045, 1.0],
            "Matrix": [1, "Sample", 1.0, 0.01, 0.1, 90.0, 0, 90.1],
        },
        "materials": {
            "Sample": {
                "Comment": "Water with 500 ppm of cobalt",
                "CompoundList": ["H2O1", "Co1"],
                "CompoundFraction": [0.9995, 0.0005],
                "Density": 1.0,
                "Thickness": 0.01,
            },
            "Air": {
                "Comment": "Dry air",
                "CompoundList": ["N1", "O1", "Ar1"],
                "CompoundFraction": [0.755, 0.232, 0.013],
                "Density": 0.0012048,
                "Thickness": 1.0,
            },
        },
        "detector": {"zero": zero_kev, "gain": gain_kev, "noise": 0.08, "fano": 0.114, "sum": 0.0, "fixedsum": 1},
        "fit": {
            "energy": [17.5],
            "energyweight": [1.0],
            "energyflag": [1],
            "energyscatter": [0],
            "scatterflag": 0,
            # From above the aluminium and silicon of the surroundings to below the Compton peak.
            "xmin": 520,
            "xmax": 3050,
            "use_limit": 1,
            "linearfitflag": 0,
            "maxiter": 20,
            "fitweight": 1,
            "hypermetflag": 1,
            "escapeflag": 1,
            "sumflag": 0,
            # A polynomial: stripping follows the lower edge of the noise, so short exposures would seem to hold more.
            "stripflag": 0,
            "continuum": 4,
            "linpolorder": 7,
            "strategyflag": 0,
        },
        # Argon is in the air. Sulphur, if any, hides under the M lines of thallium and lead.
        "peaks": {
            **{element: ["K"] for element in ["Ar", "Ca", "Ti", "V", "Cr", "Mn", "Fe", "Co", "Ni"]},
            **{element: ["K"] for element in ["Cu", "Zn", "As", "Se", "Sr"]},
            **{element: ["L"] for element in ["Cd", "Sb"]},
            **{element: ["L", "M"] for element in ["Tl", "Pb"]},
        },
        # Only the product of flux, time and solid angle matters; the latter two are set to convenient numbers.
        "concentrations": {
            "usematrix": int(flux is None),
            "reference": "Co",
            "flux": flux or 1e8,
            "time": 1.0,
            "area": 0.1,
            "distance": 0.3,
            "useattenuators": 1,
            "usemultilayersecondary": 0,
        },
    }
    return Spectrum("XRFSpectrum.mca", counts, configuration, {"Co K": Known(500e-6, 0.02)})


def _read_counts(path: Path) -> NDArray[Any]:
    """Read a file's one spectrum (PyMca takes the header of one of them for a scan of its own)."""
    scans = specfilewrapper.Specfile(str(path))
    spectra = [scans[index].mca(1) for index in range(len(scans)) if scans[index].nbmca()]
    if len(spectra) != 1:
        raise ValueError(f"{path} holds {len(spectra)} spectra; one was expected")
    counts: NDArray[Any] = numpy.asarray(spectra[0]).round().astype(numpy.uint32)
    return counts


def _read_configuration(path: Path) -> dict[str, Any]:
    """Read a PyMca configuration as plain dictionaries, without the rows of unused beam energies."""
    read = ConfigDict.ConfigDict()
    read.read(str(path))
    configuration: dict[str, Any] = _plain(read)
    fit = configuration["fit"]
    energies = [index for index, energy in enumerate(fit["energy"]) if energy is not None and fit["energyflag"][index]]
    for key in ("energy", "energyweight", "energyflag", "energyscatter"):
        fit[key] = [fit[key][index] for index in energies]
    return configuration


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
