"""Slicer's segmentation file (.seg.nrrd): layers of labels, and a name for each label of a layer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from auto_config.bundle_scripts.images.reading import no_place
from auto_config.bundle_scripts.images.stored_voxels import MOST_VOXELS
from auto_config.bundle_scripts.images.volumes import open_volume

_SEGMENT = re.compile(r"Segment(\d+)_(Name|LabelValue|Layer)")


def read_seg_nrrd(
    path: Path, most_voxels: int = MOST_VOXELS
) -> tuple[np.ndarray, np.ndarray, dict[tuple[int, int], str]]:
    """Read a segmentation.

    Args:
        path: The file.
        most_voxels: Voxels that are read at most, of all layers together.

    Returns:
        Layers (C, I, J, K) in the file's number type, affine (4, 4) from voxels to world RAS mm, and the names of the
        segments by (layer, value).

    Raises:
        ValueError: No NRRD file, or none of three axes and at most one of layers.
    """
    volume = open_volume(path, most_voxels)
    if len(volume.header.shape) != 3 or volume.header.volumes > 1:
        raise ValueError("a segmentation has three axes in space, and one for layers at most")
    if reason := no_place(volume.header.affine):
        raise ValueError(reason)
    return volume.voxels(most_voxels), volume.header.affine, _names(volume.keys or {})


def _names(header: Mapping[str, str]) -> dict[tuple[int, int], str]:
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
