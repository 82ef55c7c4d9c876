"""Heatmap targets in closed form from sub-voxel points, on the device that holds the points.

Points are voxel coordinates ``(B, L, D)`` of the patch. A point may lie outside of the patch: the part of its heatmap
that reaches in is made all the same. Channels are separate, so heatmaps of neighbours may overlap.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch


def axis_offsets(points: torch.Tensor, size: Sequence[int]) -> list[torch.Tensor]:
    """Signed distance in voxels of each plane of the patch from each point: ``(B, L, size[d])`` for each axis."""
    return [
        torch.arange(n, device=points.device, dtype=points.dtype) - points[..., d : d + 1] for d, n in enumerate(size)
    ]


def plain(image: torch.Tensor) -> torch.Tensor:
    """An image or map without MONAI's metadata, not copied: each operation on a ``MetaTensor`` goes through Python."""
    return image.as_tensor() if hasattr(image, "as_tensor") else image


def _along(values: torch.Tensor, axis: int, dims: int) -> torch.Tensor:
    """``(B, L, n)`` to ``(B, L, 1, .., n, .., 1)`` with n at spatial ``axis``."""
    shape = [*values.shape[:2]] + [1] * dims
    shape[2 + axis] = values.shape[2]
    return values.reshape(shape)


class EDTHeatmap:
    """Heatmap of the Euclidean distance, a truncated cone: ``max(0, 1 - d / sqrt(radius^2 + 1))``.

    At radius 15 and isotropic voxels this has exactly the 14 147 positive voxels of nnLandmark's template (the
    normalised Euclidean distance transform of a ball of radius 15; Ertl et al., MIDL 2026), but at the sub-voxel
    position of the point.

    Args:
        radius: ``(D,)`` radius in voxels of each axis (the same millimetres on every axis of an anisotropic grid). The
            distance is measured in voxels of the axis with the largest radius, the finest one.

    Raises:
        ValueError: if a radius is not positive.

    Example:
        >>> import torch
        >>> cone = EDTHeatmap(radius=[15, 15, 15])(torch.tensor([[[2.0, 2.0, 2.0]]]), (5, 5, 5))
        >>> round(float(cone[0, 0, 2, 2, 3]), 4)
        0.9335
    """

    def __init__(self, radius: Sequence[float]) -> None:
        if min(radius) <= 0:
            raise ValueError(f"the radius of the heatmap is {list(radius)} voxels; every axis needs a positive number")
        self.radius = [float(r) for r in radius]

    def __call__(self, points: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
        """Heatmaps in [0, 1].

        Args:
            points: ``(B, L, D)`` voxels; NaN gives an empty heatmap.
            size: patch shape in voxels.

        Returns:
            ``(B, L, *size)``.
        """
        dims, finest = len(size), max(self.radius)
        box = self._reach(points, size)
        points = torch.nan_to_num(points, nan=-1e4)
        squared = torch.zeros((), device=points.device, dtype=points.dtype)
        for axis, (offset, along) in enumerate(zip(axis_offsets(points, size), box, strict=True)):
            squared = squared + _along((offset[..., along] * (finest / self.radius[axis])) ** 2, axis, dims)
        # Divided before the root: at a distance of exactly sqrt(radius^2 + 1) the cone is 0, and not 1e-8.
        cones = squared.div_(finest**2 + 1.0).sqrt_().neg_().add_(1.0).clamp_(min=0.0)
        if cones.shape[2:] == torch.Size(size):
            return cones
        whole = cones.new_zeros((*points.shape[:2], *size))
        whole[(slice(None), slice(None), *box)] = cones
        return whole

    def _reach(self, points: torch.Tensor, size: Sequence[int]) -> list[slice]:
        """The box of the patch that all cones lie in; the whole patch on a GPU, which would have to be waited for."""
        if points.device.type != "cpu" or points.numel() == 0:
            return [slice(0, edge) for edge in size]
        finest = max(self.radius)
        half = torch.tensor(self.radius) * math.sqrt(finest**2 + 1.0) / finest
        flat = points.flatten(0, -2)
        lower = torch.nan_to_num(flat - half, nan=math.inf).amin(0).tolist()
        upper = torch.nan_to_num(flat + half, nan=-math.inf).amax(0).tolist()
        return [
            slice(max(0, math.ceil(min(low, edge))), min(edge, math.floor(max(high, -1)) + 1))
            for low, high, edge in zip(lower, upper, size, strict=True)
        ]


class GaussianTarget:
    """Sub-voxel Gaussian as a product of one vector for each axis: it is never made dense.

    Args:
        sigma: standard deviation in voxels, the same on every axis.

    Raises:
        ValueError: if sigma is not positive.
    """

    def __init__(self, sigma: float = 1.0) -> None:
        if sigma <= 0:
            raise ValueError(f"sigma is {sigma} voxels; it must be positive")
        self.sigma = float(sigma)

    def factors(self, points: torch.Tensor, size: Sequence[int]) -> list[torch.Tensor]:
        """One ``(B, L, size[d])`` vector for each axis, each with sum 1; their outer product is the target.

        Args:
            points: ``(B, L, D)`` voxels, finite.
            size: patch shape in voxels.
        """
        return [torch.softmax(-0.5 * (offset / self.sigma) ** 2, dim=-1) for offset in axis_offsets(points, size)]
