"""Frames of a Brownian suspension in coherent X-rays, simulated, so that the right answer is known.

Each speckle of the far field is a sum over very many particles, so its amplitude is complex Gaussian, and diffusion
lets it forget itself at the rate D q²: the exact model of dilute non-interacting particles (Berne & Pecora, *Dynamic
Light Scattering*, Wiley 1976, chapter 5). The module is shipped to sites that make their frames themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy
from numpy.typing import NDArray


@dataclass(frozen=True)
class Detector:
    """An area detector around the direct beam, with rings of pixels that see nearly the same momentum transfer.

    Args:
        pixels: along each side.
        q_per_pixel: momentum transfer from one pixel to the next, in 1/nm.
        rings: how many.
        innermost: radius of the first ring, in pixels.
        width: of each ring, in pixels; they follow each other without gaps.
        frame_s: from one frame to the next, in seconds.

    Example:
        >>> int(Detector(rings=4).labels().max())
        4
    """

    pixels: int = 48
    q_per_pixel: float = 0.0025
    rings: int = 4
    innermost: float = 8.0
    width: float = 3.0
    frame_s: float = 0.01

    def q(self) -> NDArray[numpy.float64]:
        """Momentum transfer at each pixel, in 1/nm."""
        axis = numpy.arange(self.pixels) - (self.pixels - 1) / 2
        distance: NDArray[numpy.float64] = numpy.hypot(axis[:, None], axis[None, :])
        return self.q_per_pixel * distance

    def labels(self) -> NDArray[numpy.int64]:
        """The number of the ring that each pixel belongs to, from 1 on; 0 where it belongs to none."""
        ring = numpy.floor((self.q() / self.q_per_pixel - self.innermost) / self.width).astype(numpy.int64) + 1
        return numpy.where((ring >= 1) & (ring <= self.rings), ring, 0)


@dataclass(frozen=True)
class Suspension:
    """Equal spheres in a liquid, in a beam that is coherent in part.

    Args:
        diffusion: D, in nm²/s; the Stokes-Einstein relation gives it, see :meth:`of_spheres`.
        modes: independent coherent modes of the beam; the speckle contrast is one by their number.
        counts: photons per pixel and frame, on average.
    """

    diffusion: float
    modes: int = 2
    counts: float = 4.0

    @classmethod
    def of_spheres(
        cls, radius_nm: float, viscosity_pa_s: float = 0.1, temperature_k: float = 298.15, **others: Any
    ) -> Suspension:
        """Spheres of one radius, by the Stokes-Einstein relation.

        Args:
            radius_nm: hydrodynamic radius, in nanometres.
            viscosity_pa_s: of the liquid, in pascal-seconds; a glycerol-water mixture has a tenth.
            temperature_k: in kelvins.
            others: the other arguments of the class.

        Example:
            >>> round(Suspension.of_spheres(1.0, viscosity_pa_s=1e-3).diffusion / 1e8, 2)
            2.18
        """
        boltzmann_j_per_k = 1.380649e-23
        m2_per_s = boltzmann_j_per_k * temperature_k / (6 * numpy.pi * viscosity_pa_s * radius_nm * 1e-9)
        return cls(float(m2_per_s) * 1e18, **others)

    @property
    def contrast(self) -> float:
        """The intercept of g2 - 1."""
        return 1 / self.modes

    def frames(self, detector: Detector, count: int, seed: int) -> NDArray[numpy.uint16]:
        """What the detector counts: time along the first axis; pixels outside the rings stay dark.

        Args:
            detector: where, and how often.
            count: of frames.
            seed: the same gives the same frames.

        Returns:
            Photons by frame, row and column.

        Example:
            >>> Suspension(1e4).frames(Detector(pixels=32), 3, seed=1).shape
            (3, 32, 32)
        """
        random = numpy.random.default_rng(seed)
        seen = detector.labels() > 0
        rate = self.diffusion * detector.q()[seen] ** 2
        # Of the amplitude, frame to frame: an Ornstein-Uhlenbeck process, sampled exactly whatever the step.
        kept = numpy.exp(-rate * detector.frame_s)[:, None, None]
        fresh = numpy.sqrt(1 - kept**2)
        shape = (int(seen.sum()), self.modes, 2)
        amplitude = random.standard_normal(shape)  # in equilibrium from the start
        intensity = numpy.empty((count, shape[0]))
        for frame in range(count):
            intensity[frame] = (amplitude**2).sum(axis=(1, 2))
            amplitude = kept * amplitude + fresh * random.standard_normal(shape)
        frames = numpy.zeros((count, *seen.shape), dtype=numpy.uint16)
        frames[:, seen] = random.poisson(self.counts * intensity / (2 * self.modes))
        return frames
