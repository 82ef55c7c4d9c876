"""One stage: heatmaps of the whole image by a sliding window, decoded view by view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from monai.inferers import Inferer

from ..grid.grids import to_cells
from ..methods.interfaces import Decoder, Output, StageNetwork, kept_heads
from ..points.instances import Instances
from ..points.shape import ShapeModel, shape_prior
from .heatmaps import HeatmapInferer, Heatmaps, check_finite, slide
from .views import agreement, mean_of_views


class DenseInferer(HeatmapInferer):
    """Finds every landmark in a heatmap of the whole planned grid.

    The window slides over the image once for each view. A sliding window is a weighted mean of what the network says,
    so the mean of the views' heatmaps is the heatmap of the mean of the views, and points are those that one pass with
    a network that averages would give.

    Args:
        window: MONAI's ``SlidingWindowInferer``, or another that gives what the network gives, head by head.
        decoder: from an output to peaks.
        spacing: mm of the planned grid.
        instances: which rows of peaks belong to which landmark, where the decoder finds several.
        shape: a shape model whose prior chooses among the maxima of a landmark that it finds far off; None for none.
            Views are compared without it, so that their disagreement means the same with it.
        stage: name of the stage.
        flip_pairs: see `HeatmapInferer`.
    """

    def __init__(
        self,
        *,
        window: Inferer,
        decoder: Decoder,
        spacing: Sequence[float],
        instances: Instances | None = None,
        shape: ShapeModel | None = None,
        stage: str = "fine",
        flip_pairs: str | Path | Sequence[int] | None = None,
    ) -> None:
        super().__init__({stage: decoder}, flip_pairs)
        self.window, self.decoder, self.instances, self.shape = window, decoder, instances, shape
        self.stage = stage
        self.spacing = np.asarray(spacing, dtype=np.float64)

    def find(self, image: torch.Tensor, network: StageNetwork) -> Heatmaps:
        """The output ``(channels, *grid)`` of an image ``(C, *size)`` on the planned grid, and its peaks.

        Raises:
            ValueError: if the network gives numbers that are not finite, as after a training that diverged.
        """
        output, single = mean_of_views(
            network, lambda view: self._slide(image, view), lambda seen: self.decoder.decode(seen).points
        )
        peaks = self.decoder.decode(output)
        check_finite(peaks.points, peaks.confidence)
        columns = agreement(single, peaks.points, network.flipped, self.spacing, self.instances)
        if self.shape is not None:
            # Axes of the planned grid times spacing are a right-handed frame in mm, as the world of the shape is.
            voxel = float(self.spacing.max())
            fitted, distance, far = self.shape.judge(peaks.points.double().cpu().numpy() * self.spacing, voxel)
            if far.any():
                deviation, stride = self.shape.deviation(voxel), self.decoder.stride
                centre, grid = to_cells(fitted / self.spacing, stride), output[self.decoder.heads[0]]
                prior = shape_prior(centre, deviation, self.spacing * stride, far, grid)
                peaks = self.decoder.decode(output, prior)
            columns |= {"shape_distance": torch.from_numpy(distance), "replaced": torch.from_numpy(far)}
        columns = {name: column.to(peaks.confidence) for name, column in columns.items()}
        first = output[self.decoder.heads[0]]
        origins = torch.zeros((len(first), len(self.spacing)), device=first.device)
        return Heatmaps(output, origins, replace(peaks, **columns))

    def _slide(self, image: torch.Tensor, view: StageNetwork) -> Output:
        """What one view says of the whole image, head by head."""
        return slide(self.window, image, lambda x: kept_heads(view({self.stage: x})[self.stage], self.decoder))
