"""The simulated suspension obeys what is known of speckles, by other ways than the analysis takes."""

from __future__ import annotations

import numpy
import pytest

from suspension import Detector, Suspension


def test_intensity_of_one_mode_is_exponential_and_of_several_is_not() -> None:
    """Speckle statistics: the variance is the squared mean by the number of modes, and counting adds the mean."""
    detector = Detector(frame_s=10.0)  # so slow that frames are independent
    for modes in (1, 4):
        sample = Suspension(1e4, modes=modes, counts=5.0)
        counted = sample.frames(detector, 200, seed=modes)[:, detector.labels() > 0].astype(float)
        assert counted.mean() == pytest.approx(5.0, rel=0.02)
        assert counted.var() == pytest.approx(5.0 + 25.0 / modes, rel=0.05)


def test_speckles_obey_the_siegert_relation_at_every_lag() -> None:
    detector = Detector(pixels=40, rings=1, innermost=10, width=0.7)
    sample = Suspension(1e4, modes=1, counts=20.0)
    frames = sample.frames(detector, 4000, seed=2)[:, detector.labels() == 1].astype(float)
    rate = sample.diffusion * float(numpy.mean(detector.q()[detector.labels() == 1] ** 2))
    for lag in (1, 3, 6):
        g2 = (frames[:-lag] * frames[lag:]).mean() / frames.mean() ** 2
        assert g2 - 1 == pytest.approx(numpy.exp(-2 * rate * lag * detector.frame_s), abs=0.03)


def test_pixels_know_nothing_of_each_other() -> None:
    detector = Detector()
    frames = Suspension(1e4, modes=1).frames(detector, 2000, seed=3)[:, detector.labels() == 2].astype(float)
    between = numpy.corrcoef(frames[::20, :40], rowvar=False)
    assert numpy.abs(between[numpy.triu_indices(40, 1)]).mean() < 0.1


def test_a_seed_gives_the_same_frames_again() -> None:
    detector = Detector()
    sample = Suspension(1e4)
    assert (sample.frames(detector, 5, seed=1) == sample.frames(detector, 5, seed=1)).all()
    assert (sample.frames(detector, 5, seed=1) != sample.frames(detector, 5, seed=2)).any()


def test_spheres_diffuse_as_stokes_and_einstein_say() -> None:
    in_water = Suspension.of_spheres(100, viscosity_pa_s=0.89e-3, counts=2.0)
    assert in_water.diffusion == pytest.approx(2.45e6, rel=0.01)  # nm²/s: 100 nm in water at 25 °C
    assert in_water.counts == 2.0


def test_rings_follow_each_other_and_stay_on_the_detector() -> None:
    detector = Detector()
    labels, q = detector.labels(), detector.q()
    assert set(numpy.unique(labels)) == {0, 1, 2, 3, 4}
    for ring in range(1, detector.rings):
        assert q[labels == ring].max() <= q[labels == ring + 1].min()
    assert (labels[0] == 0).all() and (labels[:, -1] == 0).all()
