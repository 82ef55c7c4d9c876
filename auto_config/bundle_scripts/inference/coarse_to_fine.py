"""How a network of two stages is called on a whole volume: coarse to fine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from monai.inferers import Inferer

from ..grid.grids import coarse_to_planned, planned_to_coarse
from ..grid.transforms import block_mean
from ..methods.heatmap import axis_offsets
from ..methods.interfaces import Decoder, Output, StageNetwork, kept_heads
from ..points.instances import Instances
from ..points.shape import shape_prior
from .heatmaps import NOT_FINITE, HeatmapInferer, Heatmaps
from .views import agreement, mean_of_views


class CoarseToFineInferer(HeatmapInferer):
    """Finds every landmark on the coarse grid, checks the shape, and looks again in crops of the planned grid.

    Crops lie on whole voxels, so where they overlap, the heatmaps of a landmark are averaged with Gaussian weights, as
    in a sliding window, but only near where it is: no heatmap of the whole volume is made.

    Args:
        window: MONAI's ``SlidingWindowInferer`` with the coarse patch size, for the coarse grid.
        factor: block size of the coarse grid in voxels for each axis.
        crop_size: shape of the fine crops in voxels.
        spacing: mm of the planned grid.
        coarse_decoder: from an output of the coarse stage to peaks.
        fine_decoder: from an output of the fine stage to peaks.
        reach: standard deviation in mm, for each axis, of where a landmark may lie about its coarse point. Between
            two places of a crop that look alike, the nearer one wins; training jitters crops by half as much.
        plausibility: replace coarse points that the shape rules out.
        shape_prior: put another maximum of the coarse heatmap in the place of such a point, the one that is best with a
            Gaussian prior about where the shape expects it, and not the shape's point itself.
        batch_size: crops in one call of the network.
        pad_value: value of air.
        instances: which landmarks may change places, so that the views are compared in one order.
        flip_pairs: see `HeatmapInferer`.
    """

    def __init__(
        self,
        *,
        window: Inferer,
        factor: Sequence[int],
        crop_size: Sequence[int],
        spacing: Sequence[float],
        coarse_decoder: Decoder,
        fine_decoder: Decoder,
        reach: float,
        plausibility: bool = True,
        shape_prior: bool = False,
        batch_size: int = 8,
        pad_value: float = 0.0,
        instances: Instances | None = None,
        flip_pairs: str | Path | Sequence[int] | None = None,
    ) -> None:
        super().__init__({"coarse": coarse_decoder, "fine": fine_decoder}, flip_pairs)
        self.window, self.factor, self.crop_size = window, [int(f) for f in factor], [int(n) for n in crop_size]
        self.spacing, self.plausibility = np.asarray(spacing, dtype=np.float64), bool(plausibility)
        self.reach, self.shape_prior = float(reach), bool(shape_prior)
        self.coarse_decoder, self.fine_decoder = coarse_decoder, fine_decoder
        self.batch_size, self.pad_value = int(batch_size), float(pad_value)
        self.instances = instances

    def find(self, image: torch.Tensor, network: StageNetwork) -> Heatmaps:
        """The fine heatmap of each landmark of an image ``(C, *size)`` on the planned grid, and its peak."""
        points, distance, replaced = self._find(image, network)
        crops = [self._crop(image, point) for point in points]
        origins = torch.tensor(np.stack([origin for _, origin in crops]), device=image.device, dtype=torch.float32)
        prior = self._log_prior(torch.as_tensor(points, device=image.device, dtype=torch.float32) - origins)
        output, single = mean_of_views(
            network,
            lambda view: self._fine_output(crops, view),
            lambda seen: self.fine_decoder.decode(seen, prior).points + origins,
        )
        local = self.fine_decoder.decode(output, prior)
        found = local.points + origins
        columns = {
            "shape_distance": torch.from_numpy(distance),
            "replaced": torch.from_numpy(replaced),
            **agreement(single, found, network.flipped, self.spacing, self.instances),
        }
        columns = {name: column.to(local.confidence) for name, column in columns.items()}
        return Heatmaps(output, origins, replace(local, points=found, **columns))

    def _find(self, image: torch.Tensor, network: StageNetwork) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Coarse points ``(L, D)`` in planned voxels, distance from the shape ``(L,)`` mm, replaced ``(L,)``.

        Raises:
            ValueError: if the network gives numbers that are not finite, as after a training that diverged.
        """
        merged = self.window(
            block_mean(image[None], self.factor),
            lambda x: kept_heads(network({"coarse": x})["coarse"], self.coarse_decoder),
        )
        output = {head: value[0] for head, value in merged.items()}
        coarse = self.coarse_decoder.decode(output).points
        if not torch.isfinite(coarse).all():
            raise ValueError(NOT_FINITE)
        points = coarse_to_planned(coarse.double().cpu().numpy(), self.factor)
        # Axes of the planned grid times spacing are a right-handed frame in mm, as the world of the shape is.
        shape, voxel = network.shape, self.spacing * self.factor
        fitted, distance, replaced = shape.judge(points * self.spacing, tolerance=float(voxel.max()))
        if self.shape_prior and replaced.any():
            centre = planned_to_coarse(fitted / self.spacing, self.factor)
            grid = output[self.coarse_decoder.heads[0]]
            prior = shape_prior(centre, shape.deviation(float(voxel.max())), voxel, replaced, grid)
            chosen = self.coarse_decoder.single().decode(output, prior).points
            again = coarse_to_planned(chosen.double().cpu().numpy(), self.factor)
            points = np.where(replaced[:, None], again, points)
        elif self.plausibility:
            points = np.where(replaced[:, None], fitted / self.spacing, points)
        if not (self.plausibility or self.shape_prior):
            replaced = np.zeros_like(replaced)
        limit = np.asarray(image.shape[1:]) - 1
        return np.clip(points, 0, limit), distance, replaced

    def _log_prior(self, points: torch.Tensor) -> torch.Tensor:
        """Log of a Gaussian ``(L, *crop_size)`` about the coarse points ``(L, D)``, voxels of the crops."""
        total = torch.zeros((), device=points.device)
        for axis, offset in enumerate(axis_offsets(points[None], self.crop_size)):
            shape = [1] * len(self.crop_size)
            shape[axis] = -1
            scaled = offset[0] * (float(self.spacing[axis]) / self.reach)
            total = total - 0.5 * scaled.square().reshape(len(points), *shape)
        return total

    def _crop(self, image: torch.Tensor, point: np.ndarray) -> tuple[torch.Tensor, np.ndarray]:
        """The crop ``(C, *crop_size)`` around a point, air outside of the image, and its origin in planned voxels."""
        size = np.asarray(self.crop_size)
        origin = np.round(point - (size - 1) / 2).astype(int)
        low, high = np.maximum(origin, 0), np.minimum(origin + size, image.shape[1:])
        out = image.new_full((image.shape[0], *self.crop_size), self.pad_value)
        inner = tuple(slice(a, b) for a, b in zip(low - origin, high - origin, strict=True))
        outer = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        out[(slice(None), *inner)] = image[(slice(None), *outer)]
        return out, origin

    def _fine_output(self, crops: list[tuple[torch.Tensor, np.ndarray]], network: StageNetwork) -> Output:
        """Heatmaps ``(L, *crop_size)`` of each landmark in its own crop, averaged over all crops that see the place.

        For decoders of one head with a channel for each landmark and stride 1.
        """
        (head,) = self.fine_decoder.heads
        size = np.asarray(self.crop_size)
        origins = np.stack([origin for _, origin in crops])
        weight = gaussian_window(self.crop_size, crops[0][0].device)
        total = torch.zeros((len(crops), *self.crop_size), device=weight.device)
        weights = torch.zeros_like(total)
        for start in range(0, len(crops), self.batch_size):
            batch = torch.stack([crop for crop, _ in crops[start : start + self.batch_size]])
            logits = network({"fine": batch})["fine"][head].float()
            for origin, found in zip(origins[start : start + self.batch_size], logits, strict=True):
                shift = origins - origin
                # Half an overlap on every axis, or the neighbour's view is all border.
                for mark in np.flatnonzero((np.abs(shift) <= size // 2).all(-1)):
                    here = tuple(slice(max(0, s), n + min(0, s)) for s, n in zip(shift[mark], size, strict=True))
                    there = tuple(slice(max(0, -s), n + min(0, -s)) for s, n in zip(shift[mark], size, strict=True))
                    total[mark][there] += (found[mark] * weight)[here]
                    weights[mark][there] += weight[here]
        return {head: total / weights}


def gaussian_window(size: Sequence[int], device: torch.device) -> torch.Tensor:
    """Weights ``(*size)`` that fall towards the border: sigma = size / 8, never below 1e-3, as in sliding windows."""
    out = torch.ones((), device=device)
    for n in size:
        steps = torch.arange(n, device=device, dtype=torch.float32) - (n - 1) / 2
        out = out[..., None] * torch.exp(-0.5 * (steps / (n / 8)) ** 2)
    return out.clamp(min=1e-3)
