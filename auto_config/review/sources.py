"""Cohorts from data sets, bundles and folders of predictions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from auto_config.bundle.opened import weights_of_fold
from auto_config.bundle_scripts.points.landmarks import LandmarkSet
from auto_config.calibration.provenance import prediction_digest
from auto_config.datasets import Dataset
from auto_config.datasets.images import read_header
from auto_config.errors import UserError
from auto_config.evaluation.predictions import read_predictions
from auto_config.fingerprint.symmetry import find_symmetry
from auto_config.review.cohort import Basis, Cohort, present_in

DATALIST = "data/datalist.json"
LANDMARKS = "configs/landmarks.json"
OUT_OF_FOLD = "out_of_fold.json"


def dataset_cohort(dataset: Dataset) -> Cohort:
    """The labelled cases of a data set, without predictions; only landmarks that an image has just once."""
    loose = {*dataset.properties.many, *(name for pair in dataset.properties.exchangeable for name in pair)}
    names = tuple(name for name in dataset.names if name not in loose)
    labelled = [case for case in dataset.cases if case.landmarks is not None]
    images = {case.name: case.image for case in labelled}
    sets = {case.name: case.landmarks.ordered(names) for case in labelled if case.landmarks is not None}
    return make_cohort(
        names, sets, images, dataset.spatial_dims, declared_pairs=dataset.properties.pairs, unit=dataset.unit
    )


def make_cohort(
    names: tuple[str, ...],
    sets: Mapping[str, LandmarkSet],
    images: Mapping[str, Sequence[Path]],
    spatial_dims: int,
    *,
    declared_pairs: Sequence[tuple[str, str]] | None,
    unit: str = "mm",
) -> Cohort:
    """A cohort without predictions.

    Args:
        names: (L,) landmarks.
        sets: labels of each case, in the order of ``names``.
        images: files of each case; those that cannot be read are not known.
        spatial_dims: 2 or 3.
        declared_pairs: left and right names; None where nothing is declared.
        unit: ``"mm"`` or ``"px"``.
    """
    shape = (len(sets), len(names))
    labels = np.array([one.points for one in sets.values()]).reshape(*shape, spatial_dims)
    status = np.array([one.status for one in sets.values()], dtype=int).reshape(shape)
    labels = present_in(labels, status)
    frames = [_frame(images[case], spatial_dims) for case in sets]
    nothing_seen: Basis = "points"
    basis = (nothing_seen,) * shape[0]
    pairs = None
    if declared_pairs is not None:
        pairs = [pair for pair in declared_pairs if set(pair) <= set(names)]
    return Cohort(
        cases=tuple(sets),
        names=names,
        labels=labels,
        status=status,
        predicted=np.full_like(labels, np.nan),
        confidence=np.full(shape, np.nan),
        basis=basis,
        affines=tuple(affine for affine, _ in frames),
        shapes=tuple(voxels for _, voxels in frames),
        pairs=find_symmetry(names, labels, pairs).pairs,
        unit=unit,
    )


def _frame(image: Sequence[Path], spatial_dims: int) -> tuple[np.ndarray | None, tuple[int, ...] | None]:
    try:
        header = read_header(list(image))
    except (UserError, OSError):
        return None, None
    return (header.affine, tuple(header.shape)) if len(header.shape) == spatial_dims else (None, None)


def bundle_cohort(bundle: Path) -> tuple[Cohort, dict[str, tuple[Path, ...]], list[str]]:
    """The training cases of a bundle with the kept predictions of unseen cases, their images, and notes.

    Raises:
        UserError: no bundle, no data list, or no landmark that can be judged.
    """
    document = _json(bundle / DATALIST, "review where the bundle was created")
    described = _json(bundle / LANDMARKS, "give a folder that `auto_config create` wrote")
    try:
        items = described["landmarks"]
        dims, unit = int(described["spatial_dims"]), str(described.get("unit", "mm"))
        root = Path(document["dataset_dir"])
        training = [item for item in document["training"] if item.get("label")]
        every = tuple(str(item["name"]) for item in items)
        loose = {str(item["name"]) for item in items if item.get("instances") == "many" or item.get("exchangeable")}
        names = tuple(name for name in every if name not in loose)
        pairs = [(str(item["name"]), str(item["pair"])) for item in items if item.get("pair")]
        sets = {
            str(item["case"]): LandmarkSet.from_inline(item["label"], every, spatial_dims=dims).ordered(names)
            for item in training
        }
        images = {str(item["case"]): tuple(root / path for path in _listed(item["image"])) for item in training}
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{bundle}/{DATALIST}: cannot be used ({error}); create the bundle again") from error
    notes = []
    if loose:
        notes.append(
            f"not judged, because an image has several of them or two may change places: {', '.join(sorted(loose))}"
        )
    if not names:
        raise UserError(f"{bundle}: has no landmark that an image has just once, and only these can be reviewed")
    if not sets:
        raise UserError(f"{bundle}/{DATALIST}: has no labelled training case; nothing can be reviewed")
    once = sorted({tuple(sorted(pair)) for pair in pairs})
    cohort = make_cohort(
        names, sets, images, dims, declared_pairs=[(one, other) for one, other in once] or None, unit=unit
    )
    judged, stale = with_bundle_predictions(cohort, bundle)
    notes += [
        f"{path}: is of other weights, and counts for nothing; run `auto_config calibrate` first" for path in stale
    ]
    return judged, images, notes


def _listed(image: Any) -> list[str]:
    return [image] if isinstance(image, str) else [str(path) for path in image]


def with_bundle_predictions(cohort: Cohort, bundle: Path) -> tuple[Cohort, list[Path]]:
    """The cohort with the predictions that a calibration kept of unseen cases: ``models/fold_*/out_of_fold.json``.

    A prediction is that of a case of the same name. A file that cannot be read is as none: calibrate again.

    Returns:
        The cohort, and the files that do not count, because the weights are others now.
    """
    stale = []
    for path in sorted((bundle / "models").glob(f"fold_*/{OUT_OF_FOLD}")):
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            weights = weights_of_fold(bundle, int(path.parent.name.removeprefix("fold_")))
            if document["weights"] != prediction_digest(bundle, weights):
                stale.append(path)
                continue
            names = [str(name) for name in document["landmarks"]]
            found = {
                str(case): (
                    np.array(row["points"], dtype=np.float64)[: len(names)],
                    np.array(row["confidence"], dtype=np.float64)[: len(names)],
                )
                for case, row in document["cases"].items()
            }
        except (UserError, OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
        cohort = _predicted(cohort, names, found, dict.fromkeys(found, "unseen"))
    return cohort, stale


def with_predictions(cohort: Cohort, folder: Path) -> Cohort:
    """The cohort with what `predict` wrote; training cases of the bundle count as seen. Kept unseen ones stay.

    Raises:
        UserError: no predictions, or of none of these cases.
    """
    predictions = read_predictions(folder)
    found = {case: (predictions.points[row], predictions.confidence[row]) for row, case in enumerate(predictions.cases)}
    if not set(found) & set(cohort.cases):
        raise UserError(
            f"{folder}: predicts none of the cases of the labels (such as '{cohort.cases[0]}'); predict their images"
        )
    seen = set(predictions.training_cases)
    basis: dict[str, Basis] = {case: "seen" if case in seen else "unseen" for case in found}
    kept = {case for case, one in zip(cohort.cases, cohort.basis, strict=True) if one == "unseen"}
    return _predicted(cohort, predictions.names, {c: v for c, v in found.items() if c not in kept}, basis)


def _predicted(
    cohort: Cohort,
    names: Sequence[str],
    found: Mapping[str, tuple[np.ndarray, np.ndarray]],
    basis: Mapping[str, Basis],
) -> Cohort:
    """The cohort with further predictions, by name of case and landmark."""
    predicted, confidence, bases = cohort.predicted.copy(), cohort.confidence.copy(), list(cohort.basis)
    columns = [(own, list(names).index(name)) for own, name in enumerate(cohort.names) if name in names]
    own, theirs = (list(one) for one in zip(*columns, strict=True)) if columns else ([], [])
    for row, case in enumerate(cohort.cases):
        if case in found and columns and found[case][0].shape[-1] == predicted.shape[-1]:
            points, sure = found[case]
            predicted[row, own], confidence[row, own] = points[theirs], sure[theirs]
            bases[row] = basis[case]
    return replace(cohort, predicted=predicted, confidence=confidence, basis=tuple(bases))


def _json(path: Path, remedy: str) -> Mapping[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); {remedy}") from error
    except ValueError as error:
        raise UserError(f"{path}: is not JSON ({error}); {remedy}") from error
    if not isinstance(document, dict):
        raise UserError(f"{path}: must be a JSON object; {remedy}")
    return document
