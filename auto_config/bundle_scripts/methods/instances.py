"""From heatmaps to rows of points, where a landmark has many instances or two may change places."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from ..points.instances import Instances
from ..points.medoids import two_medoids
from ..points.nms import FLOOR, find_peaks, millimetres
from ..points.peaks import Peaks, make_peaks, places_of
from .decoders import ArgmaxDecoder, unflip_heatmaps
from .heatmap import plain
from .interfaces import LOGITS, Output
from .on_device import constants


class InstanceDecoder:
    """From logits to rows of points: all instances of a landmark, both points of an exchangeable pair.

    A landmark of which there are many gets its highest peaks above `FLOOR`, the highest in its first row whatever its
    height; rows without a peak are NaN. An exchangeable pair gets the two medoids of the mean of its channels, which
    both show both ends (`scripts.points.medoids`). Other landmarks are decoded as before.

    Args:
        decoder: finds the sub-voxel place of a peak.
        instances: which rows belong to which landmark.
        spacing: mm of the grid of the logits.
        reach_mm: radius of the cones; how far mass counts for the ends of a pair.
    """

    heads: tuple[str, ...] = (LOGITS,)
    stride = 1

    def __init__(
        self, decoder: ArgmaxDecoder, instances: Instances, spacing: Sequence[float], *, reach_mm: float
    ) -> None:
        self.decoder, self.instances, self.spacing = decoder, instances, [float(step) for step in spacing]
        self.reach_mm = float(reach_mm)

    def decode(self, output: Output, log_prior: torch.Tensor | None = None) -> Peaks:
        """Peaks of R rows; see `scripts.methods.interfaces.Decoder`."""
        return make_peaks(*self(output[LOGITS], log_prior))

    def unflip(self, output: Output, pairs: Sequence[int]) -> Output:
        """The logits of a mirror image back in place, with paired landmarks exchanged."""
        return unflip_heatmaps(output, pairs)

    def density(self, output: Output) -> torch.Tensor:
        """The probability of each voxel ``(L, *size)``; the ends of a pair have the mean of their two channels."""
        logits = output[LOGITS].float().clone()
        for pair in map(list, self.instances.exchangeable):
            logits[pair] = logits[pair].mean(dim=0, keepdim=True)
        return self.decoder.probability(logits)

    def single(self) -> ArgmaxDecoder:
        """The decoder of one peak for each landmark."""
        return self.decoder

    def __call__(
        self, logits: torch.Tensor, log_prior: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Decode ``(L, *size)``: ``(R, D)`` voxels, ``(R,)`` confidence, ``(R, D, D)`` covariance in voxels.

        A prior, as `ArgmaxDecoder` has it, counts for landmarks that are there once.
        """
        known = self.instances
        logits = plain(logits)
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
        voxels = places_of(index, heatmap.shape).to(points)
        slid = (points - voxels) * constants(self.spacing, points, torch.float32)
        stays = torch.linalg.vector_norm(slid, dim=-1) > min_distance_mm / 2
        return torch.where(stays[:, None], voxels, points), confidence, covariance

    def _two(self, heatmap: torch.Tensor, min_distance_mm: float) -> torch.Tensor:
        """Two voxels for the ends of a pair; where its mass is all in one place, any other peak or voxel is second."""
        density = self.decoder.probability(heatmap[None])[0]
        found = two_medoids(density, self.spacing, reach_mm=self.reach_mm, min_distance_mm=min_distance_mm)
        if found is not None:
            return found
        index = find_peaks(heatmap, self.spacing, min_distance_mm, 2, -torch.inf)
        if len(index) < 2:
            everywhere = torch.arange(heatmap.numel(), device=heatmap.device)
            places = millimetres(everywhere, heatmap, self.spacing)
            near = torch.linalg.vector_norm(places - places[index[0]], dim=-1) < min_distance_mm
            second = heatmap.flatten().masked_fill(near, -torch.inf).argmax()
            index = torch.stack([index[0], second])
        return index
