"""Unseen cases with seeded cuts of their fields of view: absent examples for presence where every case is complete.

A case is cut in the voxel axes of its file, as a scanner would have ended there, and goes through the preprocessing and
the inferer of a prediction. Landmarks outside are absent and that is known exactly. Only presence learns from cuts:
regions are promises about whole images.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from rich.progress import track

from auto_config.bundle.opened import OpenBundle, open_bundle, weights_of_fold
from auto_config.bundle_scripts.grid.grids import embed_affine, world_to_voxel
from auto_config.bundle_scripts.points.landmarks import ABSENT, PRESENT, LandmarkSet
from auto_config.bundle_scripts.training import field_of_view
from auto_config.bundle_scripts.training.field_of_view import Cut, draw_cut
from auto_config.calibration.out_of_fold import (
    OutOfFold,
    joined,
    listed_cases,
    predict_image,
    read_out_of_fold,
    stacked,
    write_out_of_fold,
)
from auto_config.calibration.provenance import prediction_digest
from auto_config.calibration.searching import as_they_lie
from auto_config.calibration.time_limit import TimeLimit
from auto_config.errors import UserError, one_line

FILE_NAME = "cut_out_of_fold.json"
"""Predictions of the cuts of a fold's validation cases, beside its weights."""

CUTS_OF_A_CASE = 3
MOST_CUTS = 60
"""Of all cases together: presence is one model of all landmarks, and has enough examples then."""
_DRAWS = 16
"""So many draws find a cut that takes a landmark, if there is one."""
_MARK = "#cut"


def cut_share(bundle: Path) -> float:
    """Share of the training samples of a bundle whose fields of view are cut; 0 for bundles of earlier versions.

    Raises:
        UserError: ``train.json`` cannot be read, or holds another kind of value.
    """
    path = bundle / "configs" / "train.json"
    if not path.is_file():
        return 0.0
    try:
        return float(json.loads(path.read_text(encoding="utf-8")).get("cut_share") or 0.0)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: 'cut_share' cannot be read ({error}); it is a number from 0 to 0.9") from error


