"""What inference hands to post-processing: one row of numbers for each landmark, with names for its columns.

A row has the D coordinates, the confidence, the shape distance, whether the shape replaced the coarse point, the
disagreement of the views and of the mirror images, and the D (D + 1) / 2 numbers of the upper triangle of the
covariance of the peak. Inferers make it in voxels of the planned grid; `PeaksToWorldd` turns it into
world millimetres.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

_SINGLE = 5  # confidence, shape distance, replaced, disagreement, mirror disagreement


@dataclass(frozen=True)
class Peaks:
    """Peaks of R landmarks in D dimensions, in one unit: voxels of the planned grid, or world mm.

    Args:
        points: (R, D) coordinates.
        confidence: (R,) in [0, 1], evidence that the landmark is there, as the method's decoder has it.
        shape_distance: (R,) mm from the fitted shape, NaN where no shape was judged.
        replaced: (R,) 1 where the shape took the place of the coarse point.
        disagreement: (R,) mm, root mean square distance of the points of single views (mirror image, members of an
            ensemble) from their mean; NaN where there is one view.
        mirror_disagreement: (R,) mm, the same between an image and its mirror image, the mean over the members of an
            ensemble, so that it means the same for one network and for several; NaN without flips.
        covariance: (R, D, D) of the heatmap around the peak.
    """

    points: torch.Tensor
    confidence: torch.Tensor
    shape_distance: torch.Tensor
    replaced: torch.Tensor
    disagreement: torch.Tensor
    mirror_disagreement: torch.Tensor
    covariance: torch.Tensor

    @property
    def spread(self) -> torch.Tensor:
        """(R,) standard deviation of the heatmap around the peak, over all axes: root of the trace."""
        return self.covariance.diagonal(dim1=-2, dim2=-1).sum(-1).clamp(min=0).sqrt()

    def pack(self) -> torch.Tensor:
        """(R, W) rows, with the type of the points."""
        row, column = torch.triu_indices(self.points.shape[1], self.points.shape[1])
        columns = (self.confidence, self.shape_distance, self.replaced, self.disagreement, self.mirror_disagreement)
        single = torch.stack(columns, dim=-1)
        return torch.cat([self.points, single.to(self.points), self.covariance[:, row, column].to(self.points)], dim=-1)


def places_of(index: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Voxels ``(..., D)`` of flat indices ``(...)`` into a grid ``size``, as ``torch.unravel_index`` has them.

    That one sends the lengths of the axes to the device, and makes the host wait for it.
    """
    places: list[torch.Tensor] = []
    for edge in reversed(size):
        places.insert(0, index % edge)
        index = index.div(edge, rounding_mode="floor")
    return torch.stack(places, dim=-1)


def make_peaks(
    points: torch.Tensor,
    confidence: torch.Tensor,
    covariance: torch.Tensor,
    *,
    shape_distance: torch.Tensor | None = None,
    replaced: torch.Tensor | None = None,
    disagreement: torch.Tensor | None = None,
    mirror_disagreement: torch.Tensor | None = None,
) -> Peaks:
    """Peaks in float32, with NaN or 0 where something was not judged; arguments as `Peaks` has them."""
    unknown = torch.full_like(confidence, float("nan"))
    return Peaks(
        points=points.float(),
        confidence=confidence.float(),
        shape_distance=unknown if shape_distance is None else shape_distance.to(confidence),
        replaced=torch.zeros_like(confidence) if replaced is None else replaced.to(confidence),
        disagreement=unknown if disagreement is None else disagreement.to(confidence),
        mirror_disagreement=unknown if mirror_disagreement is None else mirror_disagreement.to(confidence),
        covariance=covariance.float(),
    )


def peak_columns(dims: int) -> int:
    """Width W of a row for D dimensions: 10 in 2D, 14 in 3D."""
    return dims + _SINGLE + dims * (dims + 1) // 2


def unpack_peaks(rows: torch.Tensor) -> Peaks:
    """Read what `Peaks.pack` wrote.

    Args:
        rows: (R, 10) in 2D, (R, 14) in 3D.

    Raises:
        ValueError: rows of another width.
    """
    dims = next((d for d in (2, 3) if rows.ndim == 2 and rows.shape[1] == peak_columns(d)), None)
    if dims is None:
        raise ValueError(
            f"peaks have the shape (landmarks, {peak_columns(2)}) in 2D or (landmarks, {peak_columns(3)}) in 3D, "
            f"got {tuple(rows.shape)}"
        )
    confidence, shape_distance, replaced, disagreement, mirror = rows[:, dims : dims + _SINGLE].unbind(-1)
    row, column = torch.triu_indices(dims, dims)
    covariance = rows.new_zeros((len(rows), dims, dims))
    covariance[:, row, column] = covariance[:, column, row] = rows[:, dims + _SINGLE :]
    return Peaks(rows[:, :dims], confidence, shape_distance, replaced, disagreement, mirror, covariance)
