"""Views of an image, members of an ensemble and mirror images: their mean, and how far apart their points are."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from ..methods.interfaces import Output
from ..points.instances import Instances
from ..points.matching import best_order, match


def mean_of_views(
    looks: Sequence[Callable[[], Output]], points_of: Callable[[Output], torch.Tensor]
) -> tuple[Output, list[torch.Tensor]]:
    """Look at an image once with each view of a network.

    One view after the other, so that memory holds two outputs, the mean and that of the view at hand, and not one for
    each view.

    Args:
        looks: what gives the output of each view, heads ``(channels, *grid)``.
        points_of: from an output to points ``(R, D)``.

    Returns:
        The mean of the outputs, head by head, and the points of each view; no points where there is one view, which is
        the mean.
    """
    if len(looks) == 1:
        return looks[0](), []
    mean: Output = {}
    points = []
    for look in looks:
        seen = look()
        points.append(points_of(seen))
        for head in list(seen):
            # Taken out, or it would still be there while the next view looks.
            value = seen.pop(head)
            mean[head] = mean[head].add_(value, alpha=1 / len(looks)) if head in mean else value / len(looks)
            del value
    return mean, points


def agreement(
    points: Sequence[torch.Tensor],
    mean: torch.Tensor,
    flipped: bool,
    spacing: np.ndarray,
    instances: Instances | None = None,
) -> dict[str, torch.Tensor]:
    """How far views are apart, as the columns of `scripts.points.peaks.make_peaks` that say so.

    Where two landmarks may change places or there are many of one, a view has them in an order of its own; it is
    compared in that of the mean.

    Args:
        points: (R, D) voxels of each view, of `mean_of_views`.
        mean: (R, D) voxels of the mean of their heatmaps, NaN in rows without a point.
        flipped: whether the second half of the views saw the mirror image.
        spacing: (D,) mm.
        instances: which rows belong to which landmark; None where each landmark has one row, its own.

    Returns:
        (R,) mm each: ``disagreement`` where there are several views, ``mirror_disagreement`` where half of them saw the
        mirror image. NaN in rows where the mean has no point.
    """
    if not points:
        return {}
    missing_mm = None
    if instances is not None:
        points = [aligned(view, mean, spacing, instances) for view in points]
        missing_mm = torch.tensor([instances.min_distance_mm[channel] for channel in instances.channels])
    found = {"disagreement": disagreement(torch.stack([*points]), spacing, missing_mm)}
    if flipped:
        found["mirror_disagreement"] = mirror_disagreement(points, spacing, missing_mm)
    there = torch.isfinite(mean).all(-1)
    return {name: torch.where(there, column, torch.nan) for name, column in found.items()}


def aligned(points: torch.Tensor, mean: torch.Tensor, spacing: np.ndarray, instances: Instances) -> torch.Tensor:
    """The points of a view in the order of those of the mean.

    Two landmarks that may change places stand in the better of their two orders. Of a landmark with many instances, as
    many as can be have a partner within ``min_distance_mm``, because what is farther is another instance; of all ways
    to do so, the one with the smallest sum.

    Args:
        points: (R, D) voxels.
        mean: (R, D) voxels.
        spacing: (D,) mm.
        instances: which rows belong to which landmark.

    Returns:
        (R, D) voxels; NaN for an instance of the mean that the view does not have.
    """
    out = points.clone()
    view_mm, mean_mm = (rows.double().cpu().numpy() * spacing for rows in (points, mean))
    for pair in map(list, instances.exchangeable):
        if best_order(view_mm[pair], mean_mm[pair]):
            out[pair] = points[pair[::-1]]
    channels = np.asarray(instances.channels)
    for channel in np.flatnonzero(instances.many):
        rows = np.flatnonzero(channels == channel)
        partner, row = match(view_mm[rows], mean_mm[rows], instances.min_distance_mm[channel])
        out[rows] = torch.nan
        out[rows[row]] = points[rows[partner]]
    return out


def disagreement(points: torch.Tensor, spacing: np.ndarray, missing_mm: torch.Tensor | None = None) -> torch.Tensor:
    """How far views are apart.

    Args:
        points: (V, R, D) voxels, NaN where a view does not have a point.
        spacing: (D,) mm.
        missing_mm: (R,) distance in mm of a view without a point from every other view; None where all have theirs.

    Returns:
        (R,) mm: root mean square distance from the mean of the views.
    """
    scaled = points * torch.as_tensor(spacing, dtype=points.dtype, device=points.device)
    apart = torch.linalg.vector_norm(scaled[:, None] - scaled, dim=-1)
    if missing_mm is not None:
        apart = torch.where(torch.isfinite(apart), apart, missing_mm.to(apart))
        apart = apart * (1 - torch.eye(len(points)).to(apart))[..., None]
    # Half the mean square distance of two is the mean square distance from the mean, which needs no mean of what is
    # not there.
    return (apart.square().mean((0, 1)) / 2).sqrt()


def mirror_disagreement(
    points: Sequence[torch.Tensor], spacing: np.ndarray, missing_mm: torch.Tensor | None = None
) -> torch.Tensor:
    """How far an image and its mirror image are apart.

    Args:
        points: 2 M tensors (R, D) voxels: M networks on the image, then the same ones on its mirror image.
        spacing: (D,) mm.
        missing_mm: as `disagreement` has it.

    Returns:
        (R,) mm: `disagreement` of each network with itself, the mean over networks.
    """
    half = len(points) // 2
    pairs = [torch.stack([points[i], points[i + half]]) for i in range(half)]
    return torch.stack([disagreement(pair, spacing, missing_mm) for pair in pairs]).mean(0)
