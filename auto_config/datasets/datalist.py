"""A MONAI datalist: JSON with ``training``, ``validation`` and ``test`` lists of ``{"image", "label"}`` items.

A label is an inline mapping in RAS mm (``{"AC": [x, y, z], "PC": "absent"}``) or the path of a landmark file.
Paths are relative to the folder of the JSON file, or to its ``dataset_dir``. Items may have ``fold``, ``case`` and
``group``. Items under ``validation`` are fold 0: they are the ones that training is judged on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from auto_config.bundle_scripts.landmark_files import LANDMARK_SUFFIXES, read_landmark_file, read_text
from auto_config.bundle_scripts.landmarks import LandmarkFileError, LandmarkSet
from auto_config.datasets.entries import Entry, Reading, absolute
from auto_config.datasets.images import image_stem
from auto_config.datasets.model import Problem
from auto_config.errors import UserError

_SPLITS = {"training": "training", "validation": "training", "test": "test", "testing": "test"}
_VALIDATION_FOLD = 0


def is_datalist(path: Path) -> bool:
    """Whether a JSON file has a list of training items."""
    try:
        document = json.loads(read_text(path))
    except (ValueError, UserError):
        return False
    return isinstance(document, dict) and isinstance(document.get("training"), list)


def read_datalist(source: Path) -> Reading:
    """Read a datalist.

    Args:
        source: The JSON file.

    Raises:
        UserError: The file is not a datalist.
    """
    try:
        document = json.loads(read_text(source))
    except json.JSONDecodeError as error:
        raise UserError(f"{source}: is not valid JSON (line {error.lineno}: {error.msg}); correct it") from error
    except LandmarkFileError as error:
        raise UserError(str(error)) from error
    if not isinstance(document, dict) or not isinstance(document.get("training"), list):
        raise UserError(f"{source}: is not a MONAI datalist; it needs a list 'training' of image and label items")
    root = source.parent / str(document.get("dataset_dir", ""))
    names = document.get("landmarks")
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise UserError(f"{source}: 'landmarks' must be a list of names, got {names!r}; correct it or leave it out")

    reading = Reading([], [], None if names is None else tuple(names))
    for section, split in _SPLITS.items():
        for number, item in enumerate(document.get(section) or [], start=1):
            where = f"{source}: {section} item {number}"
            try:
                entry = _entry(item, root, split, where, is_validation=section == "validation")
            except (LandmarkFileError, UserError) as error:
                reading.problems.append(Problem("error", str(error)))
                continue
            if entry.landmarks is None:
                message = f"{where}: has no label; add it, until then the case is left out"
                reading.problems.append(Problem("warning", message, entry.name))
                continue
            reading.entries.append(entry)
    return reading


def _entry(item: object, root: Path, split: str, where: str, *, is_validation: bool) -> Entry:
    if isinstance(item, str):
        item = {"image": item}
    if not isinstance(item, Mapping) or "image" not in item:
        raise UserError(f"{where}: has no 'image'; give the path of the image")
    images = item["image"] if isinstance(item["image"], list) else [item["image"]]
    if not images or not all(isinstance(path, str) for path in images):
        raise UserError(f"{where}: 'image' is {item['image']!r}; give a path, or a list with one path for each channel")
    paths = tuple(absolute(root / path) for path in images)
    for path in paths:
        if not path.is_file():
            raise UserError(f"{where}: image {path} not found; correct the path, it is relative to {root}")
    fold = item.get("fold", _VALIDATION_FOLD if is_validation else None)
    if fold is not None and (isinstance(fold, bool) or not isinstance(fold, int) or fold < 0):
        raise UserError(f"{where}: 'fold' is {fold!r}; give a number from 0 on, or leave it out")
    group = item.get("group")
    landmarks, label = _landmarks(item.get("label"), root, where)
    return Entry(
        name=str(item.get("case") or image_stem(paths[0])),
        image=paths,
        landmarks=landmarks,
        label=label,
        split=split,
        fold=fold,
        group=None if group is None else str(group),
    )


def _landmarks(label: Any, root: Path, where: str) -> tuple[LandmarkSet | None, str]:
    if label is None:
        return None, where
    if isinstance(label, Mapping):
        return LandmarkSet.from_inline(label, spatial_dims=3, where=where), where
    if not isinstance(label, str) or not label.lower().endswith(LANDMARK_SUFFIXES):
        raise UserError(
            f"{where}: label {label!r} is not landmarks; give a mapping of names to points, or the path of a file that "
            f"ends in {', '.join(LANDMARK_SUFFIXES)}"
        )
    return read_landmark_file(root / label), str(root / label)
