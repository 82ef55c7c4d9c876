"""Where viewers show the voxels of an image, and where a bundle has them: pictures are volumes of one slice to viewers.

Everything that the server keeps and serves is in the world of the viewers, RAS mm in three dimensions, of pictures too:
Slicer opens a picture with ITK as a volume of one slice, its x and y along L and P, with the pixel size that ITK reads
from the file (1 where it says none). A 2D bundle has its own world, x right and y down, and may have been given another
pixel size. Both meet in the voxels of the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from auto_config.bundle_scripts.grid.grids import apply_affine
from auto_config.bundle_scripts.images.header import Header
from auto_config.bundle_scripts.images.itk_files import itk_header
from auto_config.bundle_scripts.images.reading import no_place, reason_of
from auto_config.bundle_scripts.images.stored_voxels import MOST_VOXELS
from auto_config.bundle_scripts.images.volumes import is_volume, open_volume
from auto_config.datasets.images import read_header
from auto_config.errors import UserError

from .balls import Grid


@dataclass(frozen=True, eq=False)
class Frame:
    """The two worlds of an image for a bundle.

    Args:
        grid: Where viewers show its voxels, (I, J, K) and RAS mm; one of the three is 1 for a picture.
        axes: The axes of the file that the bundle sees, (D,).
        affine: (D + 1, D + 1), voxel on these axes to the bundle's world mm.
    """

    grid: Grid
    axes: tuple[int, ...]
    affine: np.ndarray

    def to_shown(self, points: np.ndarray) -> np.ndarray:
        """From the bundle's world (N, D) to that of viewers (N, 3); NaN stays NaN."""
        if len(self.axes) == 3:
            return np.asarray(points, dtype=np.float64)
        voxels = np.zeros((len(points), 3))
        voxels[:, self.axes] = apply_affine(np.linalg.inv(self.affine), np.asarray(points, dtype=np.float64))
        voxels[np.isnan(voxels).any(axis=1)] = np.nan
        return apply_affine(self.grid.affine, voxels)

    def from_shown(self, points: np.ndarray) -> np.ndarray:
        """From the world of viewers (N, 3) to the bundle's (N, D); what lies beside a picture's plane falls onto it."""
        if len(self.axes) == 3:
            return np.asarray(points, dtype=np.float64)
        voxels = apply_affine(np.linalg.inv(self.grid.affine), np.asarray(points, dtype=np.float64))
        return apply_affine(self.affine, voxels[:, self.axes])

    @property
    def scale(self) -> float:
        """Length in the world of viewers of 1 mm (or pixel) of the bundle's; the mean over the axes."""
        if len(self.axes) == 3:
            return 1.0
        shown = np.linalg.norm(self.grid.affine[:3, :3], axis=0)[list(self.axes)]
        own = np.linalg.norm(self.affine[:-1, :-1], axis=0)
        return float(np.mean(shown / own))


def shown_grid(path: Path) -> Grid:
    """Where viewers show the voxels of an image.

    Raises:
        UserError: the file cannot be read.
    """
    header = read_header(path)
    if len(header.shape) == 3:
        return Grid(tuple(header.shape), header.affine)
    return _volume_grid(_raw_header(path))


def read_frame(path: Path, spatial_dims: int, pixel_spacing: Sequence[float] | None = None) -> Frame:
    """The worlds of an image for a bundle.

    Args:
        path: the file.
        spatial_dims: of the bundle, 2 or 3.
        pixel_spacing: pixel size (x, y) in mm with which the bundle reads every picture; None for what each file says.

    Raises:
        UserError: the file cannot be read, or is a picture where the bundle takes volumes, or the other way round.
    """
    header = read_header(path, pixel_spacing)
    if len(header.shape) != spatial_dims:
        kinds = {2: "a picture", 3: "a volume"}
        raise UserError(f"{path}: is {kinds[len(header.shape)]}; this bundle was made for {spatial_dims}D images")
    grid = shown_grid(path)
    if spatial_dims == 3:
        return Frame(grid, (0, 1, 2), grid.affine)
    # Of a picture of 1 x N x 1 pixels nothing could be found, so two axes are longer.
    single = next(axis for axis in (2, 1, 0) if grid.shape[axis] == 1)
    axes = tuple(axis for axis in range(3) if axis != single)
    return Frame(grid, axes, header.affine)


def read_raw(path: Path, most_voxels: int = MOST_VOXELS) -> tuple[np.ndarray, Grid]:
    """A volume as it is, a single slice not taken for a picture.

    Args:
        path: the file.
        most_voxels: numbers that are read at most.

    Returns:
        Voxels (C, I, J, K) in the number type of the file, and where they lie in RAS mm.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        volume = open_volume(path, most_voxels)
        if reason := no_place(volume.header.affine):
            raise ValueError(reason)
        array = volume.voxels(most_voxels)
    except MemoryError:
        raise  # the file may be whole
    except Exception as error:  # readers raise whatever they like on a broken file
        raise UserError(f"{path}: cannot be read ({reason_of(error)})") from error
    grid = _volume_grid(volume.header)
    return array.reshape(len(array), *grid.shape) if array.ndim == 3 else array, grid


def _raw_header(path: Path) -> Header:
    try:
        return open_volume(path).header if is_volume(path) else itk_header(path)
    except Exception as error:  # as above
        raise UserError(f"{path}: cannot be read ({reason_of(error)}); replace the file") from error


def _volume_grid(header: Header) -> Grid:
    """The grid of a file, one of two axes as a volume of one slice of 1 mm."""
    if len(header.shape) == 3:
        return Grid(tuple(header.shape), header.affine)
    affine = np.eye(4)
    affine[:2, :2], affine[:2, 3] = header.affine[:2, :2], header.affine[:2, -1]
    return Grid((*header.shape, 1), affine)
