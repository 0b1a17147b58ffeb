"""X-ray photon correlation spectroscopy: how fast speckles change, and so how fast particles move.

Multi-tau correlation, as hardware correlators do it (Schätzel, Drewel & Stimac, *J. Mod. Opt.* 35, 711, 1988) and as it
came to area detectors (Cipelletti & Weitz, *Rev. Sci. Instrum.* 70, 3214, 1999; Lumma et al., *ibid.* 71, 3274, 2000).
It gives what ``skbeam.core.correlation.multi_tau_auto_corr`` gives, and needs numpy alone: a worker that starts is
ready in a tenth of the time. The whole module is shipped to the sites (``register_function(..., modules=[xpcs])``).
"""

from __future__ import annotations

from typing import Any

import numpy
from numpy.typing import ArrayLike, NDArray

Reals = NDArray[numpy.float64]


def multi_tau(intensity: ArrayLike, channels: int = 8) -> tuple[NDArray[numpy.int64], Reals]:
    """Correlate each pixel with itself, at lags that grow with the time resolution that is left.

    The first level takes every lag up to ``channels - 1``. Each further level averages pairs of frames, and takes the
    upper half of its lags, which are twice as far apart. Normalization is symmetric.

    Args:
        intensity: time along the first axis, the pixels of one ring along the second.
        channels: lags on the first level; even.

    Returns:
        The lags in frames, and g2 at each, averaged over the ring.

    Raises:
        ValueError: the number of channels is odd, or there are fewer frames than two.

    Example:
        >>> lags, g2 = multi_tau([[1.0], [3.0]] * 32, channels=4)
        >>> lags.tolist(), g2[[0, 2]].tolist()
        ([0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48], [1.25, 1.25])
    """
    values = numpy.asarray(intensity, dtype=float)
    if channels < 2 or channels % 2:
        raise ValueError(f"channels is {channels}; give an even number from 2 on.")
    if len(values) < 2:
        raise ValueError(f"There are {len(values)} frames; a correlation needs two at least.")
    lags, g2 = [], []
    frames_each = 1
    first = 0
    while len(values) > first:
        for lag in range(first, min(channels, len(values))):
            earlier, later = values[: len(values) - lag], values[lag:]
            lags.append(lag * frames_each)
            # einsum makes no array of products as large as the data.
            product = numpy.einsum("tp,tp->", earlier, later) / earlier.size
            g2.append(product / (earlier.mean() * later.mean()))
        values = (values[0 : len(values) // 2 * 2 : 2] + values[1::2]) / 2
        frames_each *= 2
        first = channels // 2
    return numpy.array(lags), numpy.array(g2)


def fit_decay(lag_s: ArrayLike, g2: ArrayLike, contrast: float | None = None) -> tuple[float, float]:
    """Fit the Siegert relation for simple diffusion, g2 = 1 + contrast · exp(-2 Γ τ), by least squares.

    Gauss-Newton steps from the slope of the logarithm; only the part well above the noise counts for that start.

    Args:
        lag_s: delay times in seconds, without 0, where the counting noise is.
        g2: at each.
        contrast: where it is known, from a static sample; else it is fitted too.

    Returns:
        The relaxation rate Γ in 1/s, and the contrast.

    Raises:
        ValueError: nothing decays there.

    Example:
        >>> lag_s = numpy.linspace(0.1, 2, 20)
        >>> rate, contrast = fit_decay(lag_s, 1 + 0.4 * numpy.exp(-2 * 1.5 * lag_s))
        >>> round(rate, 6), round(contrast, 6)
        (1.5, 0.4)
    """
    time_s, excess = numpy.asarray(lag_s, dtype=float), numpy.asarray(g2, dtype=float) - 1
    well = excess > 0.2 * excess.max(initial=0.0)
    well &= numpy.cumprod(well).astype(bool)  # noise may lift a late one
    if well.sum() < 2:
        raise ValueError("g2 does not decay over these lags: take frames faster, or look at a smaller q.")
    slope, intercept = numpy.polyfit(time_s[well], numpy.log(excess[well]), 1)
    rate = max(-slope / 2, 1e-3 / time_s[-1])
    amplitude = float(numpy.exp(intercept)) if contrast is None else contrast
    for _ in range(50):
        decay = numpy.exp(-2 * rate * time_s)
        by_rate = -2 * time_s * amplitude * decay
        columns = [by_rate] if contrast is not None else [by_rate, decay]
        step = numpy.linalg.lstsq(numpy.stack(columns, axis=1), excess - amplitude * decay, rcond=None)[0]
        change = float(numpy.clip(step[0], -rate / 2, rate))
        rate += change
        if contrast is None:
            amplitude += float(step[1])
        if abs(change) < 1e-9 * rate:
            break
    return float(rate), float(amplitude)


def analyse(frames: NDArray[Any], labels: NDArray[Any], q: NDArray[Any], frame_s: float) -> dict[str, Any]:
    """Correlate a dataset ring by ring, fit each decay, and find the diffusion coefficient.

    Args:
        frames: photons by time, row and column.
        labels: the ring each pixel belongs to, from 1 on; 0 for none.
        q: momentum transfer of each pixel, in 1/nm.
        frame_s: from one frame to the next, in seconds.

    Returns:
        ``diffusion`` in nm²/s (with ``diffusion_sigma``, from how much the rings disagree), and for each ring ``q``,
        ``rate`` in 1/s, ``contrast``, ``lag_s`` and ``g2``.

    Raises:
        ValueError: a ring shows no decay.
    """
    rings = []
    for label in range(1, int(labels.max()) + 1):
        here = labels == label
        lags, g2 = multi_tau(frames[:, here])
        # Long lags rest on few frames: there the noise is largest and nothing is left to see.
        use = (lags > 0) & (lags <= len(frames) // 4)
        lag_s = lags[use] * frame_s
        rate, contrast = fit_decay(lag_s, g2[use])
        # Γ = D q², so that the mean of q² is what a ring's rate stands for.
        ring_q = float(numpy.sqrt(numpy.mean(q[here] ** 2)))
        rings.append({"q": ring_q, "rate": rate, "contrast": contrast, "lag_s": lag_s.tolist(), "g2": g2[use].tolist()})
    each = numpy.array([ring["rate"] / ring["q"] ** 2 for ring in rings])
    sigma = float(each.std(ddof=1) / numpy.sqrt(len(each))) if len(each) > 1 else float("nan")
    return {"diffusion": float(each.mean()), "diffusion_sigma": sigma, "rings": rings}
