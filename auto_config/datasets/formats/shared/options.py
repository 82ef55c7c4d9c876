"""How a data set is to be read, where its files alone do not say it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np

from auto_config.bundle_scripts.grid.grids import apply_affine
from auto_config.choices import Coordinates, NameField
from auto_config.datasets.images import Header, read_header
from auto_config.errors import UserError


@dataclass(frozen=True)
class ReadOptions:
    """What the person at the keyboard said about a data set.

    Args:
        coordinates: What the numbers of points mean in formats that leave it open; None if not said.
        pixel_spacing: Size of a pixel in mm, along x and y, of pictures whose files do not say it; None if not said.
        many: Names of landmarks of which an image may have any number.
        names: What points of Slicer's files are called by; None if not said.

    Raises:
        UserError: A value that is not allowed.
    """

    coordinates: Coordinates | None = None
    pixel_spacing: tuple[float, float] | None = None
    many: Collection[str] = ()
    names: NameField | None = None

    def __post_init__(self) -> None:
        if self.names is not None and self.names not in get_args(NameField):
            raise UserError(f"--names is {self.names!r}; allowed are {', '.join(get_args(NameField))}")
        if self.coordinates is not None and self.coordinates not in get_args(Coordinates):
            raise UserError(f"--coordinates is {self.coordinates!r}; allowed are {', '.join(get_args(Coordinates))}")

    @property
    def slicer_system(self) -> str | None:
        """`coordinates` as Slicer calls it: ``RAS``, ``LPS`` or ``IJK``.

        Raises:
            UserError: It is ``mm``, of which Slicer has two kinds.
        """
        if self.coordinates == "mm":
            raise UserError(
                "--coordinates is mm; the points of an .fcsv are RAS or LPS mm, say --coordinates ras or lps"
            )
        words = {"ras": "RAS", "lps": "LPS", "voxel": "IJK", "pixel": "IJK"}
        return None if self.coordinates is None else words[self.coordinates]

    def header(self, image: Sequence[Path]) -> Header:
        """The header of an image, with the pixel size that was given.

        Raises:
            UserError: The image cannot be read.
        """
        return read_header(list(image), self.pixel_spacing)

    def spatial_dims(self, images: Sequence[Path]) -> int:
        """Number of axes of a data set's images, by the first of them that can be read: 2 or 3."""
        for image in images:
            try:
                return 2 if len(self.header([image]).shape) == 2 else 3
            except UserError:  # noqa: PERF203 - the case itself will say what is wrong with its image
                continue
        return 3


def voxel_to_world(header: Header, points: np.ndarray) -> np.ndarray:
    """Voxel or pixel indices to world mm: ``(N, D)`` to ``(N, D)``; 3D in RAS, 2D with x right and y down.

    Raises:
        UserError: The image has another number of axes than the points.
    """
    _check_axes(header, points)
    return apply_affine(header.affine, points)


def world_to_voxel(header: Header, points: np.ndarray) -> np.ndarray:
    """World mm to voxel or pixel indices, the way back of `voxel_to_world`.

    Raises:
        UserError: The image has another number of axes than the points, or an affine that cannot be inverted.
    """
    _check_axes(header, points)
    try:
        inverse = np.linalg.inv(header.affine)
    except np.linalg.LinAlgError as error:
        raise UserError(f"{header.path}: affine is singular, no point can be placed; repair the header") from error
    return apply_affine(inverse, points)


def _check_axes(header: Header, points: np.ndarray) -> None:
    if len(header.shape) != points.shape[-1]:
        raise UserError(
            f"{header.path}: image has {len(header.shape)} axes, its points have {points.shape[-1]} coordinates; "
            "give points and image with equally many"
        )
