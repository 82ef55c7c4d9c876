"""Heatmaps of an image with their peaks: what an inferer finds, and what it hands to post-processing."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from monai.inferers import Inferer

from .methods.interfaces import Decoder, Output, StageNetwork
from .peaks import Peaks


@dataclass(frozen=True)
class Heatmaps:
    """The output of a network for an image, where its landmarks are.

    Args:
        output: heads ``(channels, *grid)``; heatmaps are ``(L, *size)`` on whole voxels of the planned grid.
        origins: (L, D) planned voxel of the first voxel of each.
        peaks: what the decoder makes of them, in planned voxels.
    """

    output: Output
    origins: torch.Tensor
    peaks: Peaks


class HeatmapInferer(Inferer):
    """An inferer that finds heatmaps in whole images and gives their peaks.

    Attributes:
        decoders: the decoder of each stage by name.
    """

    decoders: Mapping[str, Decoder]

    def __call__(self, inputs: torch.Tensor, network: StageNetwork, *_: Any, **__: Any) -> torch.Tensor:
        """Peaks of a batch of whole images.

        Args:
            inputs: ``(B, C, *size)`` on the planned grid.
            network: a `LandmarkNetwork`, or another `StageNetwork`.

        Returns:
            ``(B, R, W)`` rows in voxels of the planned grid; see `scripts.peaks`.
        """
        images = inputs.as_tensor() if hasattr(inputs, "as_tensor") else inputs
        return torch.stack([self.heatmaps(image, network).peaks.pack() for image in images])

    @abstractmethod
    def heatmaps(self, image: torch.Tensor, network: StageNetwork) -> Heatmaps:
        """The heatmaps of an image ``(C, *size)`` on the planned grid, and their peaks."""
