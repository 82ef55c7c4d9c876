"""Gaussian and Laplacian heatmaps in closed form, round or not, at sub-voxel points.

Widths are in voxels of the finest axis: ``aspect`` is the length of a voxel along each axis over that of the finest
one, so that a heatmap is as wide in millimetres along every axis of an anisotropic grid.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from ..heatmap import axis_offsets
from ..on_device import constants


def squared_distance(points: torch.Tensor, precision: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """``(x - point)^T precision (x - point)`` of each voxel x.

    Args:
        points: ``(..., D)`` voxels, finite.
        precision: symmetric ``(..., D, D)`` in 1 / voxel^2; gradients reach it.
        size: shape of the patch.

    Returns:
        ``(..., *size)``.
    """
    dims, rows = len(size), points.shape[:-1]
    offsets = axis_offsets(points.reshape(1, -1, dims), size)
    matrix = precision.expand(*rows, dims, dims).reshape(-1, dims, dims)
    along = [
        offset[0].reshape(-1, *(n if d == axis else 1 for d, n in enumerate(size)))
        for axis, offset in enumerate(offsets)
    ]
    total = torch.zeros((), device=points.device, dtype=points.dtype)
    # Products of two axes are small; only their sum has the size of the patch, and it is not kept for gradients.
    for one in range(dims):
        for other in range(one, dims):
            weight = matrix[:, one, other] * (1 if one == other else 2)
            total = total + weight.reshape(-1, *[1] * dims) * (along[one] * along[other])
    return total.reshape(*rows, *size)


def rotation_matrix(angles: torch.Tensor) -> torch.Tensor:
    """Rotations ``(L, D, D)`` from ``(L, 1)`` angles in 2D, or ``(L, 3)`` rotation vectors in 3D, in radians."""
    zero = torch.zeros_like(angles[:, 0])
    if angles.shape[1] == 1:
        rows = [zero, -angles[:, 0], angles[:, 0], zero]
    else:
        x, y, z = angles.unbind(1)
        rows = [zero, -z, y, z, zero, -x, -y, x, zero]
    dims = 2 if angles.shape[1] == 1 else 3
    # The exponential is smooth at no rotation too, where an axis is not defined.
    return torch.linalg.matrix_exp(torch.stack(rows, dim=-1).reshape(-1, dims, dims))


def precision_of(sigma: torch.Tensor, rotation: torch.Tensor | None, aspect: Sequence[float]) -> torch.Tensor:
    """Inverse covariances ``(L, D, D)`` in 1 / voxel^2 of the grid.

    Args:
        sigma: ``(L, D)`` standard deviations along the axes of each Gaussian, in voxels of the finest axis.
        rotation: ``(L, D, D)`` whose columns are these axes; None for those of the grid.
        aspect: ``(D,)`` length of a voxel along each axis over that of the finest.
    """
    scale = constants(aspect, sigma)
    inverse = torch.diag_embed(sigma**-2)
    if rotation is not None:
        inverse = rotation @ inverse @ rotation.transpose(1, 2)
    return scale[:, None] * inverse * scale


def peak_height(gamma: float, sigma: torch.Tensor) -> torch.Tensor:
    """Height ``(L,)`` of Gaussians whose integral is gamma; `sigma` is ``(L, D)``."""
    return gamma / ((2 * math.pi) ** (sigma.shape[1] / 2) * sigma.prod(1))


class GaussianHeatmap:
    """Heatmap of height 1 that falls as a Gaussian: ``exp(-d^2 / 2)``, d in standard deviations.

    Args:
        sigma: ``(D,)`` standard deviation in voxels of each axis.

    Raises:
        ValueError: if one is not positive.
    """

    def __init__(self, sigma: Sequence[float]) -> None:
        if min(sigma) <= 0:
            raise ValueError(f"sigma is {list(sigma)} voxels; every axis needs a positive number")
        self.sigma = [float(width) for width in sigma]

    def __call__(self, points: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
        """Heatmaps ``(B, L, *size)`` in [0, 1].

        Args:
            points: ``(B, L, D)`` voxels; NaN gives an empty heatmap.
            size: shape of the patch.
        """
        return self._profile(self._squared(points, size))

    def _squared(self, points: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
        """Squared distance in standard deviations; huge where there is no point."""
        precision = torch.diag(constants(self.sigma, points) ** -2)
        return squared_distance(points.nan_to_num(nan=-1e4), precision, size)

    def _profile(self, squared: torch.Tensor) -> torch.Tensor:
        return torch.exp(-0.5 * squared)


class LaplacianHeatmap(GaussianHeatmap):
    """Heatmap of height 1 that falls as a Laplacian, with a sharp peak: ``exp(-sqrt(3) d)``, d in standard deviations.

    Source: Jonkers et al., landmarker, SoftwareX 2025; LUVLi (Kumar et al., CVPR 2020) for the distribution.

    Args:
        sigma: ``(D,)`` standard deviation in voxels of each axis.
    """

    def _profile(self, squared: torch.Tensor) -> torch.Tensor:
        return torch.exp(-math.sqrt(3) * squared.sqrt())
