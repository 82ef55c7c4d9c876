"""The voxels of a label map that a client sent, by layer and value: what `reading_worker` reads.

Imports nothing of MONAI Label, so that the process starts in a moment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from auto_config.bundle_scripts.files.regular import open_regular
from auto_config.bundle_scripts.images.stored_voxels import MOST_VOXELS
from auto_config.errors import UserError

from ..geometry.balls import Grid
from ..geometry.frames import read_raw
from .seg_nrrd import read_seg_nrrd

LARGEST_LABEL = 65535
MOST_LABELLED = 2**25
"""Voxels with a label in a layer, at most: landmarks are balls, and each voxel takes 8 bytes from here on."""


@dataclass(frozen=True, eq=False)
class LabelLayers:
    """A label map.

    Args:
        grid: Where its voxels lie.
        voxels: (layer, value above 0) to the sorted flat indices (N,) of its voxels, N above 0.
        names: (layer, value) to a name, if the file has any.
    """

    grid: Grid
    voxels: Mapping[tuple[int, int], np.ndarray]
    names: Mapping[tuple[int, int], str]


def read_layers(path: Path, grid: Grid, most_voxels: int = MOST_VOXELS) -> LabelLayers:
    """Read a label map.

    Args:
        path: The file; ``.bin`` is the bare uint8 voxels on the image's grid, first axis fastest.
        grid: Grid of the image.
        most_voxels: Voxels that it may have, of all layers together.

    Raises:
        ValueError: It cannot be read, has another number of axes, or values that are no labels. One line without path.
    """
    names: Mapping[tuple[int, int], str] = {}
    if path.name.lower().endswith(".bin"):
        array, affine = _bare(path, grid.shape), grid.affine
    else:
        try:
            if path.name.lower().endswith(".seg.nrrd"):
                array, affine, names = read_seg_nrrd(path, most_voxels)
            else:
                array, own = read_raw(path, most_voxels)
                affine = own.affine
        except (UserError, ValueError) as error:
            reason = str(error).replace(f"{path}: cannot be read ", "")
            raise ValueError(f"the label map cannot be read {_bracketed(reason)}; save it again") from error
    dims = len(grid.shape)
    if array.ndim != dims + 1 or affine.shape != (dims + 1, dims + 1):
        raise ValueError(f"the label map has {array.ndim - 1} axes, the image has {dims}")
    voxels = {}
    for number, layer in enumerate(array):
        for value, flat in _labelled(layer).items():
            voxels[number, value] = flat
    return LabelLayers(Grid(tuple(array.shape[1:]), affine), voxels, names)


def _bracketed(reason: str) -> str:
    return reason if reason.startswith("(") else f"({reason})"


def _bare(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    count = int(np.prod(shape, dtype=object))
    with open_regular(path) as stream:
        size = path.stat().st_size
        if size != count:
            raise ValueError(f"has {size} voxels, the image has {count}")
        content = stream.read(count)
    return np.frombuffer(content, dtype=np.uint8).reshape(shape, order="F")[None]


def _labelled(layer: np.ndarray) -> dict[int, np.ndarray]:
    """Value above 0 to the sorted flat indices of its voxels."""
    count = int(np.count_nonzero(layer))
    ordered = np.ascontiguousarray(layer).reshape(-1)
    is_label = np.issubdtype(layer.dtype, np.integer) or layer.dtype == bool
    if is_label and count and not (ordered.min() >= 0 and ordered.max() <= LARGEST_LABEL):
        raise ValueError(_NO_LABELS)
    if not is_label and not _are_whole(ordered):
        raise ValueError(_NO_LABELS)
    if count > MOST_LABELLED:
        raise ValueError(
            f"the label map has {count} voxels with a label, {MOST_LABELLED} are read at most; mark landmarks, not "
            "regions"
        )
    flat = np.flatnonzero(ordered)
    values = ordered[flat].astype(np.int64)
    order = np.argsort(values, kind="stable")
    found, starts = np.unique(values[order], return_index=True)
    parts = np.split(flat[order], starts[1:]) if len(found) else []
    return {int(value): part for value, part in zip(found, parts, strict=True)}


def _are_whole(values: np.ndarray) -> bool:
    """Whether real numbers are whole ones from 0 to `LARGEST_LABEL`, in parts, so that little memory is needed."""
    for begin in range(0, len(values), _PART):
        part = values[begin : begin + _PART]
        if not (np.isfinite(part).all() and part.min() >= 0 and part.max() <= LARGEST_LABEL):
            return False
        if (np.rint(part) != part).any():
            return False
    return True


_PART = 2**22
_NO_LABELS = f"a label map holds whole numbers from 0 to {LARGEST_LABEL}; this looks like an image"
