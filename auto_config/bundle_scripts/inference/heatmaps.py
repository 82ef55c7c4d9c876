"""Heatmaps of an image with their peaks: what an inferer finds, and what it hands to post-processing."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.inferers import Inferer

from ..grid.grids import apply_affine, world_to_voxel
from ..methods.half_precision import HalfPrecisionNetwork
from ..methods.heatmap import plain
from ..methods.interfaces import Decoder, Output, StageNetwork, without_scalars
from ..points.landmark_names import read_flip_pairs
from ..points.peaks import Peaks
from .flip import MirroredNetwork

NOT_FINITE = "the network gave no finite coordinates; lower learning_rate or resume from an earlier state"


def check_finite(points: torch.Tensor, confidence: torch.Tensor) -> None:
    """Refuse points ``(R, D)``, or confidences ``(R,)``, that are no numbers.

    A row of an instance that is not there has a confidence of 0 and no point.

    Raises:
        ValueError: one is not finite, as after a training that diverged.
    """
    if not torch.isfinite(confidence).all() or not torch.isfinite(points[confidence > 0]).all():
        raise ValueError(NOT_FINITE)


def slide(window: Inferer, image: torch.Tensor, look: Callable[[torch.Tensor], Output]) -> Output:
    """What a network says of a whole image, merged from windows; its learnt scalars are those of each window.

    Args:
        window: merges maps.
        image: ``(C, *size)``.
        look: from windows ``(B, C, *size)`` to the heads that are kept.

    Returns:
        Heads ``(channels, *grid)``, and ``(n,)`` of learnt scalars.
    """
    beside: Output = {}

    def maps_of(windows: torch.Tensor) -> Output:
        maps, scalars = without_scalars(look(windows))
        beside.update(scalars)
        return maps

    merged = {head: value[0] for head, value in window(image[None], maps_of).items()}
    # A window may merge elsewhere than the network works.
    device = next(iter(merged.values())).device
    return merged | {head: value.to(device) for head, value in beside.items()}


@dataclass(frozen=True)
class Heatmaps:
    """The output of a network for an image, where its landmarks are.

    Args:
        output: heads ``(channels, *grid)``; heatmaps are ``(L, *size)`` on whole voxels of the planned grid.
        origins: (L, D) planned voxel of the first voxel of each; voxel of the turned grid, where the image was turned.
        peaks: what the decoder makes of them, in planned voxels.
        turn: ``(D+1, D+1)`` map from voxels of the turned grid to planned voxels; None where nothing was turned. It
            keeps volumes, so densities are the same on either grid.
    """

    output: Output
    origins: torch.Tensor
    peaks: Peaks
    turn: np.ndarray | None = None

    def local(self, points: np.ndarray, landmarks: Sequence[int] | None = None) -> np.ndarray:
        """Points (L, D) in planned voxels as voxels of the heatmap of each landmark, or of those that are named."""
        on_grid = points if self.turn is None else world_to_voxel(self.turn, points)
        origins = self.origins.cpu().numpy()
        return np.asarray(on_grid - (origins if landmarks is None else origins[list(landmarks)]))

    def on_planned_grid(self, density: np.ndarray, landmark: int) -> tuple[np.ndarray, np.ndarray]:
        """The density of a landmark on whole planned voxels, 0 outside of its heatmap.

        Args:
            density: ``(*size)`` on the voxels of its heatmap.
            landmark: its row.

        Returns:
            The density in a box of planned voxels, and the first voxel ``(D,)`` of the box.
        """
        origin = self.origins[landmark].cpu().numpy().astype(int)
        if self.turn is None:
            return density, origin
        from scipy import ndimage

        corners = np.stack(np.meshgrid(*[[0, n - 1] for n in density.shape], indexing="ij"), -1)
        reach = apply_affine(self.turn, corners.reshape(-1, density.ndim) + origin)
        low, high = np.floor(reach.min(0)).astype(int), np.ceil(reach.max(0)).astype(int)
        box = np.stack(np.meshgrid(*[np.arange(a, b + 1) for a, b in zip(low, high, strict=True)], indexing="ij"), -1)
        where = world_to_voxel(self.turn, box) - origin
        return ndimage.map_coordinates(density, np.moveaxis(where, -1, 0), order=1, cval=0.0), low


class HeatmapInferer(Inferer):
    """An inferer that finds heatmaps in whole images and gives their peaks.

    Args:
        decoders: the decoder of each stage by name; they know what the output of a mirror image means.
        flip_pairs: flip test-time augmentation, for networks that were trained on mirrored images: the path of
            ``configs/landmarks.json``, or for each landmark the one that takes its place in the mirror image. None
            looks at the image alone.
        amp: call the network in half precision where the device is made for it, see `HalfPrecisionNetwork`.

    Attributes:
        keeps_parts_of: stages of whose output `find` turns to float32 what it keeps, which is a small part.
    """

    keeps_parts_of: tuple[str, ...] = ()

    def __init__(
        self,
        decoders: Mapping[str, Decoder],
        flip_pairs: str | Path | Sequence[int] | None = None,
        *,
        amp: bool = False,
    ) -> None:
        super().__init__()
        self.decoders, self.amp = dict(decoders), bool(amp)
        self.flip_pairs = None if flip_pairs is None else read_flip_pairs(flip_pairs)

    def __call__(self, inputs: torch.Tensor, network: StageNetwork, *_: Any, **__: Any) -> torch.Tensor:
        """Peaks of a batch of whole images.

        Args:
            inputs: ``(B, C, *size)`` on the planned grid.
            network: a `LandmarkNetwork`, or another `StageNetwork`.

        Returns:
            ``(B, R, W)`` rows in voxels of the planned grid; see `scripts.points.peaks`.
        """
        # Images of a cache may be float16.
        images = plain(inputs).float()
        rows = [self.find_peaks(image, self._seeing(network)).pack() for image in images]
        # Heatmaps, and peaks with them, may lie on the host where the device has no room for them.
        return torch.stack([one.to(images.device) for one in rows])

    def heatmaps(self, image: torch.Tensor, network: StageNetwork) -> Heatmaps:
        """The heatmaps of an image ``(C, *size)`` on the planned grid, and their peaks."""
        return self.find(plain(image), self._seeing(network))

    def find_peaks(self, image: torch.Tensor, network: StageNetwork) -> Peaks:
        """The peaks that `find` finds, for those who ask for no heatmaps."""
        return self.find(image, network).peaks

    def _seeing(self, network: StageNetwork) -> StageNetwork:
        """The network, in half precision and with the mirror image as further views, where that is asked for."""
        if self.amp:
            network = HalfPrecisionNetwork(network, self.keeps_parts_of)
        return network if self.flip_pairs is None else MirroredNetwork(network, self.flip_pairs, self.decoders)

    @abstractmethod
    def find(self, image: torch.Tensor, network: StageNetwork) -> Heatmaps:
        """What one network, or the mean of its views, finds in an image ``(C, *size)``."""
