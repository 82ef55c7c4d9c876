"""How a network of two stages is called on a whole volume: coarse to fine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from monai.inferers import Inferer

from ..grid.grids import apply_affine, coarse_to_planned, planned_to_coarse, to_cells, world_to_voxel
from ..grid.transforms import block_mean
from ..grid.turning import sampled, turned_about, turned_box
from ..methods.heatmap import axis_offsets
from ..methods.interfaces import Decoder, Output, StageNetwork, kept_heads, without_scalars
from ..methods.on_device import sent
from ..points.instances import Instances
from ..points.shape import shape_prior
from .heatmaps import HeatmapInferer, Heatmaps, check_finite, slide
from .poses import Look, PoseSearch, turned_back
from .shared_crops import shared
from .views import agreement, mean_of_views

# An image (C, *crop_size) for each landmark, and its first voxel (D,); the same one for landmarks that share it.
Crops = list[tuple[torch.Tensor, np.ndarray]]


class CoarseToFineInferer(HeatmapInferer):
    """Finds every landmark on the coarse grid, checks the shape, and looks again in crops of the planned grid.

    Crops lie on whole cells of the fine output (voxels, where it is a heatmap), so where they overlap, the outputs of a
    landmark are averaged with Gaussian weights, as in a sliding window, but only near where it is: no output of the
    whole volume is made. Each head of the fine output has the same number of channels for each landmark, those of the
    first one first.

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
        crop_sharing: share of a crop's edge that a landmark may lie beside the middle of its crop along each axis, so
            that landmarks close to each other are looked at in one crop; with 0 each has one of its own.
        pad_value: value of air.
        instances: which landmarks may change places, so that the views are compared in one order.
        flip_pairs: see `HeatmapInferer`.
        amp: see `HeatmapInferer`.
        pose: tries poses of the image, and turns the crops upright where it found another one or where poses are free;
            None looks at the image as it lies.

    Raises:
        ValueError: `crop_sharing` is negative, or half an edge or more.
    """

    keeps_parts_of = ("fine",)

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
        crop_sharing: float = 0.0,
        pad_value: float = 0.0,
        instances: Instances | None = None,
        flip_pairs: str | Path | Sequence[int] | None = None,
        amp: bool = False,
        pose: PoseSearch | None = None,
    ) -> None:
        super().__init__({"coarse": coarse_decoder, "fine": fine_decoder}, flip_pairs, amp=amp)
        self.window, self.factor, self.crop_size = window, [int(f) for f in factor], [int(n) for n in crop_size]
        self.spacing, self.plausibility = np.asarray(spacing, dtype=np.float64), bool(plausibility)
        self.reach, self.shape_prior = float(reach), bool(shape_prior)
        self.coarse_decoder, self.fine_decoder = coarse_decoder, fine_decoder
        self.batch_size, self.pad_value = int(batch_size), float(pad_value)
        if not 0 <= crop_sharing < 0.5:
            raise ValueError(f"crop_sharing is {crop_sharing}; it is at least 0 and below 0.5, where a crop ends")
        self.crop_sharing = float(crop_sharing)
        self.instances, self.pose = instances, pose

    def find(self, image: torch.Tensor, network: StageNetwork) -> Heatmaps:
        """The fine heatmap of each landmark of an image ``(C, *size)`` on the planned grid, and its peak.

        Raises:
            ValueError: if the network gives numbers that are not finite, as after a training that diverged.
        """
        points, distance, replaced, turn = self._find(image, network)
        points = points if turn is None else world_to_voxel(turn, points)
        crops = self._crops(image, points, turn)
        origins = torch.tensor(np.stack([origin for _, origin in crops]), device=image.device, dtype=torch.float32)
        prior = self._log_prior(torch.as_tensor(points, device=image.device, dtype=torch.float32) - origins)
        output, single = mean_of_views(
            self._fine_views(crops, network), lambda seen: self.fine_decoder.decode(seen, prior).points + origins
        )
        local = self.fine_decoder.decode(output, prior)
        check_finite(local.points, local.confidence)
        found = local.points + origins
        columns = {
            "shape_distance": torch.from_numpy(distance),
            "replaced": torch.from_numpy(replaced),
            **agreement(single, found, network.flipped, self.spacing, self.instances),
        }
        columns = {name: column.to(local.confidence) for name, column in columns.items()}
        peaks = turned_back(replace(local, points=found, **columns), turn)
        return Heatmaps(output, origins, peaks, turn)

    def coarse_points(self, image: torch.Tensor, network: StageNetwork) -> np.ndarray:
        """The points ``(R, D)`` in voxels of the planned grid around which an image ``(C, *size)`` is looked at again.

        Raises:
            ValueError: if the network gives numbers that are not finite, as after a training that diverged.
        """
        return self._find(image, self._seeing(network))[0]

    def _find(
        self, image: torch.Tensor, network: StageNetwork
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
        """What the coarse stage finds, where the shape has its say.

        Returns:
            Coarse points ``(L, D)`` in planned voxels, distance from the shape ``(L,)`` mm, replaced ``(L,)``, and how
            crops are turned: a map ``(D+1, D+1)`` to planned voxels, or None.

        Raises:
            ValueError: if the network gives numbers that are not finite, as after a training that diverged.
        """
        coarse = block_mean(image[None], self.factor)[0]
        output, points, confidence, turn = self._look(coarse, network, None)
        tried = False
        if self.pose is not None:

            def judged(rotation: np.ndarray) -> Look:
                _, seen, sure, back = self._look(coarse, network.views()[0], rotation)
                assert back is not None
                return self._judged(network, rotation, apply_affine(back, seen), sure)

            first = self._judged(network, np.eye(len(self.spacing)), points, confidence)
            best = self.pose.best(first, judged, network.shape)
            if best is not first:
                tried = True
                output, points, confidence, turn = self._look(coarse, network, best.rotation)
        # Axes of the planned grid times spacing are a right-handed frame in mm, as the world of the shape is.
        shape, voxel = network.shape, self.spacing * self.factor
        fitted, distance, replaced = shape.judge(points * self.spacing, tolerance=float(voxel.max()))
        if self.shape_prior and replaced.any():
            stride, grid = self.coarse_decoder.stride, output[self.coarse_decoder.heads[0]]
            centre = to_cells(planned_to_coarse(fitted / self.spacing, self.factor), stride)
            prior = shape_prior(centre, shape.deviation(float(voxel.max())), voxel * stride, replaced, grid)
            chosen = self.coarse_decoder.single().decode(output, prior).points
            again = coarse_to_planned(chosen.double().cpu().numpy(), self.factor)
            points = np.where(replaced[:, None], again, points)
        elif self.plausibility:
            points = np.where(replaced[:, None], fitted / self.spacing, points)
        if not (self.plausibility or self.shape_prior):
            replaced = np.zeros_like(replaced)
        limit = np.asarray(image.shape[1:]) - 1
        points = np.clip(points if turn is None else apply_affine(turn, points), 0, limit)
        if self.pose is None or not (tried or self.pose.free):
            return points, distance, replaced, None
        standing = self._judged(network, np.eye(len(limit)), points, confidence).standing
        return points, distance, replaced, None if standing is None else turned_about(standing, self.spacing, limit / 2)

    def _look(
        self, coarse: torch.Tensor, network: StageNetwork, rotation: np.ndarray | None
    ) -> tuple[Output, np.ndarray, np.ndarray, np.ndarray | None]:
        """What the coarse stage says of an image ``(C, *size)`` of the coarse grid, turned or as it is.

        Returns:
            The output; points ``(L, D)`` in planned voxels, of the turned grid where there is one; their confidence
            ``(L,)``; and the map from voxels of the turned planned grid to planned voxels, None without a rotation.
        """
        turn = None
        if rotation is not None:
            affine, size = turned_box(rotation, self.spacing * self.factor, coarse.shape[1:])
            coarse = sampled(coarse, affine, size, self.pad_value)
            to_planned = np.diag([*map(float, self.factor), 1.0])
            to_planned[:-1, -1] = (np.asarray(self.factor) - 1) / 2
            turn = to_planned @ affine @ np.linalg.inv(to_planned)
        output = slide(self.window, coarse, lambda x: kept_heads(network({"coarse": x})["coarse"], self.coarse_decoder))
        peaks = self.coarse_decoder.decode(output)
        # Of every row, whatever its confidence: each gets a crop.
        check_finite(peaks.points, torch.ones_like(peaks.points[:, 0]))
        points = coarse_to_planned(peaks.points.double().cpu().numpy(), self.factor)
        return output, points, peaks.confidence.double().cpu().numpy(), turn

    def _judged(self, network: StageNetwork, rotation: np.ndarray, points: np.ndarray, confidence: np.ndarray) -> Look:
        """A look with points ``(L, D)`` in planned voxels of the image, judged by the shape."""
        assert self.pose is not None
        voxel = float((self.spacing * self.factor).max())
        return self.pose.look_at(network.shape, rotation, points * self.spacing, confidence, voxel)

    def _log_prior(self, points: torch.Tensor) -> torch.Tensor:
        """Log of a Gaussian ``(L, *grid)`` about the coarse points ``(L, D)``, which are in voxels of the crops."""
        total = torch.zeros((), device=points.device)
        stride = self.fine_decoder.stride
        for axis, offset in enumerate(axis_offsets(to_cells(points[None], stride), self._cells())):
            shape = [1] * len(self.crop_size)
            shape[axis] = -1
            scaled = offset[0] * (float(self.spacing[axis]) * stride / self.reach)
            total = total - 0.5 * scaled.square().reshape(len(points), *shape)
        return total

    def _cells(self) -> list[int]:
        """Shape of the fine output's grid."""
        return [edge // self.fine_decoder.stride for edge in self.crop_size]

    def _crops(self, image: torch.Tensor, points: np.ndarray, turn: np.ndarray | None = None) -> Crops:
        """The crop ``(C, *crop_size)`` in which each point is looked at, air outside of the image, and its origin.

        Where crops are turned, points ``(L, D)`` and origins are in voxels of the turned grid, in planned voxels
        otherwise.
        """
        stride, cells = self.fine_decoder.stride, self._cells()
        # Exact halves are common (a peak at the border of the image), and go up whatever their last digit says.
        own = np.floor((np.asarray(points) - (np.asarray(self.crop_size) - 1) / 2) / stride + 0.501).astype(int)
        places = shared(own, [int(self.crop_sharing * edge) for edge in cells]) * stride
        made: dict[tuple[int, ...], torch.Tensor] = {}
        for origin in places:
            if (place := tuple(origin)) not in made:
                made[place] = self._crop(image, origin, turn)
        return [(made[tuple(origin)], origin) for origin in places]

    def _crop(self, image: torch.Tensor, origin: np.ndarray, turn: np.ndarray | None) -> torch.Tensor:
        """The crop ``(C, *crop_size)`` that begins at a voxel; turned crops are one interpolation."""
        size = np.asarray(self.crop_size)
        if turn is not None:
            there = turn.copy()
            there[:-1, -1] = apply_affine(turn, origin)
            return sampled(image, there, self.crop_size, self.pad_value)
        low, high = np.maximum(origin, 0), np.minimum(origin + size, image.shape[1:])
        out = image.new_full((image.shape[0], *self.crop_size), self.pad_value)
        inner = tuple(slice(a, b) for a, b in zip(low - origin, high - origin, strict=True))
        outer = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        out[(slice(None), *inner)] = image[(slice(None), *outer)]
        return out

    def _fine_views(self, crops: Crops, network: StageNetwork) -> list[Callable[[], Output]]:
        """What gives the fine output of each view of a network, in the order of its views."""
        views = network.views()
        if not network.flipped or self.flip_pairs is None:
            return [partial(self._fine_output, crops, view) for view in views]
        plain = views[: len(views) // 2]
        looks = (self._fine_output, self._mirrored_output)
        return [partial(look, crops, view) for look in looks for view in plain]

    def _mirrored_output(self, crops: Crops, network: StageNetwork) -> Output:
        """What `_fine_output` gives, from the mirror image.

        The output goes back in place once it is merged, as one crop for each landmark. Each crop of a batch has all
        landmarks, and to turn those back took as long as half of the network.
        """
        assert self.flip_pairs is not None
        # The channel of a landmark shows its partner in the mirror, so it is merged about the partner's crop.
        mirrored = [(image.flip(1), origin * self._mirror()) for image, origin in (crops[i] for i in self.flip_pairs)]
        maps, scalars = without_scalars(self._fine_output(mirrored, network))
        seen = self.fine_decoder.unflip({head: value[None] for head, value in maps.items()} | scalars, self.flip_pairs)
        maps, scalars = without_scalars(seen)
        return {head: value[0] for head, value in maps.items()} | scalars

    def _mirror(self) -> np.ndarray:
        """What origins of crops are multiplied by, so that they lie to each other as they do in the mirror image."""
        return np.array([-1] + [1] * (len(self.crop_size) - 1))

    def _fine_output(self, crops: Crops, network: StageNetwork) -> Output:
        """The output of each landmark in its crop, averaged over all crops that see the place."""
        size = np.asarray(self._cells())
        origins = np.stack([origin for _, origin in crops]) // self.fine_decoder.stride
        # Of the crops each one once, however many landmarks share it.
        looks = np.sort(np.unique(origins, axis=0, return_index=True)[1])
        weight = gaussian_window(self._cells(), crops[0][0].device)
        # (channels of a landmark, *grid) for each landmark
        total: dict[str, torch.Tensor] = {}
        scalars: Output = {}
        weights = torch.zeros((len(crops), *self._cells()), device=weight.device)
        for start in range(0, len(looks), self.batch_size):
            chosen = looks[start : start + self.batch_size]
            batch = torch.stack([crops[number][0] for number in chosen])
            kept, scalars = without_scalars(kept_heads(network({"fine": batch})["fine"], self.fine_decoder))
            found = {head: value.unflatten(1, (len(crops), -1)) for head, value in kept.items()}
            if not total:
                total = {head: weight.new_zeros(value.shape[1:]) for head, value in found.items()}
            for number, origin in enumerate(origins[chosen]):
                shift = origins - origin
                # Half an overlap on every axis, or the neighbour's view is all border.
                marks = np.flatnonzero((np.abs(shift) <= size // 2).all(-1))
                # Of all landmarks those that this crop has a say in.
                seen = sent(torch.from_numpy(marks), weight.device)
                near = {head: value[number][seen].float() for head, value in found.items()}
                for row, mark in enumerate(marks):
                    here = tuple(slice(max(0, s), n + min(0, s)) for s, n in zip(shift[mark], size, strict=True))
                    there = tuple(slice(max(0, -s), n + min(0, -s)) for s, n in zip(shift[mark], size, strict=True))
                    for head, value in near.items():
                        total[head][mark][(slice(None), *there)] += (value[row] * weight)[(slice(None), *here)]
                    weights[mark][there] += weight[here]
        return {head: (value / weights[:, None]).flatten(0, 1) for head, value in total.items()} | scalars


def gaussian_window(size: Sequence[int], device: torch.device) -> torch.Tensor:
    """Weights ``(*size)`` that fall towards the border: sigma = size / 8, never below 1e-3, as in sliding windows."""
    out = torch.ones((), device=device)
    for n in size:
        steps = torch.arange(n, device=device, dtype=torch.float32) - (n - 1) / 2
        out = out[..., None] * torch.exp(-0.5 * (steps / (n / 8)) ** 2)
    return out.clamp(min=1e-3)
