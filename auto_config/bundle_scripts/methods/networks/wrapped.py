"""Any network with something before or behind it: coordinates as channels, a softmax over the patch."""

import torch
from torch import nn


class LogProbability(nn.Module):
    """A network whose channels are logarithms of probabilities of voxels: each sums to 1 over the patch.

    A spatial softmax in the loss alone leaves the level of the logits free, so windows of a larger image, flipped
    images and ensemble members could not be averaged without it.

    Args:
        network: maps ``(B, C, *size)`` to ``(B, L, *size)``.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """``(B, C, *size)`` to ``(B, L, *size)``."""
        logits = self.network(image)
        return torch.log_softmax(logits.flatten(2).float(), dim=2).reshape(logits.shape)


class CoordConv(nn.Module):
    """A network that also sees where each voxel lies in the patch: a channel from -1 to 1 for each axis.

    Source: Liu et al., "An Intriguing Failing of Convolutional Neural Networks and the CoordConv Solution", NeurIPS
    2018, as the package landmarker offers it (Jonkers et al., SoftwareX 2025): coordinates beside the image.

    Args:
        network: of C + D channels.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """``(B, C, *size)`` to what the network gives."""
        channels = [image]
        for axis in range(2, image.dim()):
            size = image.size(axis)
            # Centres of voxels between the borders of the patch; a patch of one voxel has the place 0.
            along = (torch.arange(size, device=image.device).to(image.dtype) + 0.5) * (2.0 / size) - 1.0
            for _ in range(image.dim() - axis - 1):
                along = along.unsqueeze(-1)
            channels.append(along.expand_as(image[:, :1]))
        return self.network(torch.cat(channels, dim=1))
