"""Slicer's segmentation file (.seg.nrrd): layers of labels, and a name for each label of a layer.

ITK, which reads all other label maps, does not know files of several layers.
"""

from __future__ import annotations

import re
from pathlib import Path

import nrrd
import numpy as np

_SEGMENT = re.compile(r"Segment(\d+)_(Name|LabelValue|Layer)")
# Axes of the spaces that NRRD names, as signs that turn them into RAS.
_TO_RAS = {
    "left-posterior-superior": (-1.0, -1.0, 1.0),
    "lps": (-1.0, -1.0, 1.0),
    "right-anterior-superior": (1.0, 1.0, 1.0),
    "ras": (1.0, 1.0, 1.0),
    "left-anterior-superior": (-1.0, 1.0, 1.0),
    "las": (-1.0, 1.0, 1.0),
}


def read_seg_nrrd(path: Path) -> tuple[np.ndarray, np.ndarray, dict[tuple[int, int], str]]:
    """Read a segmentation.

    Args:
        path: The file.

    Returns:
        Layers (C, I, J, K) in the file's number type, affine (4, 4) from voxels to world RAS mm, and the names of the
        segments by (layer, value).

    Raises:
        ValueError: No NRRD file, or none of three axes and at most one of layers.
    """
    try:
        array, header = nrrd.read(str(path))
    except (OSError, nrrd.NRRDError, ValueError, KeyError, IndexError) as error:
        raise ValueError(f"{path}: no NRRD file that can be read ({error})") from error
    directions = np.asarray(header.get("space directions", np.eye(3)), dtype=np.float64)
    signs = _TO_RAS.get(str(header.get("space", "left-posterior-superior")).lower())
    if array.ndim == 3:
        array, directions = array[None], np.vstack([np.full(3, np.nan), directions])
    if array.ndim != 4 or directions.shape != (4, 3) or not np.isfinite(directions[1:]).all() or signs is None:
        raise ValueError(f"{path}: a segmentation has three axes in space, and one for layers at most")
    affine = np.eye(4)
    affine[:3, :3] = directions[1:].T
    affine[:3, 3] = np.asarray(header.get("space origin", np.zeros(3)), dtype=np.float64)
    return array, np.diag([*signs, 1.0]) @ affine, _names(header)


def _names(header: dict[str, object]) -> dict[tuple[int, int], str]:
    fields: dict[str, dict[str, str]] = {}
    for key, value in header.items():
        if match := _SEGMENT.fullmatch(key):
            fields.setdefault(match[1], {})[match[2]] = str(value)
    names = {}
    for segment in fields.values():
        layer, value = segment.get("Layer", "0"), segment.get("LabelValue", "")
        if "Name" in segment and layer.isdecimal() and value.isdecimal():
            names[int(layer), int(value)] = segment["Name"]
    return names
