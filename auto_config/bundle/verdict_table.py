"""``configs/verdict.json``: what the training cases were like, for verdicts on others; numbers, no names of cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from auto_config.bundle_scripts.inference.verdict.judging import LARGEST_MISFIT, Reference
from auto_config.bundle_scripts.inference.verdict.shape import ShapeFit, TrainingShape
from auto_config.datasets.model.dataset import Case, present_points
from auto_config.fingerprint.summary import Fingerprint

CHECK, FAILED = 6.0, 12.0
"""Deviations from the training cases that count where nothing is calibrated: wide, since the errors are not known."""

_PARTS = 5  # so many times a part of the cases is compared with the shape of the others
_MOSTLY = 0.9
_FEWEST = 3


def verdict_table(
    names: Sequence[str], training: Sequence[Case], landmarks: Mapping[str, Any], fingerprint: Fingerprint
) -> dict[str, Any]:
    """The content of the file.

    Args:
        names: in channel order.
        training: the training cases.
        landmarks: content of ``configs/landmarks.json``.
        fingerprint: numbers of the training cases.

    Returns:
        ``{"landmarks", "ranges": {"spacing": {"low", "high"}, "extent": ...}, "shape": {"mean", "spread", "rotation",
        "offset"}, "reference"}``: lengths in mm (pixels, where their size is not known), null where nobody knows;
        ``shape`` is null without labelled cases, ``reference`` is as `Reference` has it.
    """
    dims = int(landmarks["spatial_dims"])
    table = landmarks["landmarks"]
    shapes = np.array([present_points(case, names, dims) for case in training if case.landmarks is not None])
    loose = [row.get("instances") == "many" or bool(row.get("exchangeable")) for row in table]
    shapes = np.where(np.array(loose)[:, None], np.nan, shapes.reshape(-1, len(names), dims))
    offsets = np.array([row.get("mean_offset_mm") or [np.nan] * dims for row in table], dtype=np.float64)
    shape = TrainingShape.of(shapes, offsets)
    tolerance = min(map(min, fingerprint.spacings)) / 2
    fits = left_out_fits(shapes, tolerance)
    return {
        "landmarks": list(names),
        "ranges": {
            "spacing": _range(np.sort(np.array(fingerprint.spacings), axis=1)),
            "extent": _range(np.array(fingerprint.extents_mm)),
        },
        "shape": _document(shape) if shape.known.any() else None,
        "reference": _reference(fits, shape, len(training)).document(),
    }


def left_out_fits(shapes: np.ndarray, tolerance: float) -> list[ShapeFit | None]:
    """The fit of each shape (N, L, D) to the mean shape of others; None where it cannot be fitted."""
    part = np.arange(len(shapes)) % max(1, min(_PARTS, len(shapes)))
    fits: list[ShapeFit | None] = [None] * len(shapes)
    for number in set(part.tolist()):
        others = TrainingShape.of(shapes[part != number])
        for i in np.flatnonzero(part == number):
            fits[i] = others.fit(shapes[i], tolerance) if others.known.any() else None
    return fits


def _reference(fits: Sequence[ShapeFit | None], shape: TrainingShape, cases: int) -> Reference:
    """What training cases say of others, where no unseen case has been predicted."""
    known = [fit for fit in fits if fit is not None]
    inside = {"mean": 0.0, "sd": 0.0, "low": 0.0, "high": 0.0}
    columns = dict.fromkeys(("spacing", "extent", "border"), inside)
    if len(known) >= _FEWEST:
        values = [shape.values(fit, None) for fit in known]
        columns |= {name: _summary(np.array([row[name] for row in values])) for name in values[0]}
    return Reference(
        others="training cases",
        cases=max(cases, 1),
        columns=columns,
        check=CHECK,
        failed=FAILED,
        rate=None,
        fits=len(known) >= _FEWEST and sum(one.misfit <= LARGEST_MISFIT for one in known) >= _MOSTLY * len(known),
        coarse_fits=False,
    )


def _summary(values: np.ndarray) -> dict[str, float]:
    numbers = {"mean": values.mean(), "sd": values.std(ddof=1), "low": values.min(), "high": values.max()}
    return {name: round(float(value), 6) for name, value in numbers.items()}


def _range(values: np.ndarray) -> dict[str, list[float]]:
    """Lowest and highest (D,) of the cases (N, D)."""
    return {"low": values.min(axis=0).tolist(), "high": values.max(axis=0).tolist()}


def _document(shape: TrainingShape) -> dict[str, Any]:
    def listed(values: np.ndarray) -> list[Any]:
        return [None if not np.isfinite(x).all() else np.round(x, 4).tolist() for x in values]

    return {"mean": listed(shape.mean), "spread": listed(shape.spread), **shape.pose_document()}
