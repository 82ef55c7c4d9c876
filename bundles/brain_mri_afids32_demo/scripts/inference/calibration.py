"""``models/calibration.json`` applied to a prediction: is the landmark there, and how large is its region.

`auto_config calibrate` writes the file from predictions of cases that the network had not seen; weights that are
trained anew take it away. Without it, every landmark counts as present and has no region.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..file_names import CALIBRATION
from ..points.landmark_names import read_landmark_names
from ..points.landmark_text import read_text
from ..points.peaks import Peaks
from ..points.shape import ShapeModel
from .extent import Extent, expected_depth

_LARGEST_LOGIT = 12.0
_SMALLEST_MM = 1e-3
_ROUND_OFF = 1e-5


BORDER, EXPECTED = "border", "expected"
"""Evidence of where a landmark lies in the field of view: that of its point, and of where the others expect it."""


def evidence(
    peaks: Peaks,
    features: Sequence[str],
    extent: Extent | None = None,
    shape: ShapeModel | None = None,
    channels: Sequence[int] | None = None,
) -> np.ndarray:
    """What speaks for the presence of landmarks.

    Args:
        peaks: Of one image, in world mm.
        features: Of ``peak`` (logit of the confidence), ``spread``, ``mirror`` and ``views`` (logarithms of mm),
            ``border`` (logarithm of the point's depth in the image in mm, and a voxel) and ``expected``
            (`scripts.inference.extent.expected_depth`).
        extent: Of the image; None where neither ``border`` nor ``expected`` is asked for.
        shape: Of the training cases, for ``expected``.
        channels: (R,) landmark of each row; None for one row of each.

    Returns:
        (L, F); NaN where a prediction does not give it, as ``views`` with one network alone.
    """
    probability = peaks.confidence.double().numpy()
    with np.errstate(divide="ignore"):
        logit = np.log(probability) - np.log1p(-probability)
    # The views of one network are its mirror images, whose disagreement says something else.
    views = peaks.disagreement.double().numpy() if of_several_networks(peaks) else np.full_like(logit, np.nan)
    columns = {
        "peak": np.clip(logit, -_LARGEST_LOGIT, _LARGEST_LOGIT),
        "spread": np.log(peaks.spread.double().numpy() + _SMALLEST_MM),
        "mirror": np.log(peaks.mirror_disagreement.double().numpy() + _SMALLEST_MM),
        "views": np.log(views + _SMALLEST_MM),
    }
    if extent is not None:
        points, confidence = peaks.points.double().numpy(), peaks.confidence.double().numpy()
        rows = range(len(points)) if channels is None else channels
        columns[BORDER] = np.log(np.maximum(extent.depth(points), 0.0) + extent.voxel_mm)
        columns[EXPECTED] = expected_depth(points, confidence, extent, shape, rows)
    return np.stack([columns[name] for name in features], axis=-1)


def of_several_networks(peaks: Peaks) -> bool:
    """Whether the disagreement of the views of an image is that of several networks, and not only of mirror images."""
    mirror = peaks.mirror_disagreement.nan_to_num(0.0)
    return bool(((peaks.disagreement - mirror).abs() > _ROUND_OFF * peaks.disagreement).any())


@dataclass(frozen=True)
class Calibration:
    """What `read_calibration` reads.

    Args:
        names: Landmarks in channel order.
        cases: Number of calibration cases.
        notes: Reservations, a sentence each.
        levels: Nominal levels of the regions.
        presence: Features, numbers and thresholds of the presence model, with ``without_views`` where one of the
            features is ``views``; None where nothing could be learned of it.
        shape: Shape of the training cases, which checks predictions; None where it says nothing.
        regions: (levels, L) each: ``ball_mm``, the radius; ``ellipsoid``, the factor on the standard deviations of the
            heatmap; ``levelset``, the smallest density of the heatmap. Infinite (minus infinite for the last) where
            cases are too few.
        match_mm: For each landmark of which there are many the distance within which an instance counted as found.
        rater_covariance: (L, D, D) mm², how raters differ about their middle, which ellipsoids add to the covariance of
            the heatmap; None where regions are those of a consensus.
    """

    names: tuple[str, ...]
    cases: int
    notes: tuple[str, ...]
    levels: tuple[float, ...]
    presence: dict[str, Any] | None
    shape: ShapeModel | None
    regions: dict[str, np.ndarray]
    match_mm: dict[str, float] = field(default_factory=dict)
    rater_covariance: np.ndarray | None = None

    def probability(
        self, peaks: Peaks, channels: Sequence[int] | None = None, extent: Extent | None = None
    ) -> np.ndarray | None:
        """Probability (R,) that each row of peaks in world mm is present; None where it is not known.

        Where the agreement of an ensemble is evidence and one network predicts alone, as in MONAI's own commands, the
        model of the same cases without this evidence says it.

        Args:
            peaks: Of one image; a row without a point is NaN.
            channels: (R,) landmark of each row; None for one row of each.
            extent: Of the image that was predicted; None where presence was calibrated without cut fields of view.

        Raises:
            ValueError: The prediction does not give what the model was calibrated with.
        """
        if self.presence is None:
            return None
        rows = np.arange(len(self.names)) if channels is None else np.asarray(channels)
        there = peaks.points.isfinite().all(-1).numpy()
        for section in (self.presence, self.presence.get("without_views")):
            found = None if section is None else evidence(peaks, section["features"], extent, self.shape, rows.tolist())
            if section is not None and found is not None and np.isfinite(found[there]).all():
                model = {key: np.asarray(section[key]) for key in ("mean", "scale", "weights", "intercept", "offsets")}
                logit = (found - model["mean"]) / model["scale"] @ model["weights"]
                return 1.0 / (1.0 + np.exp(-(logit + model["intercept"] + model["offsets"][rows])))
        raise ValueError(
            f"{CALIBRATION}: presence was calibrated with {', '.join(self.presence['features'])}, and this prediction "
            "does not give all of them; run `auto_config calibrate` on the bundle"
        )

    def present(self, probability: np.ndarray, channels: Sequence[int] | None = None) -> np.ndarray:
        """(R,) bool: which rows count as present; see `probability`."""
        return probability >= self.thresholds[slice(None) if channels is None else np.asarray(channels)]

    @property
    def needs_extent(self) -> bool:
        """Whether where a landmark lies in the field of view is evidence of its presence."""
        return self.presence is not None and not {BORDER, EXPECTED}.isdisjoint(self.presence["features"])

    @property
    def thresholds(self) -> np.ndarray:
        """(L,) probability from which on a landmark counts as present."""
        assert self.presence is not None
        return np.asarray(self.presence["thresholds"])

    def region(self, kind: str, level: float) -> np.ndarray:
        """Bounds (L,) of regions of a kind at a nominal level.

        Raises:
            ValueError: A level that was not calibrated.
        """
        if level not in self.levels:
            raise ValueError(f"the region level is {level}; allowed are {', '.join(map(str, self.levels))}")
        return self.regions[kind][self.levels.index(level)]

    def summary(self) -> dict[str, Any]:
        """What an evaluation needs of it: JSON-able, bounds of each landmark at all levels, null where infinite."""
        bounds = {
            kind: {
                name: [float(x) if math.isfinite(x) else None for x in self.regions[kind][:, i]]
                for i, name in enumerate(self.names)
            }
            for kind in ("ball_mm", "ellipsoid")
        }
        judges = self.presence is not None
        return {
            "cases": self.cases,
            "notes": list(self.notes),
            "levels": list(self.levels),
            "presence": judges,
            **bounds,
            **({"match_mm": self.match_mm} if self.match_mm else {}),
        }


def read_calibration(path: str | Path, names: Sequence[str]) -> Calibration | None:
    """Read a ``calibration.json``; None where there is none.

    Args:
        path: The file.
        names: Landmarks of the bundle in channel order.

    Raises:
        ValueError: A file that cannot be used, or one for other landmarks.
    """
    if not Path(path).is_file():
        return None
    try:
        document = json.loads(read_text(Path(path)))
        if document["landmarks"] != list(names):
            raise ValueError("it is for other landmarks")
        regions = {
            kind: np.array([[no_bound if x is None else x for x in row] for row in document["regions"][kind]])
            for kind, no_bound in (("ball_mm", math.inf), ("ellipsoid", math.inf), ("levelset", -math.inf))
        }
        return Calibration(
            names=tuple(names),
            cases=int(document["cases"]),
            notes=tuple(document["notes"]),
            levels=tuple(document["levels"]),
            presence=document["presence"],
            shape=_shape(document["shape"]),
            regions=regions,
            match_mm={str(name): float(limit) for name, limit in document.get("match_mm", {}).items()},
            rater_covariance=_rater_covariance(document["regions"], len(names)),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"{path}: cannot be used ({error}); run `auto_config calibrate` on the bundle, or remove the file"
        ) from error


def _rater_covariance(regions: dict[str, Any], count: int) -> np.ndarray | None:
    """(L, D, D) mm² of the raters; None where regions are those of a consensus.

    Raises:
        ValueError: not a symmetric matrix without negative eigenvalues for each landmark.
    """
    if "rater_covariance_mm2" not in regions:
        return None
    found = np.asarray(regions["rater_covariance_mm2"], dtype=np.float64)
    if found.ndim != 3 or found.shape[0] != count or found.shape[1] != found.shape[2] or not np.isfinite(found).all():
        raise ValueError("rater_covariance_mm2 has no matrix for each landmark")
    if not np.allclose(found, found.transpose(0, 2, 1)) or (np.linalg.eigvalsh(found) < -1e-9).any():
        raise ValueError("rater_covariance_mm2 has a matrix that is no covariance")
    return found


def calibrated_shape(path: str | Path, landmarks: str | Path, wanted: bool = True) -> ShapeModel | None:
    """The shape model of a calibration, if it is wanted.

    Args:
        path: ``models/calibration.json``.
        landmarks: ``configs/landmarks.json``.
        wanted: whether it is asked for; None is the answer if not.

    Raises:
        ValueError: it is asked for, and there is none.
    """
    if not wanted:
        return None
    calibration = read_calibration(path, read_landmark_names(landmarks))
    if calibration is None or calibration.shape is None:
        raise ValueError(f"{path}: has no shape of the training cases; run `auto_config calibrate` on the bundle first")
    return calibration.shape


def shape_document(model: ShapeModel) -> dict[str, Any]:
    """A shape as JSON, null for what no training case says."""
    numbers = {"mean": model.known_mean().tolist(), "spread": model.known_spread().tolist()}
    return {"cases": model.cases.tolist(), **{key: _without_nan(value) for key, value in numbers.items()}}


def _without_nan(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_nan(one) for one in value]
    return value if math.isfinite(value) else None


def _shape(document: dict[str, Any] | None) -> ShapeModel | None:
    """Read what `shape_document` wrote."""
    if document is None:
        return None
    mean = np.array(document["mean"], dtype=np.float64)
    model = ShapeModel(*mean.shape)
    model.mean.copy_(torch.from_numpy(np.nan_to_num(mean)))
    model.spread.copy_(torch.from_numpy(np.nan_to_num(np.array(document["spread"], dtype=np.float64))))
    model.cases.copy_(torch.tensor(document["cases"]))
    return model
