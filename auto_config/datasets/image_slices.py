"""Slices of an image in the planes of the body, as square pictures around a point."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import map_coordinates

from auto_config.datasets.images import Image


@dataclass(frozen=True)
class Plane:
    """A plane of the body as it lies on the screen.

    Attributes:
        name: what to call it.
        right: (D,) world direction to the right of the screen.
        up: (D,) world direction upwards.
        letters: what to write at the left, right, top and bottom edge.
    """

    name: str
    right: tuple[float, ...]
    up: tuple[float, ...]
    letters: str


# Patient right is drawn on the left and anterior on the right, as radiologists do.
PLANES_3D = (
    Plane("axial", (-1.0, 0.0, 0.0), (0.0, 1.0, 0.0), "RLAP"),
    Plane("coronal", (-1.0, 0.0, 0.0), (0.0, 0.0, 1.0), "RLSI"),
    Plane("sagittal", (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), "PASI"),
)
# World of a 2D picture: x to the right, y down.
PLANES_2D = (Plane("", (1.0, 0.0), (0.0, -1.0), ""),)


def planes_of(spatial_dims: int) -> tuple[Plane, ...]:
    """The planes in which images of 2 or 3 axes are shown."""
    return PLANES_3D if spatial_dims == 3 else PLANES_2D


@dataclass(frozen=True)
class View:
    """A square window in a plane.

    Attributes:
        plane: the plane.
        center: (D,) world mm of its middle.
        width_mm: its width.
        pixels: its width in pixels.
    """

    plane: Plane
    center: np.ndarray
    width_mm: float
    pixels: int

    def pixel(self, point: np.ndarray) -> tuple[float, float]:
        """Column and row at which a world point (D,) falls on the plane."""
        shift = (point - self.center) * self.pixels / self.width_mm
        middle = (self.pixels - 1) / 2
        return middle + float(shift @ np.array(self.plane.right)), middle - float(shift @ np.array(self.plane.up))

    def world(self) -> np.ndarray:
        """World mm of each pixel, (rows, columns, D)."""
        steps = (np.arange(self.pixels) - (self.pixels - 1) / 2) * self.width_mm / self.pixels
        right, up = np.array(self.plane.right), np.array(self.plane.up)
        return np.asarray(self.center + steps[None, :, None] * right - steps[:, None, None] * up)

    def slice_of(self, image: Image, window: tuple[float, float]) -> np.ndarray:
        """What it shows of an image's first channel.

        Args:
            image: the image.
            window: grey values that become black and white.

        Returns:
            (rows, columns) uint8, black outside of the image.
        """
        inverse = np.linalg.inv(image.affine)
        voxels = self.world() @ inverse[:-1, :-1].T + inverse[:-1, -1]
        low, high = window
        grey = map_coordinates(image.array[0], np.moveaxis(voxels, -1, 0), order=1, mode="constant", cval=low)
        return (np.clip((grey - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def grey_window(volume: np.ndarray) -> tuple[float, float]:
    """Grey values that become black and white: the 0.5th and 99.5th percentile of a part of the voxels."""
    sample = volume[tuple(slice(None, None, max(1, n // 64)) for n in volume.shape)]
    low, high = np.nanpercentile(sample, (0.5, 99.5))
    return float(low), float(max(high, low + 1e-6))
