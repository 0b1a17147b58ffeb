"""Photon correlation on what is known: scikit-beam's numbers, exact decays, and suspensions of known diffusion."""

from __future__ import annotations

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

import xpcs
from suspension import Detector, Suspension

# What scikit-beam 0.0.27 gives: multi_tau_auto_corr(5, 8, labels, frames), of the frames below and two rings.
SCIKIT_BEAM_LAGS = [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56]
# fmt: off
SCIKIT_BEAM_G2 = {
    1: [1.362474420393, 0.979307975565, 0.977165717579, 1.041063721853, 1.005511695386, 1.032947626453,
        0.963616577308, 0.993623039577, 0.99751847395, 1.04264711155, 1.004239017912, 1.034032084465,
        0.998297886405, 1.03291607695, 1.058100000661, 1.007307900036, 1.021335893147, 1.017642852159,
        1.027098885367, 1.033142443916],
    2: [1.425228192455, 1.016956616886, 1.038079011731, 1.017785111845, 0.976360992882, 1.029681628937,
        0.93881434281, 0.982826979541, 0.984560549505, 0.963554027756, 0.91542142527, 0.998561693621,
        0.989188984516, 1.039406576383, 1.087306975202, 0.99267405244, 0.964032584234, 1.007932992806,
        1.023875282656, 0.965683693172],
}
# fmt: on


@pytest.mark.parametrize("ring", [1, 2])
def test_correlation_is_scikit_beams(ring: int) -> None:
    time, pixel = numpy.arange(67)[:, None], numpy.arange(10)[None, :]
    frames = (time * time * 7 + pixel * 13 + time * pixel * 5) % 23
    lags, g2 = xpcs.multi_tau(frames[:, 5 * (ring - 1) : 5 * ring])
    assert lags.tolist() == SCIKIT_BEAM_LAGS
    assert g2 == pytest.approx(SCIKIT_BEAM_G2[ring], abs=1e-11)


@given(count=st.integers(2, 200), level=st.floats(0.1, 1e6), channels=st.sampled_from([2, 4, 8, 16]))
def test_what_does_not_change_does_not_decay(count: int, level: float, channels: int) -> None:
    lags, g2 = xpcs.multi_tau(numpy.full((count, 3), level), channels)
    assert g2 == pytest.approx(1.0)
    assert (numpy.diff(lags) > 0).all()
    assert lags[-1] < count


@pytest.mark.parametrize(("frames", "channels", "complaint"), [([[1.0]] * 9, 3, "even"), ([[1.0]], 8, "needs two")])
def test_impossible_correlations_are_refused(frames: list[list[float]], channels: int, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        xpcs.multi_tau(frames, channels)


@given(rate=st.floats(0.5, 30), contrast=st.floats(0.05, 1), known=st.booleans())
def test_an_exact_decay_is_found_exactly(rate: float, contrast: float, known: bool) -> None:
    lag_s = numpy.geomspace(0.01, 1, 30)
    g2 = 1 + contrast * numpy.exp(-2 * rate * lag_s)
    assert xpcs.fit_decay(lag_s, g2, contrast if known else None) == pytest.approx((rate, contrast), rel=1e-6)


def test_no_decay_is_told() -> None:
    with pytest.raises(ValueError, match="does not decay"):
        xpcs.fit_decay([0.1, 0.2, 0.3], [1.0, 1.0, 1.0])


@pytest.mark.parametrize("diffusion", [6e3, 12e3])
def test_diffusion_of_a_suspension_is_found(diffusion: float) -> None:
    detector = Detector()
    sample = Suspension(diffusion)
    found = [
        xpcs.analyse(sample.frames(detector, 256, seed), detector.labels(), detector.q(), detector.frame_s)
        for seed in range(8)
    ]
    # One scatters by 2.5 %; a ring's width in q² bends its decay a little, so that the mean is some 2 % low.
    assert numpy.mean([one["diffusion"] for one in found]) == pytest.approx(diffusion, rel=0.05)
    assert numpy.mean([one["diffusion_sigma"] for one in found]) < 0.04 * diffusion
    for number in range(detector.rings):
        rings = [one["rings"][number] for one in found]
        assert numpy.mean([ring["rate"] for ring in rings]) == pytest.approx(diffusion * rings[0]["q"] ** 2, rel=0.08)
        assert numpy.mean([ring["contrast"] for ring in rings]) == pytest.approx(sample.contrast, rel=0.08)


def test_another_suspension_is_told_apart() -> None:
    """The analysis follows the sample, not the detector: a third less diffusion is seen in one dataset."""
    detector = Detector()
    frames = Suspension(8e3).frames(detector, 256, seed=5)
    found = xpcs.analyse(frames, detector.labels(), detector.q(), detector.frame_s)["diffusion"]
    assert abs(found / 12e3 - 1) > 0.2
