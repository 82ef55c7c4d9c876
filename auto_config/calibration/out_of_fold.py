"""Predictions of the validation cases of a fold by the network that did not see them: ``out_of_fold.json``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import track
from scipy.ndimage import map_coordinates

from auto_config.bundle.opened import OpenBundle, open_bundle, weights_of_fold
from auto_config.bundle_scripts.files.text import atomic_write_text
from auto_config.bundle_scripts.grid.grids import embed_affine, world_to_voxel
from auto_config.bundle_scripts.inference.extent import Extent
from auto_config.bundle_scripts.inference.verdict.image import image_numbers
from auto_config.bundle_scripts.points.instances import read_instances
from auto_config.bundle_scripts.points.landmarks import PRESENT, UNKNOWN, LandmarkSet
from auto_config.bundle_scripts.points.peaks import unpack_peaks
from auto_config.calibration.matched import matched
from auto_config.calibration.searching import as_they_lie
from auto_config.errors import UserError
from auto_config.prediction.densities import densities

FILE_NAME = "out_of_fold.json"
DATALIST = "data/datalist.json"
LANDMARKS = "configs/landmarks.json"

_JUDGED = ("disagreement", "mirror_disagreement", "shape_distance", "replaced")
_FRAME = ("affine", "shape")
_NUMBERS = ("points", "confidence", "covariance", *_JUDGED, "truth", "density")


@dataclass(frozen=True)
class OutOfFold:
    """Predictions and truth of N cases and L landmarks.

    Each prediction has R rows, one for each landmark and further ones where there may be many of it. The truth of a row
    is that of the point that `matched` gives it.

    Args:
        cases: (N,) names.
        folds: (N,) fold in whose validation cases each is; empty for other cases, which all networks in use predicted.
        points: (N, R, D) predicted, world mm.
        confidence: (N, R) sigmoid of the peak.
        covariance: (N, R, D, D) of the heatmap, mm².
        disagreement: (N, R) mm of the views, NaN where there is one.
        mirror_disagreement: (N, R) mm of the mirror images, NaN without flips.
        shape_distance: (N, R) mm, NaN where not judged.
        replaced: (N, R) 1 where the shape took the place of the coarse point.
        truth: (N, R, D) world mm, NaN where not present.
        density: (N, R) the heatmap, as a probability for each voxel, at the true point; 0 outside of what was looked
            at, NaN where there is no true point.
        status: (N, R) of the truth.
        groups: (N,) group of each case, such as its patient, None where it has none; empty where no case has one.
        missed: (N, L) number of true points that no row is matched with; empty where every landmark is there once.
        affine: (N, D + 1, D + 1) voxel to world mm of the image files; empty in files of earlier versions.
        shape: (N, D) their voxels.
        images: (N, I) numbers of each image, see `ImageNumbers.pack`; empty where earlier versions predicted.
    """

    cases: tuple[str, ...]
    folds: tuple[int, ...]
    points: np.ndarray
    confidence: np.ndarray
    covariance: np.ndarray
    disagreement: np.ndarray
    mirror_disagreement: np.ndarray
    shape_distance: np.ndarray
    replaced: np.ndarray
    truth: np.ndarray
    density: np.ndarray
    status: np.ndarray
    groups: tuple[str | None, ...] = ()
    missed: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), dtype=int))
    affine: np.ndarray = field(default_factory=lambda: np.zeros((0, 0, 0)))
    shape: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), dtype=int))

    @property
    def extents(self) -> list[Extent | None]:
        """(N,) the box of each image in the world; None where it is not known."""
        if len(self.shape) != len(self.cases):
            return [None] * len(self.cases)
        return [Extent(affine, shape) for affine, shape in zip(self.affine, self.shape, strict=True)]

    images: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))

    @property
    def present(self) -> np.ndarray:
        """(N, R) 1 present, 0 absent, NaN unknown."""
        return np.where(self.status == UNKNOWN, np.nan, (self.status == PRESENT).astype(float))

    @property
    def all_groups(self) -> tuple[str | None, ...]:
        """(N,) `groups`, also where it is empty."""
        return self.groups or (None,) * len(self.cases)

    @property
    def all_missed(self) -> np.ndarray:
        """(N, L) `missed`, also where it is empty; every landmark has one row then."""
        return self.missed if self.missed.size else np.zeros(self.status.shape, dtype=int)

    @property
    def units(self) -> np.ndarray:
        """(N,) a number for each case, the same for all cases of one group."""
        keys = [("case", i) if group is None else ("group", group) for i, group in enumerate(self.all_groups)]
        numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
        return np.array([numbers[key] for key in keys], dtype=int)


def joined(parts: Sequence[OutOfFold]) -> OutOfFold:
    """The predictions of several folds as one."""
    arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in (*_NUMBERS, "status")}
    return OutOfFold(
        cases=tuple(case for part in parts for case in part.cases),
        folds=tuple(fold for part in parts for fold in part.folds),
        groups=tuple(group for part in parts for group in part.all_groups),
        missed=np.concatenate([part.all_missed for part in parts]),
        **_frames(parts),
        images=_joined_images([part.images for part in parts]),
        **arrays,
    )


def _frames(parts: Sequence[OutOfFold]) -> dict[str, np.ndarray]:
    """The frames of all images; nothing where one part has none."""
    if any(len(part.shape) != len(part.cases) for part in parts):
        return {}
    return {name: np.concatenate([getattr(part, name) for part in parts]) for name in _FRAME}


def _joined_images(parts: Sequence[np.ndarray]) -> np.ndarray:
    """The numbers of the images of all parts, empty where one has none."""
    return np.concatenate(parts) if all(part.size for part in parts) else np.zeros((0, 0))


def listed_cases(bundle: Path, fold: int | None) -> list[dict[str, Any]]:
    """Items with landmarks of the bundle's data list, with absolute paths of their images.

    Args:
        bundle: Folder of the bundle.
        fold: Validation cases of this fold, or the test cases if None.

    Raises:
        UserError: no data list, one that cannot be read, or images that are not there.
    """
    root = _datalist(bundle)[1]
    found = []
    for item in _items(bundle, fold):
        files = [item["image"]] if isinstance(item["image"], str) else item["image"]
        images = [root / file for file in files]
        for image in images:
            if not image.exists():
                raise UserError(f"{image}: is not there; calibrate where the images of {bundle}/{DATALIST} are")
        found.append({**item, "image": images})
    return found


def _items(bundle: Path, fold: int | None) -> list[dict[str, Any]]:
    """Items with landmarks: validation cases of a fold, or the test cases."""
    document = _datalist(bundle)[0]
    items = document.get("test", []) if fold is None else document["training"]
    return [item for item in items if (fold is None or item.get("fold") == fold) and item.get("label")]


def group_of(item: Mapping[str, Any]) -> str | None:
    """The group of an item of a data list, None where it has none."""
    return None if item.get("group") is None else str(item["group"])


def is_of_these_labels(found: OutOfFold, bundle: Path, fold: int, names: Sequence[str]) -> bool:
    """Whether kept predictions are of the validation cases of a fold as the data list has them now."""
    items = _items(bundle, fold)
    if list(found.cases) != [str(item["case"]) for item in items]:
        return False
    if list(found.all_groups) != [group_of(item) for item in items]:
        return False
    instances = read_instances(bundle / LANDMARKS)
    if found.status.shape[1] != len(instances.channels):
        return False
    sets = [LandmarkSet.from_inline(item["label"], names, spatial_dims=found.truth.shape[-1]) for item in items]
    kept = zip(found.points, found.confidence, sets, strict=True)
    true = [matched(points, confidence, label, instances) for points, confidence, label in kept]
    return (
        np.array_equal(found.status, np.array([one.status for one in true]))
        and np.array_equal(found.all_missed, np.array([one.missed for one in true]))
        # Eight digits are kept.
        and np.allclose(found.truth, np.array([one.truth for one in true]), rtol=1e-6, equal_nan=True)
    )


def training_points(bundle: Path, names: Sequence[str], spatial_dims: int, without: int | None = None) -> np.ndarray:
    """Points (N, L, D) of all training cases, world mm, NaN where a landmark is not present; or those of other folds.

    Args:
        bundle: Folder of the bundle.
        names: Landmarks in channel order.
        spatial_dims: D.
        without: The fold whose cases are left out.
    """
    items = [one for one in _datalist(bundle)[0]["training"] if without is None or one.get("fold") != without]
    labels = [item.get("label") or {} for item in items]
    sets = [LandmarkSet.from_inline(label, names, spatial_dims=spatial_dims) for label in labels]
    return np.array([one.points for one in sets]).reshape(-1, len(names), spatial_dims)


def training_groups(bundle: Path) -> set[str]:
    """Groups, such as patients, of the training cases; none where the cases have none."""
    groups = (group_of(item) for item in _datalist(bundle)[0]["training"])
    return {group for group in groups if group is not None}


def _datalist(bundle: Path) -> tuple[dict[str, Any], Path]:
    """The bundle's data list, and the folder of its images."""
    path = bundle / DATALIST
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return document, Path(document["dataset_dir"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(
            f"{path}: cannot be read ({reason}); calibrate where the bundle was trained, or on other cases with --data"
        ) from error


def predict_fold(bundle: Path, fold: int, *, device: str | None = None) -> OutOfFold | None:
    """Predict the validation cases of a fold with the weights of that fold; None where it has no such cases.

    Args:
        bundle: Folder of the bundle.
        fold: Number of the fold.
        device: Such as ``cpu``; None for the bundle's own choice.

    Raises:
        UserError: wrong bundle, weights, data list or image.
    """
    items = listed_cases(bundle, fold)
    if not items:
        return None
    opened = as_they_lie(open_bundle(bundle, device=device, weights=weights_of_fold(bundle, fold)))
    rows = [predict_case(opened, item)[0] for item in track(items, description=f"fold {fold}", transient=True)]
    return stacked(items, rows, fold)


def stacked(items: Sequence[dict[str, Any]], rows: Sequence[dict[str, np.ndarray]], fold: int | None) -> OutOfFold:
    """What `predict_case` gave for each of some cases, of one fold or, if None, of none, as one."""
    return OutOfFold(
        cases=tuple(str(item["case"]) for item in items),
        folds=() if fold is None else (fold,) * len(items),
        groups=tuple(group_of(item) for item in items),
        **{name: np.stack([row[name] for row in rows]) for name in rows[0]},
    )


def predict_case(opened: OpenBundle, item: dict[str, Any]) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
    """Predict a case of `listed_cases`, and match what is found with what is true.

    Returns:
        The fields of `OutOfFold` for this case, and the heatmaps (L, *size) of `densities`, or None. Where an image may
        have any number of a landmark, its heatmap shows all of them, so no true point has a density in it.
    """
    label = LandmarkSet.from_inline(item["label"], opened.names, spatial_dims=opened.spatial_dims)
    return predict_image(opened, opened.preprocess(item["image"]), label)


def predict_image(
    opened: OpenBundle, data: Mapping[str, Any], label: LandmarkSet
) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
    """Predict what `OpenBundle.preprocess` gave, and match it with the landmarks of that image; see `predict_case`."""
    found = opened.heatmaps(data)
    to_world = next(step for step in opened.postprocessing.transforms if type(step).__name__ == "PeaksToWorldd")
    peaks = unpack_peaks(to_world({"pred": found.peaks.pack(), "image": data["image"]})["pred"])
    instances = read_instances(opened.root / LANDMARKS)
    numbers = {name: getattr(peaks, name).double().numpy() for name in ("points", "confidence", "covariance", *_JUDGED)}
    true = matched(numbers["points"], numbers["confidence"], label, instances)
    affine = embed_affine(data["image"].affine, opened.spatial_dims)
    density = densities(opened, found, instances, np.linalg.norm(affine[:-1, :-1], axis=0))
    at_truth = np.full(len(true.truth), np.nan)
    # The truth in planned voxels, then in those of each heatmap.
    local = found.local(world_to_voxel(affine, true.truth[: len(opened.names)]))
    inside = np.isfinite(local).all(axis=1) & ~np.array(instances.many)
    if density is not None:
        for channel in np.flatnonzero(inside):
            at_truth[channel] = map_coordinates(density[channel], local[channel][:, None], order=1, cval=0.0)[0]
    row = {**numbers, "truth": true.truth, "density": at_truth, "status": true.status, "missed": true.missed}
    extent = Extent.of(data["image"], opened.spatial_dims)
    row |= {"affine": extent.affine, "shape": extent.shape}
    return {**row, "images": image_numbers(data["image"], opened.spatial_dims).pack()}, density


def fingerprint_of(weights: Path) -> str:
    """What tells weights from any others: the hash of their tensors."""
    state = torch.load(weights, map_location="cpu", weights_only=True)
    content = hashlib.sha256()
    for name in sorted(state):
        content.update(name.encode())
        content.update(state[name].contiguous().numpy().tobytes())
    return content.hexdigest()


def write_out_of_fold(path: Path, found: OutOfFold, names: Sequence[str], weights: str) -> None:
    """Write ``out_of_fold.json``, atomically.

    Args:
        path: The file.
        found: Predictions of one fold.
        names: Landmarks in channel order.
        weights: What `provenance.prediction_digest` says of the weights that predicted, and of all else.
    """
    document: dict[str, Any] = {"weights": weights, "landmarks": list(names), "cases": {}}
    for i, case in enumerate(found.cases):
        numbers = {name: _listed(getattr(found, name)[i]) for name in _NUMBERS}
        document["cases"][case] = {
            "fold": found.folds[i],
            "group": found.all_groups[i],
            "status": found.status[i].tolist(),
            **numbers,
            **({"missed": found.missed[i].tolist()} if found.missed.any() else {}),
            **({name: getattr(found, name)[i].tolist() for name in _FRAME} if len(found.shape) else {}),
            **({"image": _listed(found.images[i])} if found.images.size else {}),
        }
    atomic_write_text(path, json.dumps(document, allow_nan=False) + "\n")


def read_out_of_fold(path: Path, names: Sequence[str], weights: str) -> OutOfFold | None:
    """Read ``out_of_fold.json``; None where there is none, or one of other weights or landmarks."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["weights"] != weights or document["landmarks"] != list(names):
            return None
        rows = document["cases"]
        nothing = [0] * len(names)
        return OutOfFold(
            cases=tuple(rows),
            folds=tuple(int(row["fold"]) for row in rows.values()),
            groups=tuple(row["group"] for row in rows.values()),
            status=np.array([row["status"] for row in rows.values()], dtype=int),
            missed=np.array([row.get("missed", nothing) for row in rows.values()], dtype=int),
            images=_joined_images([np.array([row.get("image", [])], dtype=np.float64) for row in rows.values()]),
            **{name: np.array([row[name] for row in rows.values()], dtype=np.float64) for name in _NUMBERS},
            **_read_frames(rows.values()),
        )
    except (OSError, KeyError, TypeError, ValueError, AttributeError):
        return None  # predicted again


def _read_frames(rows: Collection[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """The frames of images, which earlier versions did not keep."""
    if not all(name in row for row in rows for name in _FRAME):
        return {}
    return {
        "affine": np.array([row["affine"] for row in rows], dtype=np.float64),
        "shape": np.array([row["shape"] for row in rows], dtype=int),
    }


def _listed(values: np.ndarray) -> Any:
    """Nested lists with eight significant digits and null for what is not a number; numpy reads null back as NaN."""
    if values.ndim:
        return [_listed(value) for value in values]
    return float(f"{values:.8g}") if np.isfinite(values) else None
