"""A DICOM series as its slices and the grid of their voxels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from ..geometry.balls import Grid

_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def read_slices(folder: Path) -> list[Dataset]:
    """The slices of a series, in the order of their positions along the normal, without their pixels.

    Args:
        folder: Holds the files of one series.

    Raises:
        ValueError: No slice, slices of other sizes or orientations, or two at one place.
    """
    slices = []
    for path in sorted(folder.iterdir()):
        try:
            one = pydicom.dcmread(path, stop_before_pixels=True)
        except (InvalidDicomError, OSError):
            continue
        if "ImagePositionPatient" in one and "ImageOrientationPatient" in one and "PixelSpacing" in one:
            slices.append(one)
    if not slices:
        raise ValueError("the series has no slice with a position in space")
    slices.sort(key=_along_normal)
    first = slices[0]
    for one in slices[1:]:
        if (one.Rows, one.Columns) != (first.Rows, first.Columns) or not np.allclose(
            one.ImageOrientationPatient, first.ImageOrientationPatient, atol=1e-4
        ):
            raise ValueError("the slices of the series have different sizes or orientations")
    if len(slices) > 1 and np.diff([_along_normal(one) for one in slices]).min() < 1e-3:
        raise ValueError("two slices of the series lie at one place")
    return slices


def series_grid(slices: list[Dataset]) -> Grid:
    """The grid (columns, rows, slices) of a series.

    Args:
        slices: As `read_slices` gives them; their distances are taken as equal.
    """
    first, last = slices[0], slices[-1]
    row_direction, column_direction = np.asarray(first.ImageOrientationPatient, dtype=np.float64).reshape(2, 3)
    down, right = (float(size) for size in first.PixelSpacing)  # between rows, between columns
    origin = np.asarray(first.ImagePositionPatient, dtype=np.float64)
    if len(slices) > 1:
        step = (np.asarray(last.ImagePositionPatient, dtype=np.float64) - origin) / (len(slices) - 1)
    else:
        step = np.cross(row_direction, column_direction) * float(first.get("SliceThickness") or 1.0)
    affine = np.eye(4)
    affine[:3] = np.stack([row_direction * right, column_direction * down, step, origin], axis=1)
    return Grid((int(first.Columns), int(first.Rows), len(slices)), _TO_RAS @ affine)


def _along_normal(one: Dataset) -> float:
    row_direction, column_direction = np.asarray(one.ImageOrientationPatient, dtype=np.float64).reshape(2, 3)
    return float(np.cross(row_direction, column_direction) @ np.asarray(one.ImagePositionPatient, dtype=np.float64))
