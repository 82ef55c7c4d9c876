"""Any network of heatmaps, with a softmax over space at its end."""

from __future__ import annotations

import torch
from torch import nn


class SpatialLogSoftmax(nn.Module):
    """A network whose first channels are logarithms of probabilities of voxels: each sums to 1 over the patch.

    The softmax stands in the network, because a spatial softmax leaves the level of the logits free: windows of a
    larger image could not be averaged without it.

    Args:
        network: maps ``(B, C, *size)`` to ``(B, channels, *size)``.
        maps: how many of the channels are such maps; the others stay as they are.
    """

    def __init__(self, network: nn.Module, maps: int) -> None:
        super().__init__()
        self.network, self.maps = network, int(maps)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """``(B, C, *size)`` to ``(B, channels, *size)``."""
        channels = self.network(image)
        logits = channels[:, : self.maps].float()
        maps = torch.log_softmax(logits.flatten(2), dim=2).reshape(logits.shape)
        return torch.cat([maps, channels[:, self.maps :].float()], dim=1)
