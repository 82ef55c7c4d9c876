"""One stage: heatmaps of the whole image by a sliding window, decoded view by view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from monai.inferers import Inferer

from ..grid.grids import to_cells
from ..grid.turning import sampled, turned_box
from ..methods.interfaces import Decoder, Output, StageNetwork, kept_heads
from ..points.instances import Instances
from ..points.shape import ShapeModel, shape_prior
from .heatmaps import HeatmapInferer, Heatmaps, check_finite, slide
from .poses import Look, PoseSearch, turned_back
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
        pose: tries poses of the whole image; None looks at it as it lies.
        pad_value: value of air, around turned images.
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
        pose: PoseSearch | None = None,
        pad_value: float = 0.0,
    ) -> None:
        super().__init__({stage: decoder}, flip_pairs)
        self.window, self.decoder, self.instances, self.shape = window, decoder, instances, shape
        self.stage, self.pose, self.pad_value = stage, pose, float(pad_value)
        self.spacing = np.asarray(spacing, dtype=np.float64)

    def find(self, image: torch.Tensor, network: StageNetwork) -> Heatmaps:
        """The output ``(channels, *grid)`` of an image ``(C, *size)`` on the planned grid, and its peaks.

        Raises:
            ValueError: if the network gives numbers that are not finite, as after a training that diverged.
        """
        found = self._find(image, network, None)
        if self.pose is None:
            return found
        pose, voxel = self.pose, float(self.spacing.max())

        def judged(output: Output, rotation: np.ndarray, turn: np.ndarray | None) -> Look:
            peaks = turned_back(self.decoder.single().decode(output), turn)
            points, sure = (values.double().cpu().numpy() for values in (peaks.points, peaks.confidence))
            return pose.look_at(network.shape, rotation, points * self.spacing, sure, voxel)

        def look(rotation: np.ndarray) -> Look:
            turned, turn = self._turned(image, rotation)
            return judged(self._slide(turned, network.views()[0]), rotation, turn)

        first = judged(found.output, np.eye(len(self.spacing)), None)
        best = pose.best(first, look, network.shape)
        if best is first:
            return found
        turned, turn = self._turned(image, best.rotation)
        return self._find(turned, network, turn)

    def _turned(self, image: torch.Tensor, rotation: np.ndarray) -> tuple[torch.Tensor, np.ndarray]:
        """The whole image on a turned grid, and the map from its voxels to planned voxels."""
        turn, size = turned_box(rotation, self.spacing, image.shape[1:])
        return sampled(image, turn, size, self.pad_value), turn

    def _find(self, image: torch.Tensor, network: StageNetwork, turn: np.ndarray | None) -> Heatmaps:
        """What the network finds in an image on a grid that `turn` brings back to the planned one."""
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
        return Heatmaps(output, origins, turned_back(replace(peaks, **columns), turn), turn)

    def _slide(self, image: torch.Tensor, view: StageNetwork) -> Output:
        """What one view says of the whole image, head by head."""
        return slide(self.window, image, lambda x: kept_heads(view({self.stage: x})[self.stage], self.decoder))
