"""Dense heatmaps in closed form from sub-voxel points, besides the cones of `scripts.methods.heatmap`.

Points are voxel coordinates ``(B, L, D)`` of the patch; one of NaN gives a heatmap of a landmark that is nowhere. A
point outside of the patch gives the part of its heatmap that reaches in.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..heatmap import axis_offsets

_FAR = -1e4


class GaussianHeatmap:
    """A Gaussian of height 1 at the point: ``exp(-sum_d (x_d - p_d)^2 / (2 sigma_d^2))``.

    It is the product of one profile for each axis, and it is not cut off: SR-UNet's code fills a box of 3 sigma whose
    half width is taken from the spacing of the first axis alone, so thick axes get a box of the wrong length.

    Args:
        sigma: ``(D,)`` standard deviation in voxels of each axis (the same millimetres on an anisotropic grid).

    Raises:
        ValueError: a sigma is not positive.
    """

    def __init__(self, sigma: Sequence[float]) -> None:
        if min(sigma) <= 0:
            raise ValueError(f"sigma of the heatmap is {list(sigma)} voxels; every axis needs a positive number")
        self.sigma = [float(s) for s in sigma]

    def __call__(self, points: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
        """Heatmaps in [0, 1], ``(B, L, *size)``; arguments as this module has them."""
        points = torch.nan_to_num(points, nan=_FAR)
        made = torch.ones((), device=points.device, dtype=points.dtype).expand(points.shape[:2])
        for offset, sigma in zip(axis_offsets(points, size), self.sigma, strict=True):
            along = torch.exp(-0.5 * (offset / sigma) ** 2)
            made = made[..., None] * along.reshape(*along.shape[:2], *(1,) * (made.ndim - 2), along.shape[2])
        return made


class BallHeatmap:
    """In a ball around the point ``2 exp(-d^2 / (0.2 R^2))``, outside of it -1.

    Source: H3DE-Net (Huang et al., 2025): R of 20 voxels, so the Gaussian has a standard deviation of 6.3. Within the
    ball it falls from 2 to 0.013. Here R may differ between axes, and d is measured in voxels of the axis with the
    largest one, the finest.

    Args:
        radius: ``(D,)`` R in voxels of each axis.

    Raises:
        ValueError: a radius is not positive.
    """

    def __init__(self, radius: Sequence[float]) -> None:
        if min(radius) <= 0:
            raise ValueError(f"the radius of the ball is {list(radius)} voxels; every axis needs a positive number")
        self.radius = [float(r) for r in radius]

    def __call__(self, points: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
        """Heatmaps in [-1, 2], ``(B, L, *size)``; arguments as this module has them."""
        points = torch.nan_to_num(points, nan=_FAR)
        # The distance in units of the radius.
        squared = torch.zeros((), device=points.device, dtype=points.dtype).expand(points.shape[:2])
        for offset, radius in zip(axis_offsets(points, size), self.radius, strict=True):
            along = (offset / radius) ** 2
            squared = squared[..., None] + along.reshape(*along.shape[:2], *(1,) * (squared.ndim - 2), along.shape[2])
        return torch.where(squared <= 1, 2 * torch.exp(-5 * squared), -1.0)
