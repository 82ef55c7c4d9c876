"""The network of SR-UNet: a U-Net with pyramid pooling that gives heatmaps of whole resolution from several levels.

Source: Zhang et al., "SR-UNet", Computers in Biology and Medicine 182, 2024, 109095.
"""

from collections.abc import Sequence

import torch
from monai.networks.layers.factories import Conv, Norm, Pool
from torch import nn
from torch.nn import functional

_KEYPOINT_FEATURES = (4, 4, 8, 16)
"""Features of each landmark at the levels from whole resolution down, before they become voxels."""


class PyramidPooling(nn.Module):
    """Means over the whole map and over 2, 3 and 6 parts of each axis, beside the map itself.

    Parts are those of adaptive pooling; they are made by products with matrices, because exports to ONNX know adaptive
    pooling for whole multiples alone. Its convolutions of one voxel have no normalisation: a batch of one would have
    nothing to normalise by.

    Args:
        dims: 2 or 3.
        channels: of the map.
        filters: of each pooled map, and of the output.
        parts: of each axis.
    """

    def __init__(self, dims: int, channels: int, filters: int, parts: Sequence[int] = (1, 2, 3, 6)) -> None:
        super().__init__()
        convolution = Conv[Conv.CONV, dims]
        self.mode, self.parts = "trilinear" if dims == 3 else "bilinear", [int(n) for n in parts]
        self.pooled = nn.ModuleList(
            nn.Sequential(convolution(channels, filters, kernel_size=1), nn.ReLU(inplace=True)) for _ in parts
        )
        self.output = nn.Sequential(*_convolution(dims, channels + len(self.parts) * filters, filters))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(B, C, *size)`` to ``(B, filters, *size)``."""
        size = [x.size(axis) for axis in range(2, x.dim())]
        found = [x]
        for number, layer in enumerate(self.pooled):
            means = x
            for axis in range(2, x.dim()):
                means = _means(means, axis, self.parts[number])
            found.append(functional.interpolate(layer(means), size=size, mode=self.mode, align_corners=False))
        return self.output(torch.cat(found, dim=1))


def _means(x: torch.Tensor, axis: int, parts: int) -> torch.Tensor:
    """The map with an axis made of means over parts, which begin and end as those of adaptive pooling."""
    size = x.size(axis)
    place = torch.arange(size, device=x.device)
    part = torch.arange(parts, device=x.device)
    first = torch.div(part * size, parts, rounding_mode="floor")
    last = -torch.div(-(part + 1) * size, parts, rounding_mode="floor")
    inside = ((place[:, None] >= first) & (place[:, None] < last)).to(x.dtype)
    return torch.matmul(x.transpose(axis, -1), inside / inside.sum(0)).transpose(axis, -1)


def pixel_shuffle(x: torch.Tensor, factor: int) -> torch.Tensor:
    """``(B, C * factor^D, *size)`` to ``(B, C, *size * factor)``; the last axis of a block of voxels changes first."""
    dims = x.dim() - 2
    block, size = [factor for _ in range(dims)], [x.size(2 + axis) for axis in range(dims)]
    channels = x.size(1)
    for edge in block:
        channels = channels // edge
    order = [0, 1]
    whole = [x.size(0), channels]
    for axis in range(dims):
        order += [2 + dims + axis, 2 + axis]
        whole.append(size[axis] * factor)
    return x.reshape([x.size(0), channels] + block + size).permute(order).reshape(whole)


class _Head(nn.Module):
    """Features of each landmark, then a block of voxels of its heatmap for each cell."""

    def __init__(self, dims: int, channels: int, landmarks: int, *, features: int, factor: int) -> None:
        super().__init__()
        convolution = Conv[Conv.CONV, dims]
        self.factor = factor
        self.features = convolution(channels, landmarks * features, kernel_size=1)
        self.voxels = convolution(
            landmarks * features, landmarks * factor**dims, kernel_size=3, padding=1, groups=landmarks
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return pixel_shuffle(self.voxels(self.features(x)), self.factor)


class _Up(nn.Module):
    """Linear up-sampling with a convolution, the encoder's map beside it, and two convolutions."""

    def __init__(self, dims: int, channels: int, filters: int) -> None:
        super().__init__()
        self.mode = "trilinear" if dims == 3 else "bilinear"
        self.up = nn.Sequential(*_convolution(dims, channels, filters))
        self.layers = nn.Sequential(*_convolution(dims, 2 * filters, filters), *_convolution(dims, filters, filters))

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        size = [skip.size(axis) for axis in range(2, skip.dim())]
        raised = self.up(functional.interpolate(x, size=size, mode=self.mode, align_corners=False))
        return self.layers(torch.cat([raised, skip], dim=1))


class SuperResolutionUNet(nn.Module):
    """Heatmaps of whole resolution from each level of a U-Net's decoder, those of the finest level first.

    The encoder has two convolutions of 3 with batch normalisation at each level and takes maxima of 2 voxels between
    them; `PyramidPooling` is its bottom. At each level of the decoder a head gives some features to each landmark and
    makes of them, by a convolution that sees this landmark alone, the 1, 2, 4 or 8 voxels along each axis that a cell
    has in the image (a pixel shuffle).

    Args:
        spatial_dims: 2 or 3.
        in_channels: of the image.
        out_channels: of all heads together: a map for each landmark and level.
        filters: channels of each level, the bottom last.

    Raises:
        ValueError: channels that are no multiple of the levels, or more levels than heads are made for.
    """

    def __init__(
        self, spatial_dims: int, in_channels: int, out_channels: int, filters: Sequence[int] = (64, 128, 256, 512, 1024)
    ) -> None:
        super().__init__()
        levels, dims = len(filters) - 1, spatial_dims
        if not 1 <= levels <= len(_KEYPOINT_FEATURES) or out_channels % levels:
            raise ValueError(
                f"{out_channels} channels for {levels} levels; there are at most {len(_KEYPOINT_FEATURES)} levels, and "
                "each has the same number of channels"
            )
        self.pool = Pool[Pool.MAX, dims](kernel_size=2)
        before = in_channels
        self.down, self.up, self.heads = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for channels in filters:
            self.down.append(
                nn.Sequential(*_convolution(dims, before, channels), *_convolution(dims, channels, channels))
            )
            before = channels
        self.bottom = PyramidPooling(dims, before, max(1, before // 2))
        before = max(1, before // 2)
        for level in range(levels - 1, -1, -1):
            self.up.append(_Up(dims, before, filters[level]))
            before = filters[level]
            self.heads.append(
                _Head(dims, before, out_channels // levels, features=_KEYPOINT_FEATURES[level], factor=2**level)
            )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """``(B, C, *size)`` to ``(B, out_channels, *size)``; each edge a multiple of 2 to the number of levels."""
        maps: list[torch.Tensor] = []
        x = image
        for number, layer in enumerate(self.down):
            x = layer(self.pool(x) if number else x)
            maps.append(x)
        x = self.bottom(x)
        found: list[torch.Tensor] = []
        for number, (up, head) in enumerate(zip(self.up, self.heads)):  # noqa: B905  TorchScript knows no strict
            x = up(x, maps[len(maps) - 2 - number])
            found.insert(0, head(x))
        return torch.cat(found, dim=1)


def _convolution(dims: int, channels: int, filters: int) -> list[nn.Module]:
    """A convolution of 3 that keeps the size, batch normalisation and ReLU."""
    return [
        Conv[Conv.CONV, dims](channels, filters, kernel_size=3, padding=1, bias=False),
        Norm[Norm.BATCH, dims](filters),
        nn.ReLU(inplace=True),
    ]
