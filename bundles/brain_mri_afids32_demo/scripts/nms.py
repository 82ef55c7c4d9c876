"""Several peaks of one heatmap: local maxima, thinned by non-maximum suppression, in 2D and 3D."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

from .decoding import PeakDecoder
from .instances import Instances

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
    return index[suppress(_millimetres(index, heatmap, spacing), min_distance_mm, most)]


class InstanceDecoder:
    """From logits to rows of points: all instances of a landmark, both points of an exchangeable pair.

    A landmark of which there are many gets its highest peaks above `FLOOR`, the highest in its first row whatever its
    height; rows without a peak are NaN. An exchangeable pair gets the two highest peaks of the mean of its channels.
    Other landmarks are decoded as before.

    Args:
        decoder: finds the sub-voxel place of a peak.
        instances: which rows belong to which landmark.
        spacing: mm of the grid of the logits.
    """

    def __init__(self, decoder: PeakDecoder, instances: Instances, spacing: Sequence[float]) -> None:
        self.decoder, self.instances, self.spacing = decoder, instances, [float(step) for step in spacing]

    def __call__(
        self, logits: torch.Tensor, log_prior: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Decode ``(L, *size)``: ``(R, D)`` voxels, ``(R,)`` confidence, ``(R, D, D)`` covariance in voxels.

        A prior, as `PeakDecoder` has it, counts for landmarks that are there once.
        """
        known = self.instances
        logits = logits.as_tensor() if hasattr(logits, "as_tensor") else logits
        points, confidence, covariance = self.decoder(logits, log_prior)
        more = len(known.channels) - len(points)
        points = torch.cat([points, points.new_full((more, points.shape[1]), torch.nan)])
        confidence = torch.cat([confidence, confidence.new_zeros(more)])
        covariance = torch.cat([covariance, covariance.new_full((more, *covariance.shape[1:]), torch.nan)])
        floor = math.log(FLOOR / (1 - FLOOR))
        jobs: list[tuple[torch.Tensor, torch.Tensor, list[int], float]] = []
        for channel in (c for c, of in enumerate(known.many) if of):
            rows = [row for row, of in enumerate(known.channels) if of == channel]
            found = find_peaks(
                logits[channel], self.spacing, known.min_distance_mm[channel], known.most[channel], floor
            )
            jobs.append((logits[channel], found, rows[: len(found)], known.min_distance_mm[channel]))
        for first, second in known.exchangeable:
            mean = (logits[first] + logits[second]) / 2
            distance = known.min_distance_mm[first]
            jobs.append((mean, self._two(mean, distance), [first, second], distance))
        for heatmap, index, rows, distance in jobs:
            if rows:
                points[rows], confidence[rows], covariance[rows] = self._refined(heatmap, index, distance)
        return points, confidence, covariance

    def _refined(
        self, heatmap: torch.Tensor, index: torch.Tensor, min_distance_mm: float
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Points, confidence and covariance of the peaks; one that slides towards another stays on its voxel."""
        points, confidence, covariance = self.decoder.refine(
            heatmap[None], index.new_zeros(len(index)), index, alone=False
        )
        voxels = torch.stack(torch.unravel_index(index, heatmap.shape), dim=-1).to(points)
        slid = (points - voxels) * torch.tensor(self.spacing, device=points.device)
        stays = torch.linalg.vector_norm(slid, dim=-1) > min_distance_mm / 2
        return torch.where(stays[:, None], voxels, points), confidence, covariance

    def _two(self, heatmap: torch.Tensor, min_distance_mm: float) -> torch.Tensor:
        """The two highest peaks; where there is one alone, the highest voxel at a distance from it is the second."""
        index = find_peaks(heatmap, self.spacing, min_distance_mm, 2, -torch.inf)
        if len(index) < 2:
            everywhere = torch.arange(heatmap.numel(), device=heatmap.device)
            places = _millimetres(everywhere, heatmap, self.spacing)
            near = torch.linalg.vector_norm(places - places[index[0]], dim=-1) < min_distance_mm
            second = heatmap.flatten().masked_fill(near, -torch.inf).argmax()
            index = torch.stack([index[0], second])
        return index


def _millimetres(index: torch.Tensor, heatmap: torch.Tensor, spacing: Sequence[float]) -> torch.Tensor:
    """``(N, D)`` voxel centres of flat indices in mm from the first voxel."""
    voxels = torch.stack(torch.unravel_index(index, heatmap.shape), dim=-1)
    return voxels.float() * torch.tensor(spacing, device=heatmap.device)
