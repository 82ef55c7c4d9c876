"""One stage: heatmaps of the whole image by a sliding window, decoded view by view."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from monai.inferers import Inferer

from .decoding import PeakDecoder
from .heatmaps import HeatmapInferer, Heatmaps
from .instance_decoding import InstanceDecoder
from .instances import Instances
from .peaks import make_peaks
from .shape import ShapeModel, shape_prior
from .views import agreement, mean_of_views


class DenseInferer(HeatmapInferer):
    """Finds every landmark in a heatmap of the whole planned grid.

    The window slides over the image once for each view. A sliding window is a weighted mean of what the network says,
    so the mean of the views' heatmaps is the heatmap of the mean of the views, and points are those that one pass with
    a network that averages would give.

    Args:
        window: MONAI's ``SlidingWindowInferer``, or another that gives ``(B, L, *size)`` logits.
        decoder: from logits to points.
        spacing: mm of the planned grid.
        instances: which rows of peaks belong to which landmark, where the decoder finds several.
        shape: a shape model whose prior chooses among the maxima of a landmark that it finds far off; None for none.
            Views are compared without it, so that their disagreement means the same with it.
    """

    def __init__(
        self,
        *,
        window: Inferer,
        decoder: PeakDecoder | InstanceDecoder,
        spacing: Sequence[float],
        instances: Instances | None = None,
        shape: ShapeModel | None = None,
    ) -> None:
        super().__init__()
        self.window, self.decoder, self.instances, self.shape = window, decoder, instances, shape
        self.spacing = np.asarray(spacing, dtype=np.float64)

    def heatmaps(self, image: torch.Tensor, network: Callable[..., Any]) -> Heatmaps:
        """The heatmaps ``(L, *size)`` of an image ``(C, *size)`` on the planned grid, and their peaks."""
        logits, single = mean_of_views(
            network, lambda view: self.window(image[None], view)[0], lambda seen: self.decoder(seen)[0]
        )
        points, confidence, covariance = self.decoder(logits)
        columns = agreement(single, points, network, self.spacing, self.instances)
        if self.shape is not None:
            # Axes of the planned grid times spacing are a right-handed frame in mm, as the world of the shape is.
            voxel = float(self.spacing.max())
            fitted, distance, far = self.shape.judge(points.double().cpu().numpy() * self.spacing, voxel)
            if far.any():
                deviation = self.shape.deviation(voxel)
                prior = shape_prior(fitted / self.spacing, deviation, self.spacing, far, logits)
                points, confidence, covariance = self.decoder(logits, prior)
            columns |= {"shape_distance": torch.from_numpy(distance), "replaced": torch.from_numpy(far)}
        origins = torch.zeros((len(logits), len(self.spacing)), device=logits.device)
        return Heatmaps(logits, origins, make_peaks(points, confidence, covariance, **columns))
