"""What is known of an image file, and the error of one that cannot be read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

PIXELS = "px"
"""Unit of a picture whose pixel size nobody knows: a pixel then counts as one unit of length."""

LARGEST_MM = 1e9
"""Voxel sizes and positions above this are a broken header, whose products no number holds."""


class ImageFileError(ValueError):
    """An image file cannot be read, or is not what was expected: one line with file and remedy."""


@dataclass(frozen=True)
class Header:
    """What is known of an image without its voxels.

    Args:
        shape: Number of voxels along each spatial axis, in the order of the file's array; (x, y) of a picture.
        affine: (D + 1, D + 1) voxel to world: RAS mm in 3D, pixel x spacing with x right and y down in 2D.
        channels: Number of channels.
        dtype: Name of the number type in the file.
        path: The file, or the folder of a DICOM series (the first one, where each channel has its own).
        unit: Unit of length in the header, ``"mm"`` where the format has none; ``"unknown"`` if left open, ``"px"`` for
            a picture whose pixel size nobody knows.
        volumes: Size of the fourth axis of a NIfTI, 1 otherwise.
        second_affine: The qform of a NIfTI whose sform is used and that has both; None otherwise.
        oriented: False for a header that says no place: a NIfTI with neither sform nor qform, an NRRD without space
            directions and origin, a MetaImage without TransformMatrix and Offset.
        notes: What a person should know of how the file is read, a sentence each.
    """

    shape: tuple[int, ...]
    affine: np.ndarray
    channels: int
    dtype: str
    path: Path
    unit: str = "mm"
    volumes: int = 1
    second_affine: np.ndarray | None = None
    oriented: bool = True
    notes: tuple[str, ...] = ()

    @property
    def spacing(self) -> tuple[float, ...]:
        """Voxel size along each axis of the array, in mm."""
        return tuple(float(size) for size in np.linalg.norm(self.affine[:-1, :-1], axis=0))


@dataclass(frozen=True)
class Image:
    """An image with its voxels.

    Args:
        array: (C, *spatial) float32, channel first.
        affine: (D + 1, D + 1) voxel to world, see `Header`.
        path: The file (the first one, where each channel has its own).
        header: Its header.
    """

    array: np.ndarray
    affine: np.ndarray
    path: Path
    header: Header


def picture_affine(spacing: tuple[float, float] | None) -> np.ndarray:
    """(3, 3) affine of a picture: pixel x spacing, the centre of the first pixel at 0; pixels where None."""
    return np.diag([*(spacing or (1.0, 1.0)), 1.0])


def several_volumes(header: Header) -> str:
    """What to say of a file with more than one volume."""
    shape = "x".join(map(str, header.shape))
    return (
        f"{header.path}: image is 4D ({shape}, {header.volumes} volumes); save one volume, or one file for each "
        "channel and list them in a datalist"
    )
