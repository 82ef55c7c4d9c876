"""MONAI's FlexibleUNet with an EfficientNet as encoder, whose output is the logarithm of a distribution."""

import torch
from monai.networks.nets import FlexibleUNet
from torch import nn


class LogProbabilityUNet(nn.Module):
    """A U-Net whose channels are logarithms of probabilities of voxels: each sums to 1 over the patch.

    Batch normalisation forgets with a momentum of 0.1 everywhere: with EfficientNet's 0.01 the running statistics are
    those of the first hundred steps, and a network that has learned in batches finds nothing in evaluation (80 steps on
    blobs: 40 voxels off, with 0.1 half a voxel).

    The softmax stands in the network, because a spatial softmax leaves the level of the logits free: windows of a
    larger image, flipped images and ensemble members could not be averaged without it.

    Args:
        spatial_dims: 2 or 3.
        in_channels: of the image.
        out_channels: landmarks.
        backbone: of the encoder, a name that FlexibleUNet knows. Its weights are random: a file of others is given to
            the training, see `scripts.training.pretrained`.
    """

    def __init__(
        self, spatial_dims: int, in_channels: int, out_channels: int, backbone: str = "efficientnet-b0"
    ) -> None:
        super().__init__()
        self.unet = FlexibleUNet(
            in_channels=in_channels,
            out_channels=out_channels,
            backbone=backbone,
            pretrained=False,
            spatial_dims=spatial_dims,
        )
        for module in self.unet.modules():
            if isinstance(module, (nn.BatchNorm2d, nn.BatchNorm3d)):
                module.momentum = 0.1

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """``(B, C, *size)`` to ``(B, L, *size)``; each edge must be a multiple of 32, and 64 or more in training."""
        logits = self.unet(image)
        return torch.log_softmax(logits.flatten(2).float(), dim=2).reshape(logits.shape)
