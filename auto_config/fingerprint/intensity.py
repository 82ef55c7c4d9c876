"""Grey values of one image: what is air, what is body, and samples of the body."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

HU_BELOW = -500.0
"""Grey values that reach below this are taken for Hounsfield units; no tissue but lung lies there."""

_SAMPLE = 100_000
_BODY_SAMPLE = 10_000
_FEWEST = 100
_HU_LOWEST_BODY = -950.0
_SIGMAS = 5.0
_HU_NOISE_AT_LEAST = 50.0
_MAD_TO_SD = 1.4826
_BINS = 256


@dataclass(frozen=True)
class ChannelIntensity:
    """Grey values of one channel of one image.

    Args:
        minimum: of all voxels.
        maximum: of all voxels.
        air: the value of air: of the constant background if there is one, else the median of what is not body.
        air_zscore: air minus the mean, divided by the standard deviation, of the voxels above the minimum.
        integer: all sampled voxels are whole numbers.
        hounsfield: the values reach below `HU_BELOW`.
        body: ``(N,)`` float32 sample of the body.
    """

    minimum: float
    maximum: float
    air: float
    air_zscore: float
    integer: bool
    hounsfield: bool
    body: np.ndarray


def measure_channel(channel: np.ndarray, background: float | None) -> ChannelIntensity:
    """Grey values of one channel.

    The body of a CT is what lies above air by five robust standard deviations of its noise (at least 50 HU), at a
    threshold between -950 and -500 HU, so that lungs stay in. Of other images it is what lies above Otsu's threshold.

    Args:
        channel: ``(*size)`` without constant background.
        background: value of the constant background, if there is one.

    Source:
        Otsu 1979 (threshold between two classes of grey values).
    """
    # The same voxels each time: plans must not change from run to run.
    pick = np.random.default_rng(0).integers(0, channel.size, size=min(_SAMPLE, channel.size))
    sample = channel.reshape(-1)[pick].astype(np.float64)
    minimum, maximum = float(channel.min()), float(channel.max())
    hounsfield = minimum < HU_BELOW
    threshold = _hounsfield_threshold(sample) if hounsfield else otsu(sample)
    outside = sample[sample <= threshold]
    air = background if background is not None else float(np.median(outside)) if len(outside) else minimum
    body = sample[sample > threshold]
    if len(body) < _FEWEST:
        body = sample
    shown = sample[sample > minimum]
    shown = shown if len(shown) >= _FEWEST else sample
    return ChannelIntensity(
        minimum=minimum,
        maximum=maximum,
        air=air,
        air_zscore=float((air - shown.mean()) / max(shown.std(), 1e-8)),
        integer=bool((sample == np.round(sample)).all()),
        hounsfield=hounsfield,
        body=body[:_BODY_SAMPLE].astype(np.float32),
    )


def otsu(values: np.ndarray) -> float:
    """The threshold that splits values into two classes with the largest variance between them.

    Args:
        values: ``(N,)``; the lowest and highest 0.1 % do not widen the histogram.
    """
    low, high = np.percentile(values, [0.1, 99.9])
    if not high > low:
        return float(low)
    counts, edges = np.histogram(np.clip(values, low, high), bins=_BINS)
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1]
    above = below[-1] + counts[-1] - below
    sums = np.cumsum(counts * centres)
    mean_below = sums[:-1] / np.maximum(below, 1)
    mean_above = (sums[-1] - sums[:-1]) / np.maximum(above, 1)
    between = below * above * (mean_above - mean_below) ** 2.0
    return float(edges[1 + int(np.argmax(between))])


def _hounsfield_threshold(sample: np.ndarray) -> float:
    air = sample[sample < HU_BELOW]
    if len(air) == 0:
        return HU_BELOW
    centre = float(np.median(air))
    noise = _MAD_TO_SD * float(np.median(np.abs(air - centre)))
    return float(np.clip(centre + max(_SIGMAS * noise, _HU_NOISE_AT_LEAST), _HU_LOWEST_BODY, HU_BELOW))
