"""Several peaks of one heatmap: local maxima, thinned by non-maximum suppression, in 2D and 3D."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

from .peaks import places_of

FLOOR = 0.05
"""Candidates below this confidence are dropped; a calibrated threshold lies above it."""

_MOST_CANDIDATES = 4096


def candidates(points: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """Rows that may be instances of a landmark of which there are many.

    An image without any leaves its highest voxel, which is none.

    Args:
        points: ``(R, D)``, NaN where a row has no point.
        confidence: ``(R,)`` sigmoid of the peak.

    Returns:
        ``(R,)`` bool.
    """
    return np.isfinite(points).all(axis=-1) & (confidence >= FLOOR)


def local_maxima(heatmap: torch.Tensor, floor: float) -> torch.Tensor:
    """Voxels that no neighbour surpasses, the highest first.

    Args:
        heatmap: ``(*size)`` in 2D or 3D.
        floor: lower ones are left out.

    Returns:
        ``(N,)`` flat indices. All voxels of a plateau are among them.
    """
    pool = functional.max_pool2d if heatmap.ndim == 2 else functional.max_pool3d
    highest = pool(heatmap[None, None].float(), kernel_size=3, stride=1, padding=1)[0, 0]
    index = torch.nonzero(((heatmap >= highest) & (heatmap >= floor)).flatten())[:, 0]
    order = torch.argsort(heatmap.flatten()[index], descending=True, stable=True)
    return index[order[:_MOST_CANDIDATES]]


def suppress(points: torch.Tensor, min_distance: float, most: int) -> list[int]:
    """Greedy non-maximum suppression: a point goes that is nearer than ``min_distance`` to one that stays before it.

    Args:
        points: ``(N, D)``, the best first, in any unit of length.
        min_distance: in that unit.
        most: stop with so many.

    Returns:
        Indices of the points that stay, in their order.
    """
    kept: list[int] = []
    free = torch.ones(len(points), dtype=torch.bool, device=points.device)
    while len(kept) < most and bool(free.any()):
        best = int(free.float().argmax())
        kept.append(best)
        free &= torch.linalg.vector_norm(points - points[best], dim=-1) >= max(min_distance, 1e-6)
        free[best] = False
    return kept


def find_peaks(
    heatmap: torch.Tensor, spacing: Sequence[float], min_distance_mm: float, most: int, floor: float
) -> torch.Tensor:
    """The highest peaks of a heatmap that keep their distance.

    Args:
        heatmap: ``(*size)``.
        spacing: mm of its voxels.
        min_distance_mm: between two peaks.
        most: number of peaks.
        floor: lower ones are left out.

    Returns:
        ``(N,)`` flat indices, the highest first.
    """
    index = local_maxima(heatmap, floor)
    return index[suppress(millimetres(index, heatmap, spacing), min_distance_mm, most)]


def millimetres(index: torch.Tensor, heatmap: torch.Tensor, spacing: Sequence[float]) -> torch.Tensor:
    """``(N, D)`` voxel centres of flat indices in mm from the first voxel."""
    voxels = places_of(index, heatmap.shape)
    return voxels.float() * torch.tensor(spacing, device=heatmap.device)
