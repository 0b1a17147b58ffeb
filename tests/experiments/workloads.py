"""What runs at the sites: photon correlation and diagonalization, each lasting as long as its machine would take.

The answers are real. The time is made up with sleep to what is calibrated for each site, so that three machines fit
on the two cores of one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy

import eigenvalues
import suspension
import xpcs

MODULES = [xpcs, suspension, eigenvalues]
"""To be shipped with the functions."""
FRAMES = 256
MATRIX_ROWS = 96
DETECTOR = suspension.Detector()
TOLERANCE = 0.12
"""Of one dataset's diffusion coefficient, relative: it scatters by 2 %, and is 2 % low."""
DIFFUSION_NM2_PER_S = (6e3, 12e3)


@dataclass(frozen=True)
class Dataset:
    """What a light source has measured, and what must come out.

    Args:
        function: ``xpcs`` or ``diagonalize``.
        seed: of its frames or its matrix; no two datasets of a run share one.
    """

    function: str
    seed: int

    @property
    def diffusion(self) -> float:
        """The suspension's diffusion coefficient, in nm²/s."""
        return float(numpy.random.default_rng([self.seed, 1]).uniform(*DIFFUSION_NM2_PER_S))

    @property
    def eigenvalues(self) -> list[float]:
        """Those planted in the matrix, the smallest first."""
        return sorted(numpy.random.default_rng([self.seed, 2]).normal(size=MATRIX_ROWS).tolist())

    def frames(self) -> Any:
        """What the detector counted."""
        return suspension.Suspension(self.diffusion).frames(DETECTOR, FRAMES, self.seed)

    def arguments(self, lasts_s: Mapping[str, float], deliver: Callable[[Any], Any] | None = None) -> tuple[Any, ...]:
        """What its function is called with.

        Args:
            lasts_s: the calibrated duration by site.
            deliver: makes an argument of the frames; without it the site makes the same frames from the seed.
        """
        if self.function == "diagonalize":
            return self.eigenvalues, self.seed, dict(lasts_s)
        seed = {"diffusion": self.diffusion, "count": FRAMES, "seed": self.seed}
        return deliver(self.frames()) if deliver else seed, asdict(DETECTOR), dict(lasts_s)

    def complaint(self, value: Mapping[str, Any]) -> str:
        """What is wrong with an answer; empty if it is the known one."""
        if self.function == "diagonalize":
            off = float(numpy.abs(numpy.subtract(value["eigenvalues"], self.eigenvalues)).max())
            return f"an eigenvalue is off by {off:.2g}" if off > 1e-9 else ""
        off = value["diffusion"] / self.diffusion - 1
        return f"diffusion is off by {off:+.1%}" if abs(off) > TOLERANCE else ""


def correlate(frames: Any, detector: dict[str, Any], lasts_s: dict[str, float]) -> dict[str, Any]:
    """Find the diffusion coefficient in a dataset of frames.

    Args:
        frames: photons by time, row and column; or, to make them here, ``diffusion``, ``count`` and ``seed``.
        detector: as :class:`suspension.Detector` takes it.
        lasts_s: how long it shall take, by site.
    """
    clock = _Clock()
    seen_by = suspension.Detector(**detector)
    if isinstance(frames, dict):
        sample = suspension.Suspension(frames["diffusion"])
        frames = sample.frames(seen_by, frames["count"], frames["seed"])
    found = xpcs.analyse(frames, seen_by.labels(), seen_by.q(), seen_by.frame_s)
    return clock.until(lasts_s, {"diffusion": found["diffusion"], "sigma": found["diffusion_sigma"]})


def diagonalize(values: list[float], seed: int, lasts_s: dict[str, float]) -> dict[str, Any]:
    """Diagonalize a matrix with planted eigenvalues.

    Args:
        values: the eigenvalues.
        seed: of the eigenvectors.
        lasts_s: how long it shall take, by site.
    """
    clock = _Clock()
    return clock.until(lasts_s, eigenvalues.diagonalize(eigenvalues.planted(values, seed)))


FUNCTIONS: dict[str, Callable[..., dict[str, Any]]] = {"xpcs": correlate, "diagonalize": diagonalize}


class _Clock:
    """Since when a task runs, and what it has used of the processor."""

    def __init__(self) -> None:
        self.began_at, self._began, self._cpu_s = time.time(), time.monotonic(), time.process_time()

    def until(self, lasts_s: Mapping[str, float], answer: dict[str, Any]) -> dict[str, Any]:
        """Wait until a task has lasted as long as it shall here; its answer, with where and how it ran."""
        site = os.environ.get("SLURM_CLUSTER_NAME", "")
        needed_s = time.monotonic() - self._began
        time.sleep(max(0.0, lasts_s.get(site, 0.0) - needed_s))
        return {
            **answer,
            "site": site,
            "node": os.environ.get("SLURMD_NODENAME", ""),
            "job_id": os.environ.get("SLURM_JOB_ID", ""),
            "began_at": self.began_at,
            "ended_at": time.time(),
            "needed_s": needed_s,
            "cpu_s": time.process_time() - self._cpu_s,
        }
