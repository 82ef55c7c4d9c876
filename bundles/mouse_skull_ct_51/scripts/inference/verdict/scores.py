"""The numbers of a predicted case, from its peaks, the training shapes and its image."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from ...points.instances import Instances
from ...points.peaks import Peaks
from ...points.procrustes import FAR
from ..calibration import of_several_networks
from .image import ImageNumbers
from .judging import CaseScores
from .shape import SMALLEST_MM, TrainingShape

_LARGEST_LOGIT = 12.0

Ranges = Mapping[str, Mapping[str, list[float]]]


def case_scores(
    peaks: Peaks,
    present: np.ndarray,
    image: ImageNumbers,
    *,
    instances: Instances,
    shape: TrainingShape | None,
    ranges: Ranges | None = None,
) -> CaseScores:
    """Everything that the verdict on a case looks at.

    Landmarks with many instances and, for the shape, those that may change places are left out: what is usual of them
    is not known.

    Args:
        peaks: (R) rows in world mm.
        present: (R,) bool, the rows that are called present.
        image: Numbers of its image.
        instances: Which rows belong to which landmark.
        shape: Of the training cases; None where it is not known.
        ranges: Of spacing and extent in training, see `ImageNumbers.values`.
    """
    single = ~np.array(instances.many)[list(instances.channels)]
    points = np.where((present & single)[:, None], peaks.points.double().numpy(), np.nan)
    values = {**peak_values(peaks, present & single, single), **image.values(ranges)}
    there = np.isfinite(points).all(axis=1)
    if there.any():
        values["border"] = float(image.at_border(points[there]).mean())
    judged = _ordered(points, instances)
    fit = None if shape is None else shape.fit(judged, image.voxel_mm / 2)
    strayed: tuple[str, ...] = ()
    if shape is not None and fit is not None:
        values |= shape.values(fit, image.centre)
        strayed = tuple(name for name, far in zip(instances.names, fit.strayed > FAR, strict=True) if far)
    enough = shape is not None and int(shape.known.sum()) > points.shape[1]
    coarse = peaks.shape_distance.double().numpy()[single]
    return CaseScores(
        values={name: value for name, value in values.items() if math.isfinite(value)},
        misfit=math.nan if fit is None else fit.misfit,
        strayed=strayed,
        too_few=enough and fit is None,
        coarse_fits=bool(np.isfinite(coarse).any()),
    )


def peak_values(peaks: Peaks, present: np.ndarray, single: np.ndarray) -> dict[str, float]:
    """The columns that peaks give: those of the rows (R,) that are present, of those that every case has once."""
    found = {"absent": 1.0 - present.sum() / single.sum()} if single.any() else {}
    if not present.any():
        return found
    rows = torch.from_numpy(np.flatnonzero(present))
    confidence = peaks.confidence.double()[rows].numpy()
    with np.errstate(divide="ignore"):
        logit = np.clip(np.log(confidence) - np.log1p(-confidence), -_LARGEST_LOGIT, _LARGEST_LOGIT)
    spread = peaks.spread.double()[rows].numpy()
    found |= {
        "confidence": float(-logit.mean()),
        "spread": float(np.log(spread + SMALLEST_MM).mean()),
        "mirror": mean_log(peaks.mirror_disagreement.double()[rows].numpy()),
        "coarse": mean_log(peaks.shape_distance.double()[rows].numpy()),
        "replaced": float(peaks.replaced.double()[rows].numpy().mean()),
    }
    if of_several_networks(peaks):
        found["views"] = mean_log(peaks.disagreement.double()[rows].numpy())
    return found


def mean_log(lengths: np.ndarray) -> float:
    """Mean logarithm of lengths in mm, which one far landmark hardly moves; NaN where none is known."""
    known = lengths[np.isfinite(lengths)]
    return float(np.log(known + SMALLEST_MM).mean()) if known.size else math.nan


def _ordered(points: np.ndarray, instances: Instances) -> np.ndarray:
    """Points (L, D) of the landmarks with a fixed place, of the rows (R, D); NaN for the others."""
    out: np.ndarray = points[: len(instances.names)].copy()
    moved: Sequence[int] = [channel for pair in instances.exchangeable for channel in pair]
    out[list(moved)] = np.nan
    return out
