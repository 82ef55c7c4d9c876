"""Landmark files whose name is not that of their image, where only one image can be meant.

Slicer's Save writes ``CASE/ct.nii.gz`` with ``CASE/F.mrk.json``: in a folder with one image and one landmark file they
belong together. ``CASE_landmarks.mrk.json`` belongs to ``CASE.nii.gz``. Everything else is refused, with names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from auto_config.datasets.formats.shared.entries import case_name
from auto_config.datasets.model.dataset import Problem

_SUFFIX = re.compile(r"[-_. ](landmarks?|points?|markups?|fiducials?|fids?|annotations?|keypoints?)", re.IGNORECASE)


def matched_labels(
    labels: Mapping[str, Path], images: Mapping[str, Path], unmeant: frozenset[str] = frozenset()
) -> tuple[dict[str, Path], list[Problem]]:
    """Landmark files under the key of their image, also where the two have different names.

    Args:
        labels: Landmark files by `case_key`.
        images: Images by `case_key`.
        unmeant: Keys of files that are no landmark files, or whose image is known otherwise.

    Returns:
        The files; those that fit no image keep their own key. Errors name files of which none can be chosen.
    """
    found = {key: path for key, path in labels.items() if key in images or key in unmeant}
    left = {key: path for key, path in labels.items() if key not in found}
    wanted: dict[str, list[str]] = {}
    for key in left:
        stem = _without_suffix(key)
        if stem is not None and stem in images and stem not in found:
            wanted.setdefault(stem, []).append(key)
    problems = [_several_files(image, [left[key] for key in keys]) for image, keys in wanted.items() if len(keys) > 1]
    found |= {image: left.pop(keys[0]) for image, keys in wanted.items() if len(keys) == 1}
    said = {key for keys in wanted.values() if len(keys) > 1 for key in keys}
    images_in, stems = _by_folder(list(images)), {PurePosixPath(key).name for key in images}
    for folder, keys in _by_folder([key for key in left if key not in said]).items():
        own = images_in.get(folder, [])
        free = [key for key in own if key not in found and key not in wanted]
        if len(keys) == 1 and PurePosixPath(keys[0]).name in stems:
            continue  # CASE/t2.mrk.json where only CASE/t1.nii.gz is there: the image is lacking
        if not own or free != own:
            continue  # a folder of cases, most of which are matched by name: the image of this file is lacking
        if len(own) == 1 and len(keys) == 1:
            found[free[0]] = left.pop(keys[0])
        elif len(own) == 1:
            problems.append(_several_files(free[0], [left[key] for key in keys]))
            said.update(keys)
        elif len(keys) == 1:
            listed = " or ".join(images[key].name for key in own[:5])
            message = f"{left[keys[0]]}: may belong to {listed}; rename it as its image is called"
            problems.append(Problem("error", message, case_name(folder)))
            said.update(keys)
    return found | {key: path for key, path in left.items() if key not in said}, problems


def _without_suffix(key: str) -> str | None:
    """The key of the image of ``CASE_landmarks``."""
    suffix = next((part for part in _SUFFIX.finditer(key) if part.end() == len(key)), None)
    return None if suffix is None else key[: suffix.start()]


def _by_folder(keys: list[str]) -> dict[str, list[str]]:
    """Keys by their folder; those in no folder of their own left out."""
    folders: dict[str, list[str]] = {}
    for key in keys:
        if (folder := str(PurePosixPath(key).parent)) != ".":
            folders.setdefault(folder, []).append(key)
    return folders


def _several_files(image: str, files: list[Path]) -> Problem:
    listed = " and ".join(path.name for path in files[:5]) + (", ..." if len(files) > 5 else "")
    name = PurePosixPath(image).name
    message = f"{files[0].parent}: {listed} may all be the landmarks of {name!r}; join them in one file, or keep one"
    return Problem("error", message, case_name(image))
