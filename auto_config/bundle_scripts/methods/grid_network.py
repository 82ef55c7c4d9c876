"""Networks that say something for cells of several voxels and not for each voxel.

Source: Noothout et al., IEEE TMI 2020: a global network in the manner of ResNet34 with cells of 8 voxels, and a shallow
local one with cells of 2. Both give the logits of the cells, then the vectors, as `scripts.methods.grid_votes` reads
them.
"""

from collections.abc import Sequence

import torch
from monai.networks.layers.factories import Conv, Norm, Pool
from monai.networks.nets.resnet import ResNetBlock
from torch import nn


class GlobalGridNetwork(nn.Module):
    """A residual network whose output has a cell for each 8 voxels along each axis.

    A convolution of 7 with stride 2, mean pooling before the first and the second stage, four stages of residual blocks
    of two convolutions of 3, then a head for the cells and one for the vectors, each of two convolutions of 1 and an
    output. Batch normalisation and ReLU follow each convolution but the outputs.

    What the publication leaves open: shortcuts are those of ResNet34, with a projection where the channels change. In
    2D it pools twice more, for pictures at full resolution; here the grid before it is chosen so that a patch holds the
    whole anatomy, and cells have 8 pixels as in 3D.

    Args:
        spatial_dims: 2 or 3.
        in_channels: of the image.
        landmarks: L.
        filters: channels of each stage.
        blocks: residual blocks of each stage.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        landmarks: int,
        filters: Sequence[int] = (32, 64, 128, 256),
        blocks: Sequence[int] = (3, 4, 6, 3),
    ) -> None:
        super().__init__()
        convolution, pool = Conv[Conv.CONV, spatial_dims], Pool[Pool.AVG, spatial_dims]
        width = max(1, filters[0] // 2)
        layers: list[nn.Module] = [
            convolution(in_channels, width, kernel_size=7, stride=2, padding=3, bias=False),
            Norm[Norm.BATCH, spatial_dims](width),
            nn.ReLU(inplace=True),
        ]
        for stage, (channels, count) in enumerate(zip(filters, blocks, strict=True)):
            if stage < 2:
                layers.append(pool(kernel_size=2))
            for _ in range(count):
                shortcut = None
                if width != channels:
                    shortcut = nn.Sequential(
                        convolution(width, channels, kernel_size=1, bias=False),
                        Norm[Norm.BATCH, spatial_dims](channels),
                    )
                layers.append(ResNetBlock(width, channels, spatial_dims, downsample=shortcut))
                width = channels
        self.features = nn.Sequential(*layers)
        self.class_head = _head(spatial_dims, width, landmarks)
        self.offset_head = _head(spatial_dims, width, landmarks * spatial_dims)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """``(B, C, *size)`` to ``(B, L + L * D, *size / 8)``; each edge must be a multiple of 8."""
        features = self.features(image)
        return torch.cat([self.class_head(features), self.offset_head(features)], dim=1)


class LocalGridNetwork(nn.Module):
    """Two pairs of convolutions with mean pooling between them: a cell for each 2 voxels, which sees 14 of them.

    The publication has one such network for each landmark; here one has the heads of all landmarks, because a bundle
    has 51 of them as well as 8, and looks at a crop once.

    Args:
        spatial_dims: 2 or 3.
        in_channels: of the image.
        landmarks: L.
        filters: channels before and after the pooling.
    """

    def __init__(self, spatial_dims: int, in_channels: int, landmarks: int, filters: Sequence[int] = (32, 64)) -> None:
        super().__init__()
        first, second = filters
        self.features = nn.Sequential(
            *_convolution(spatial_dims, in_channels, first, 3),
            *_convolution(spatial_dims, first, first, 3),
            Pool[Pool.AVG, spatial_dims](kernel_size=2),
            *_convolution(spatial_dims, first, second, 3),
            *_convolution(spatial_dims, second, second, 3),
        )
        self.class_head = _head(spatial_dims, second, landmarks)
        self.offset_head = _head(spatial_dims, second, landmarks * spatial_dims)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """``(B, C, *size)`` to ``(B, L + L * D, *size / 2)``; each edge must be even."""
        features = self.features(image)
        return torch.cat([self.class_head(features), self.offset_head(features)], dim=1)


def _convolution(dims: int, channels: int, filters: int, kernel: int) -> list[nn.Module]:
    """A convolution that keeps the size, batch normalisation and ReLU."""
    return [
        Conv[Conv.CONV, dims](channels, filters, kernel_size=kernel, padding=kernel // 2, bias=False),
        Norm[Norm.BATCH, dims](filters),
        nn.ReLU(inplace=True),
    ]


def _head(dims: int, channels: int, outputs: int) -> nn.Module:
    """Two convolutions of 1 and an output; the last layer is number 6."""
    return nn.Sequential(
        *_convolution(dims, channels, channels, 1),
        *_convolution(dims, channels, channels, 1),
        Conv[Conv.CONV, dims](channels, outputs, kernel_size=1),
    )
