"""Label maps with one value for each landmark: the centre of mass of its voxels is the point.

Names come from a JSON file: ``{"labels": {"AC": 1}}`` or ``{"labels": {"1": "AC"}}`` (nnU-Net, Decathlon), or such a
mapping alone; value 0 is background. Without names the values are the names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from PIL import Image as Pillow

from auto_config.bundle_scripts.points.landmarks import LandmarkSet, duplicate_names, name_problem
from auto_config.datasets.formats.shared.options import ReadOptions, voxel_to_world, world_to_voxel
from auto_config.datasets.formats.shared.points import Value, is_word, landmark_set, rows_of
from auto_config.datasets.images import Header, read_image
from auto_config.datasets.json_files import shown
from auto_config.errors import UserError

_LARGEST_VALUE = np.iinfo(np.uint16).max


def label_names(document: Any, source: Path) -> dict[int, str]:
    """Names by value from a JSON document with ``labels``, or that is such a mapping itself; background left out.

    Raises:
        UserError: It is no such mapping, a value occurs twice, or a name cannot be used.
    """
    labels = document.get("labels", document) if isinstance(document, Mapping) else document
    if not isinstance(labels, Mapping):
        raise UserError(f"{source}: 'labels' is {shown(labels)}; give a mapping of names to values, such as AC to 1")
    found: dict[int, str] = {}
    for key, value in labels.items():
        number, name = (key, value) if isinstance(value, str) else (value, key)
        text = str(number) if isinstance(number, str) or type(number) is int else ""
        if not (text.isascii() and text.isdecimal() and len(text) < len(str(_LARGEST_VALUE)) + 1):
            raise UserError(
                f"{source}: label {shown(key)} has the value {shown(value)}; give each name a whole number from 0 to "
                f"{_LARGEST_VALUE}"
            )
        if int(text) == 0:
            continue
        if problem := name_problem(name):
            raise UserError(f"{source}: {problem}")
        if int(text) in found:
            raise UserError(f"{source}: value {text} is given to {found[int(text)]!r} and {name!r}; keep one of them")
        found[int(text)] = name
    if repeated := duplicate_names(found.values()):
        raise UserError(f"{source}: landmark {repeated[0]!r} has two values; keep one of them")
    return dict(sorted(found.items()))


def stated_words(document: Any, source: Path) -> dict[str, dict[str, str]]:
    """Landmarks that are not in the label map of their case, from the key ``status`` of a JSON document.

    Returns:
        Case to name to ``absent`` or ``unknown``; empty where the document has no such key.

    Raises:
        UserError: The key has something else.
    """
    status = document.get("status") if isinstance(document, Mapping) else None
    if status is None:
        return {}
    if not isinstance(status, Mapping) or not all(
        isinstance(words, Mapping) and all(isinstance(word, str) and is_word(word) for word in words.values())
        for words in status.values()
    ):
        raise UserError(f"{source}: 'status' needs a mapping of cases to names with absent or unknown; correct it")
    return {case: dict(words) for case, words in status.items()}


def status_document(landmarks: LandmarkSet) -> dict[str, str]:
    """The landmarks that a label map has no voxel of, as `stated_words` reads them."""
    return {name: value for name, value in rows_of(landmarks) if isinstance(value, str)}


def read_label_map(
    path: Path,
    names: Mapping[int, str] | None,
    spatial_dims: int,
    options: ReadOptions,
    stated: Mapping[str, str] | None = None,
) -> LandmarkSet:
    """Read the points of a label map.

    Args:
        path: The image.
        names: Name of each value; None to call landmarks by their values.
        spatial_dims: Number D of coordinates.
        options: How to read; of a landmark that is `many`, each connected part is an instance.
        stated: Status words of landmarks that have no voxel.

    Returns:
        The landmarks whose values occur, in the order of the values, then those that are stated.

    Raises:
        UserError: The file cannot be read, has other values than whole numbers, or values without name.
    """
    from scipy import ndimage  # slow to load, and few data sets are label maps

    image = read_image(path, options.pixel_spacing)
    if image.array.ndim != spatial_dims + 1:
        axes = image.array.ndim - 1
        raise UserError(f"{path}: has {axes} axes, the images have {spatial_dims}; give label maps like them")
    array = image.array[0]
    if (image.array != array).any():
        raise UserError(f"{path}: is in colour; save the label map in grey, one value for each landmark")
    if not np.isfinite(array).all() or (array < 0).any() or array.max(initial=0) > _LARGEST_VALUE:
        raise UserError(f"{path}: has values that are no labels; use whole numbers from 0 to {_LARGEST_VALUE}")
    labels = array.astype(np.int32)
    if (labels != array).any():
        raise UserError(f"{path}: has values that are not whole numbers; this is no label map")
    values = np.unique(labels)
    values = values[values > 0]
    if names is not None and (unnamed := [int(value) for value in values if int(value) not in names]):
        raise UserError(
            f"{path}: has the value {unnamed[0]}, which has no name; add it to the JSON file with the names"
        )
    rows: list[tuple[str, Value]] = []
    boxes = ndimage.find_objects(labels)
    for value in map(int, values):
        name = str(value) if names is None else names[value]
        box = boxes[value - 1]
        mask = labels[box] == value
        parts = ndimage.label(mask, np.ones((3,) * spatial_dims))[0] if name in options.many else mask.astype(np.int32)
        corner = np.array([part.start for part in box])
        centers = np.array(ndimage.center_of_mass(mask, parts, range(1, parts.max() + 1))) + corner
        rows += [(name, point) for point in voxel_to_world(image.header, centers).tolist()]
    found = {name for name, _ in rows}
    rows += [(name, word) for name, word in (stated or {}).items() if name not in found]
    return landmark_set(rows, spatial_dims=spatial_dims, many=options.many, where=str(path))


def painted(
    rows: Iterable[tuple[str, Value]], values: Mapping[str, int], header: Header
) -> tuple[np.ndarray, list[str], list[str]]:
    """Paint points as cubes of three voxels around their nearest voxels.

    A cube that would touch another one, or the border, is one voxel, so that the centre of mass stays within half a
    voxel of the point.

    Args:
        rows: Name and point in world mm, or status word.
        values: Value of each name.
        header: The image whose grid is painted on.

    Returns:
        The label map, uint16 of the image's shape; the names of points outside the image; and the names of those that
        cannot be told apart, because another one has their voxel (or, of the same value, touches it).
    """
    shape = np.array(header.shape)
    labels = np.zeros(header.shape, dtype=np.uint16)
    placed: list[tuple[tuple[int, ...], str]] = []
    outside, merged = [], []
    for name, value in rows:
        if isinstance(value, str):
            continue
        voxel = np.floor(world_to_voxel(header, np.array([value]))[0] + 0.5)
        if (voxel < 0).any() or (voxel >= shape).any():
            outside.append(name)
            continue
        place = tuple(map(int, voxel))
        near = labels[tuple(slice(max(at - 1, 0), at + 2) for at in place)]
        if labels[place] or (near == values[name]).any():
            merged.append(name)
            continue
        labels[place] = values[name]
        placed.append((place, name))
    for place, name in placed:
        window = tuple(slice(max(at - 2, 0), at + 3) for at in place)
        inside = all(1 <= at < size - 1 for at, size in zip(place, shape, strict=True))
        if inside and np.count_nonzero(labels[window]) == 1:
            labels[tuple(slice(at - 1, at + 2) for at in place)] = values[name]
    return labels, outside, merged


def write_label_map(path: Path, labels: np.ndarray, header: Header) -> None:
    """Write a label map with the place of its image: NIfTI in 3D, PNG in 2D.

    Args:
        path: ``.nii.gz`` or ``.png``.
        labels: (D) array of whole numbers.
        header: The image's.
    """
    if labels.ndim == 2:
        mode = np.uint8 if labels.max(initial=0) <= np.iinfo(np.uint8).max else np.uint16
        Pillow.fromarray(np.ascontiguousarray(labels.T.astype(mode))).save(path)
        return
    image = nib.Nifti1Image(labels, header.affine)
    image.header.set_xyzt_units("mm")
    nib.save(image, path)
