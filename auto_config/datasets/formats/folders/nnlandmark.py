"""nnLandmark (nnU-Net) raw data sets: ``imagesTr``, ``labelsTr``, ``imagesTs``, ``dataset.json`` and points in JSON.

``all_landmarks_voxel.json`` has ``{CASE: {NAME: [x, y, z]}}`` in voxel indices of the image's array; a case or a
landmark that it lacks is looked for in the label map (the centre of a cube of 3 x 3 x 3 voxels). ``imagesTs`` are the
test cases; ``splits_final.json``, as nnU-Net keeps it beside the preprocessed data, gives the folds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from auto_config.bundle_scripts.points.landmarks import LandmarkSet
from auto_config.datasets.formats.shared.entries import Entry, Reading, absolute, natural_key
from auto_config.datasets.formats.shared.label_maps import (
    label_names,
    painted,
    read_label_map,
    stated_words,
    status_document,
    write_label_map,
)
from auto_config.datasets.formats.shared.options import ReadOptions, voxel_to_world, world_to_voxel
from auto_config.datasets.formats.shared.points import Value, json_point, landmark_set, rows_of
from auto_config.datasets.formats.shared.target import Target, all_points
from auto_config.datasets.images import Header, image_stem, image_suffix
from auto_config.datasets.json_files import read_json
from auto_config.datasets.model.dataset import Case, Problem
from auto_config.errors import UserError

DATASET_FILE = "dataset.json"
POINTS_FILE = "all_landmarks_voxel.json"
SPACING_FILE = "spacing.json"
SPLITS_FILE = "splits_final.json"
_PARTS = {"training": ("imagesTr", "labelsTr"), "test": ("imagesTs", "labelsTs")}
_CHANNEL = re.compile(r"(?P<case>.+)_(?P<channel>[0-9]{4})", re.DOTALL)


def is_nnlandmark(source: Path) -> bool:
    """Whether a folder is a raw data set; a Decathlon one, whose JSON lists its cases, is a datalist."""
    if not (source / "imagesTr").is_dir() or not (source / DATASET_FILE).is_file():
        return False
    try:
        document = read_json(source / DATASET_FILE)
    except UserError:
        return True
    return not (isinstance(document, dict) and isinstance(document.get("training"), list))


def read_nnlandmark(source: Path, options: ReadOptions) -> Reading:
    """Read a raw data set.

    Args:
        source: Its folder.
        options: How to read.

    Raises:
        UserError: One of its JSON files is missing or wrong.
    """
    if not (source / DATASET_FILE).is_file():
        raise UserError(f"{source}: has no {DATASET_FILE}; give the folder of an nnLandmark raw data set")
    dataset = _dataset(source / DATASET_FILE)
    names, stated = label_names(dataset, source / DATASET_FILE), stated_words(dataset, source / DATASET_FILE)
    points = _all_points(source / POINTS_FILE)
    folds = _folds(source / SPLITS_FILE)
    problems: list[Problem] = []
    images = {split: _images(source / folder, problems) for split, (folder, _) in _PARTS.items()}
    dims = options.spatial_dims([files[0] for found in images.values() for files in found.values()][:1])
    entries: list[Entry] = []
    for split, (_, label_folder) in _PARTS.items():
        label_maps = _label_maps(source / label_folder)
        for case, files in images[split].items():
            label = label_maps.get(case)
            where = f"{source / POINTS_FILE}: case {case!r}"
            try:
                landmarks = _landmarks(
                    points.get(case), label, files, names, stated.get(case, {}), dims, options, where
                )
            except UserError as error:
                problems.append(Problem("error", str(error), case))
                continue
            shown_label = where if case in points else str(label or source / label_folder)
            entries.append(
                Entry(case, tuple(map(absolute, files)), landmarks, shown_label, split=split, fold=folds.get(case))
            )
    known = {case for found in images.values() for case in found}
    for case in sorted(set(points) - known, key=natural_key):
        message = f"{source / POINTS_FILE}: case {case!r} has no image; add it, until then the case is left out"
        problems.append(Problem("warning", message, case))
    for file, what in ((SPLITS_FILE, folds), (DATASET_FILE, stated)):
        if unknown := sorted(set(what) - known, key=natural_key):
            message = f"{source / file}: names case {unknown[0]!r}, which has no image ({len(unknown)} such)"
            message += "; correct the name"
            problems.append(Problem("warning", message, unknown[0]))
    return Reading(entries, problems, tuple(names.values()), spatial_dims=dims)


def _dataset(path: Path) -> Any:
    document = read_json(path)
    if not isinstance(document, Mapping) or "labels" not in document:
        raise UserError(f"{path}: has no 'labels'; give a mapping of landmark names to values")
    return document


def _all_points(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    document = read_json(path)
    if not isinstance(document, dict) or not all(isinstance(value, dict) for value in document.values()):
        raise UserError(f"{path}: needs a mapping of cases to mappings of names to voxels; correct or remove it")
    return document


def _folds(path: Path) -> dict[str, int]:
    """Fold of each case by its place among the validation cases."""
    if not path.is_file():
        return {}
    document = read_json(path)
    if not isinstance(document, list) or not all(
        isinstance(part, Mapping) and isinstance(part.get("val"), list) for part in document
    ):
        raise UserError(f"{path}: needs a list of objects with lists 'train' and 'val'; correct or remove it")
    return {case: fold for fold, part in enumerate(document) for case in part["val"] if isinstance(case, str)}


def _images(folder: Path, problems: list[Problem]) -> dict[str, list[Path]]:
    """Images of each case in the order of channels."""
    found: dict[str, dict[int, Path]] = {}
    doubtful: set[str] = set()
    if not folder.is_dir():
        return {}
    for path in sorted(folder.iterdir(), key=lambda path: natural_key(path.name)):
        if path.name.startswith(".") or image_suffix(path) is None:
            continue
        match = _CHANNEL.fullmatch(image_stem(path))
        case, channel = (match["case"], int(match["channel"])) if match else (image_stem(path), -1)
        if found.setdefault(case, {}).setdefault(channel, path) != path:
            message = (
                f"{path}: channel {channel} of case {case!r} is also {found[case][channel].name}; keep one of them"
            )
            problems.append(Problem("error", message, case))
            doubtful.add(case)
    for case, channels in found.items():
        if list(channels) not in ([-1], list(range(len(channels)))) and case not in doubtful:
            message = (
                f"{folder}: images of case {case!r} are {', '.join(path.name for path in channels.values())}; number "
                "channels from _0000 on without gaps"
            )
            problems.append(Problem("error", message, case))
            doubtful.add(case)
    return {
        case: [channels[channel] for channel in sorted(channels)]
        for case, channels in found.items()
        if case not in doubtful
    }


def _label_maps(folder: Path) -> dict[str, Path]:
    """Label maps by case."""
    files = sorted(folder.iterdir(), reverse=True) if folder.is_dir() else []
    return {image_stem(path): path for path in files if image_suffix(path) and not path.name.startswith(".")}


def _landmarks(  # noqa: PLR0917 - all that a case is made of
    points: Mapping[str, Any] | None,
    label: Path | None,
    images: list[Path],
    names: Mapping[int, str],
    stated: Mapping[str, str],
    dims: int,
    options: ReadOptions,
    where: str,
) -> LandmarkSet | None:
    """Points of the JSON file, and those of the label map that it lacks; None where there is neither."""
    if points is None:
        return None if label is None else read_label_map(label, names, dims, options, stated)
    header = options.header(images) if points else None
    rows: list[tuple[str, Value]] = []
    for name, value in points.items():
        if name not in names.values():
            raise UserError(f"{where}: landmark {name!r} is not among the labels of {DATASET_FILE}; add or rename it")
        if value is None:
            rows.append((name, "unknown"))
            continue
        is_list = isinstance(value, list) and all(isinstance(item, list) for item in value)
        for item in value if is_list else [value]:
            voxel = json_point(item, dims, f"{where}: landmark {name!r}")
            assert header is not None
            rows.append((name, voxel_to_world(header, np.array([voxel]))[0].tolist()))
    missing = [name for name in names.values() if name not in points]
    if missing and label is not None:
        painted_set = read_label_map(label, names, dims, options)
        rows += [(name, value) for name, value in rows_of(painted_set) if name in missing]
    found = {name for name, _ in rows}
    rows += [(name, word) for name, word in stated.items() if name not in found and name in names.values()]
    order = {name: place for place, name in enumerate(names.values())}
    many = {*options.many, *(name for name, value in points.items() if isinstance(value, list) and _is_nested(value))}
    return landmark_set(sorted(rows, key=lambda row: order[row[0]]), spatial_dims=dims, many=many, where=where)


def _is_nested(value: list[Any]) -> bool:
    return all(isinstance(item, list) for item in value)


def write_nnlandmark(target: Target) -> None:
    """Write a raw data set that nnLandmark trains on.

    Raises:
        UserError: Images of several formats, or DICOM series, which nnLandmark does not read.
    """
    endings = {image_suffix(path) if path.is_file() else None for case in target.cases for path in case.image}
    ending = next(iter(endings), None)
    if ending is None or len(endings) > 1:
        listed = ", ".join(sorted(str(one or "folders") for one in endings))
        raise UserError(f"nnLandmark needs images of one format, these are {listed}; save all of them as .nii.gz")
    values = {name: number for number, name in enumerate(target.dataset.names, start=1)}
    points: dict[str, Any] = {}
    spacings: dict[str, Any] = {}
    status: dict[str, dict[str, str]] = {}
    unpainted: list[str] = []
    for case in target.cases:
        stem = target.stem(case)
        images, labels = _PARTS[case.split]
        header = target.header(case)
        for channel, path in enumerate(case.image):
            target.place(path, images, f"{stem}_{channel:04d}{ending}")
        array, outside, merged = painted(rows_of(target.landmarks(case)), values, header)
        suffix = ".nii.gz" if array.ndim == 3 else ".png"
        write_label_map(target.file(labels, stem + suffix), array, header)
        unpainted += [f"{case.name}: {name}" for name in outside + merged]
        points[stem] = _voxels(target.landmarks(case), header)
        if words := status_document(target.landmarks(case)):
            status[stem] = words
        spacings[stem] = {"image_spacing": list(header.spacing), "annotation_spacing": None}
    if unpainted:
        target.losses.append(
            f"{all_points(unpainted)} outside the image or in the voxel of another one are in "
            f"{POINTS_FILE} only, which nnLandmark does not train on"
        )
    training = [case for case in target.cases if case.split == "training"]
    channels = max((len(case.image) for case in target.cases), default=1)
    dataset = {
        "channel_names": {str(channel): f"channel_{channel}" for channel in range(channels)},
        "labels": {"background": 0, **values},
        "numTraining": len(training),
        "file_ending": ending,
        "status": status,  # for the way back; nnLandmark reads what it knows
    }
    target.write_json(dataset, DATASET_FILE)
    target.write_json(values, "name_to_label.json")
    target.write_json(points, POINTS_FILE)
    target.write_json(spacings, SPACING_FILE)
    _write_splits(target, training)


def _voxels(landmarks: LandmarkSet, header: Header) -> dict[str, Any]:
    """Voxel indices of the landmarks that are present, a list of them for one with instances."""
    found: dict[str, Any] = {}
    for name, value in landmarks.to_inline().items():
        if isinstance(value, str) or not value:
            continue
        voxels = world_to_voxel(header, np.array(value).reshape(-1, landmarks.spatial_dims)).tolist()
        found[name] = voxels if name in landmarks.instances else voxels[0]
    return found


def _write_splits(target: Target, training: list[Case]) -> None:
    """Write the folds as nnU-Net keeps them, where every training case has one."""
    folds = sorted({case.fold for case in training if case.fold is not None})
    if not folds or folds != list(range(len(folds))) or any(case.fold is None for case in training):
        return
    splits = [
        {
            "train": [target.stem(case) for case in training if case.fold != fold],
            "val": [target.stem(case) for case in training if case.fold == fold],
        }
        for fold in folds
    ]
    target.write_json(splits, SPLITS_FILE)
