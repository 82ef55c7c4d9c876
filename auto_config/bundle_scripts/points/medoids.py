"""The two points that a heatmap of two points most likely means."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .nms import suppress
from .peaks import places_of

MOST_VOXELS = 1024
"""The densest voxels, which are looked at: two balls of ten voxels across in 3D."""
STARTS = 4
"""The search begins at so many places and takes the best end of all; on mouse skulls two do."""


def two_medoids(
    density: torch.Tensor, spacing: Sequence[float], *, reach_mm: float, min_distance_mm: float
) -> torch.Tensor | None:
    """Two voxels that the mass of a heatmap is nearest to: the least expected distance to the nearer of both.

    The two highest maxima are no answer where the ends of a pair come near each other or the network is in doubt: a
    heatmap then has ridges, and several maxima of one end surpass the other end. Distances count up to `reach_mm`, so
    little mass far away is no reason to leave an end. These are the medoids of two clusters (Kaufman and Rousseeuw,
    1990) with a bounded loss.

    Args:
        density: ``(*size)`` probabilities of voxels, in 2D or 3D.
        spacing: mm of the voxels.
        reach_mm: largest distance that counts, about the radius of a cone.
        min_distance_mm: the two are never nearer than this.

    Returns:
        ``(2,)`` flat indices, the denser one first; None where no two candidates keep the distance.
    """
    step = torch.tensor(spacing, device=density.device, dtype=torch.float32)
    mass, index = density.flatten().float().topk(min(MOST_VOXELS, density.numel()))
    points = places_of(index, density.shape).float() * step
    distance = torch.cdist(points, points)
    near = distance < max(min_distance_mm, 1e-6)
    distance = distance.clamp(max=reach_mm)
    found: list[tuple[float, int, int]] = []
    for start in suppress(points, reach_mm / 4, STARTS):
        one, cost = start, float("inf")
        while True:
            total = (mass @ torch.minimum(distance[:, [one]], distance)).masked_fill(near[one], torch.inf)
            other = int(total.argmin())
            if not float(total[other]) < cost:
                break
            # The better place of one gives the other its turn, until neither moves.
            cost = float(total[other])
            found.append((cost, one, other))
            one = other
    if not found:
        return None
    _, one, other = min(found)
    return index[sorted((one, other))]  # the densest voxel is first
