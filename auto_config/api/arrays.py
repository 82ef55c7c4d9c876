"""Images in memory: arrays and tensors, with the affine or voxel size that gives them a place in the world."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from auto_config.bundle_scripts.images.header import Header, Image
from auto_config.errors import UserError

IN_MEMORY = Path("image in memory")
"""Stands for the file in messages."""


@dataclass(frozen=True)
class ArrayImage:
    """An image in memory.

    Args:
        array: ``(*spatial)`` or ``(C, *spatial)``: numpy, torch, or whatever numpy takes; indexed ``[x, y, z]`` along
            the axes of the affine (a picture ``[x, y]``, x to the right and y down).
        spacing: mm of a voxel along each axis; its axes are then those of the world (RAS; a picture's x and y), and
            the first voxel lies at 0.
        affine: ``(D + 1, D + 1)`` voxel to world mm (RAS in 3D), in place of a spacing.

    Raises:
        UserError: neither or both of spacing and affine are given, or they do not fit the array.
    """

    array: Any
    spacing: Sequence[float] | float | None = None
    affine: Any | None = None

    def __post_init__(self) -> None:
        self.image()

    def image(self) -> Image:
        """The image as the readers of files give it: ``(C, *spatial)`` float32 with its affine."""
        array = _numpy(self.array)
        affine = self._affine(array)
        dims = len(affine) - 1
        voxels = array[None] if array.ndim == dims else array
        if dims not in (2, 3) or voxels.ndim != dims + 1 or 0 in voxels.shape:
            raise UserError(
                f"an array of shape {array.shape} does not fit an affine or spacing of {dims} axes; give (*spatial) or "
                "(C, *spatial), 2D or 3D"
            )
        header = Header(voxels.shape[1:], affine, len(voxels), str(array.dtype), IN_MEMORY)
        return Image(np.ascontiguousarray(voxels, dtype=np.float32), affine, IN_MEMORY, header)

    def _affine(self, array: np.ndarray) -> np.ndarray:
        if (self.spacing is None) == (self.affine is None):
            raise UserError("an image in memory needs either its spacing in mm or its affine; give one of them")
        if self.spacing is not None:
            given = np.atleast_1d(np.asarray(self.spacing, dtype=np.float64))
            sizes = np.repeat(given, min(array.ndim, 3)) if given.size == 1 else given
            if given.ndim != 1 or not (np.isfinite(sizes) & (sizes > 0)).all():
                raise UserError(f"spacing is {self.spacing!r}; give mm above 0 for each axis, such as (0.5, 0.5, 1)")
            return np.diag([*sizes, 1.0])
        affine = _numpy(self.affine).astype(np.float64)
        if affine.ndim != 2 or affine.shape[0] != affine.shape[1] or not np.isfinite(affine).all():
            raise UserError(f"an affine of shape {affine.shape}; give (D + 1, D + 1) finite numbers, voxel to world mm")
        if np.linalg.matrix_rank(affine[:-1, :-1]) < len(affine) - 1 or not np.array_equal(
            affine[-1], np.eye(len(affine))[-1]
        ):
            raise UserError(
                "the affine maps voxels to no volume; its axes must be independent and its last row 0 ... 1"
            )
        return affine


def _numpy(array: Any) -> np.ndarray:
    """As numpy; tensors of torch from any device.

    Raises:
        UserError: it holds no real numbers.
    """
    if hasattr(array, "detach"):
        array = array.detach().cpu()
        array = array.float() if str(array.dtype) == "torch.bfloat16" else array
    found = np.asarray(array)
    if found.dtype.kind not in "biuf":
        raise UserError(f"an array of {found.dtype} is no image; give real numbers")
    return found