def cut_fold(
    bundle: Path,
    fold: int,
    names: Sequence[str],
    *,
    cases: int,
    folds: int,
    limit: TimeLimit,
    share: float = 1.0,
    device: str | None = None,
) -> OutOfFold | None:
    """Predictions of the cut validation cases of a fold, from the file where it is of these weights and labels.

    Args:
        bundle: Folder of the bundle.
        fold: Number of the fold.
        names: Landmarks in channel order.
        cases: Validation cases of all folds in use.
        folds: Number of these folds, which share `MOST_CUTS`.
        limit: Of the time.
        share: Part of the time left that is for this fold.
        device: Such as ``cpu``; None for the bundle's own choice.

    Returns:
        None where the fold has no validation cases or no cut takes a landmark. Cases are called `cut_name`.

    Raises:
        UserError: wrong bundle, weights, data list or image.
    """
    items = listed_cases(bundle, fold)
    weights = weights_of_fold(bundle, fold)
    path = bundle / "models" / f"fold_{fold}" / FILE_NAME
    each, most = cuts_of_each(cases), -(-MOST_CUTS // folds)
    digest = _digest(prediction_digest(bundle, weights), items, [each, most])
    found = read_out_of_fold(path, names, digest)
    if found is None:
        opened = as_they_lie(open_bundle(bundle, device=device, weights=weights))
        omitted = limit.omitted
        found = predict_cuts(opened, items, fold, each=each, most=most, limit=limit, share=share)
        if found is not None and not (limit.brief and limit.omitted > omitted):
            write_out_of_fold(path, found, names, digest)
    return found


def cut_cases(
    bundle: Path, items: Sequence[dict[str, Any]], *, limit: TimeLimit, device: str | None = None
) -> OutOfFold | None:
    """Predictions of cuts of other cases by all networks in use; arguments as those of `predict_other_cases`.

    Returns:
        None where the bundle was not trained on cut fields of view, or no cut takes a landmark.
    """
    if not cut_share(bundle):
        return None
    opened = open_bundle(bundle, device=device)
    return predict_cuts(opened, items, None, each=cuts_of_each(len(items)), most=MOST_CUTS, limit=limit)


def cuts_of_each(cases: int) -> int:
    """Cuts of each case where there are so many cases: `MOST_CUTS` in all, at least one of each."""
    return max(1, min(CUTS_OF_A_CASE, MOST_CUTS // max(cases, 1)))


def predict_cuts(
    opened: OpenBundle,
    items: Sequence[dict[str, Any]],
    fold: int | None,
    *,
    each: int,
    most: int,
    limit: TimeLimit,
    share: float = 1.0,
) -> OutOfFold | None:
    """Predict seeded cuts of cases: the first one of every case, then the second ones, until the time is over.

    Args:
        opened: Bundle.
        items: As `predict_other_cases` has them.
        fold: Of the cases; None for other cases.
        each: Cuts of each case.
        most: Cuts of all.
        limit: Of the time.
        share: Part of the time left that is for these cases.

    Returns:
        None where no cut takes a landmark.

    Raises:
        UserError: an image cannot be predicted.
    """
    wanted = [(item, number) for number in range(each) for item in items][:most]
    rows, made = [], []
    tasks = limit.these(wanted, share)
    for item, number in track(tasks, description="cut fields of view", total=len(wanted), transient=True):
        try:
            row = _predicted(opened, item, number)
        except Exception as error:  # transforms raise whatever they like over an image that they cannot use
            raise UserError(f"{item['image'][0]}: its cut cannot be predicted ({one_line(error)})") from error
        if row is not None:
            rows.append(row)
            made.append({**item, "case": cut_name(str(item["case"]), number)})
    return stacked(made, rows, fold) if rows else None


def cut_name(case: str, number: int) -> str:
    """What the cut of a case is called."""
    return f"{case}{_MARK}{number}"


def cases_of(found: OutOfFold, cuts: OutOfFold | None) -> list[str]:
    """The case that each image of `with_cuts` is of."""
    return [*found.cases, *(case.rpartition(_MARK)[0] for case in (() if cuts is None else cuts.cases))]


def with_cuts(found: OutOfFold, cuts: OutOfFold | None) -> OutOfFold:
    """Whole cases and their cuts as one, in groups: a case and its cuts are judged together or not at all."""
    if cuts is None:
        return found
    both = joined([found, cuts])
    each = zip(cases_of(found, cuts), both.all_groups, strict=True)
    groups = tuple(f"case {case}" if group is None else f"group {group}" for case, group in each)
    return replace(both, groups=groups)


def cut_notes(found: OutOfFold, cuts: OutOfFold | None) -> list[str]:
    """What a calibration says of its absent examples, where some are cuts."""
    if cuts is None:
        return []
    own, lost = int((found.status == ABSENT).sum()), int((cuts.status == ABSENT).sum())
    return [
        f"presence: {lost} absent examples are cuts, landmarks outside of {len(cuts.cases)} seeded fields of view of "
        f"these cases, and {own} are of the labels"
        + ("" if own else "; what is missing within an image was never seen, and may be found all the same")
    ]


def cut_image(image: MetaTensor, cut: Cut) -> MetaTensor:
    """The box of an image ``(C, *size)`` as it comes from its file, with the meta data of a file that ends there."""
    affine = np.asarray(image.affine, dtype=np.float64) @ _embedded(cut.shift, len(image.affine))
    part = image.as_tensor()[(slice(None), *cut.slices)].clone()
    # An affine beside one of the meta data would make MONAI warn the person who calibrates.
    meta = {name: value for name, value in image.meta.items() if name != "affine"}
    out = MetaTensor(part, affine=torch.from_numpy(affine), meta=meta)
    original = np.asarray(image.meta["original_affine"], dtype=np.float64)
    out.meta["original_affine"] = original @ _embedded(cut.shift, len(original))
    out.meta["spatial_shape"] = np.asarray(part.shape[1:])
    return out


def cut_label(label: LandmarkSet, cut: Cut, affine: np.ndarray) -> LandmarkSet:
    """The landmarks of a cut image: those outside of the box are absent, unknown ones stay unknown.

    Args:
        label: of the whole image.
        cut: in voxels of its file.
        affine: ``(D+1, D+1)`` of the file.
    """
    lost = (label.status == PRESENT) & cut.outside(world_to_voxel(affine, label.points))
    points, status = np.array(label.points), np.where(lost, ABSENT, label.status)
    instances = {}
    for name, several in label.instances.items():
        kept = several[~cut.outside(world_to_voxel(affine, several))]
        channel = label.names.index(name)
        if label.status[channel] == PRESENT:
            status[channel] = PRESENT if len(kept) else ABSENT
        if len(kept):
            points[channel], instances[name] = kept[0], kept
    return LandmarkSet(label.names, points, status, instances=instances)


def seeded_cut(label: LandmarkSet, case: str, number: int, shape: Sequence[int], affine: np.ndarray) -> Cut | None:
    """The cut of a case with a number, which takes a landmark; None where none is found."""
    random = np.random.default_rng([zlib.crc32(case.encode()), number])
    own = [label.points[label.status == PRESENT], *label.instances.values()]
    voxels = world_to_voxel(affine, np.concatenate(own))
    for _ in range(_DRAWS):
        cut = draw_cut(random, np.asarray(shape), voxels)
        if cut.outside(voxels).any():
            return cut
    return None


def _predicted(opened: OpenBundle, item: dict[str, Any], number: int) -> dict[str, np.ndarray] | None:
    """The row of one cut; None where there is none, or where it shows air alone."""
    load, *following = opened.preprocessing.transforms
    files = [str(path) for path in item["image"]]
    data = load({"image": files[0] if len(files) == 1 else files})
    image = data["image"]
    affine = embed_affine(image.affine, opened.spatial_dims)
    label = LandmarkSet.from_inline(item["label"], opened.names, spatial_dims=opened.spatial_dims)
    cut = seeded_cut(label, str(item["case"]), number, image.shape[1:], affine)
    if cut is None:
        return None
    data["image"] = cut_image(image, cut)
    if bool((data["image"] == data["image"].flatten()[0]).all()):
        return None
    for transform in following:
        data = transform(data)
    return predict_image(opened, data, cut_label(label, cut, affine))[0]


def _embedded(matrix: np.ndarray, size: int) -> np.ndarray:
    """An affine of D axes as one of ``size`` rows: MONAI gives pictures four."""
    out = np.eye(size)
    dims = len(matrix) - 1
    out[:dims, :dims], out[:dims, -1] = matrix[:dims, :dims], matrix[:dims, -1]
    return out


def _digest(prediction: str, items: Sequence[dict[str, Any]], bounds: list[int]) -> str:
    """What decides kept predictions of cuts: those of whole images, the labels, and how cuts are drawn."""
    labels = [
        [str(item["case"]), [str(path) for path in item["image"]], item["label"], item.get("group")] for item in items
    ]
    content = hashlib.sha256(json.dumps([prediction, labels, bounds], sort_keys=True).encode())
    for code in (Path(__file__), Path(field_of_view.__file__)):
        content.update(hashlib.sha256(code.read_bytes()).digest())
    return content.hexdigest()
