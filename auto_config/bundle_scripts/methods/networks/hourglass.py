"""Stacked hourglasses: features at one resolution, looked at again and again on the way down and up.

Source: Newell et al., "Stacked Hourglass Networks for Human Pose Estimation", ECCV 2016, as the package landmarker
offers them (Jonkers et al., SoftwareX 2025), there in 2D.
"""

import torch
from monai.networks.layers.factories import Conv, Norm, Pool
from torch import nn
from torch.nn import functional


class Residual(nn.Module):
    """Normalised convolutions of 1, 3 and 1 with half of the channels between them, added to what went in.

    Args:
        dims: 2 or 3.
        channels: of the input.
        filters: of the output.
    """

    def __init__(self, dims: int, channels: int, filters: int) -> None:
        super().__init__()
        half = max(1, filters // 2)
        layers: list[nn.Module] = []
        for before, after, kernel in ((channels, half, 1), (half, half, 3), (half, filters, 1)):
            layers += [
                Norm[Norm.INSTANCE, dims](before, affine=True),
                nn.ReLU(),
                Conv[Conv.CONV, dims](before, after, kernel_size=kernel, padding=kernel // 2),
            ]
        self.layers = nn.Sequential(*layers)
        self.shortcut: nn.Module = nn.Identity()
        if channels != filters:
            self.shortcut = Conv[Conv.CONV, dims](channels, filters, kernel_size=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(B, C, *size)`` to ``(B, filters, *size)``."""
        return self.shortcut(x) + self.layers(x)


class Hourglass(nn.Module):
    """Down by maxima of 2 voxels and up again, with a block beside each level.

    Args:
        dims: 2 or 3.
        channels: at every level.
        depth: levels below the first.
    """

    def __init__(self, dims: int, channels: int, depth: int) -> None:
        super().__init__()
        self.mode = "trilinear" if dims == 3 else "bilinear"
        self.pool = Pool[Pool.MAX, dims](kernel_size=2)
        self.beside = nn.ModuleList(Residual(dims, channels, channels) for _ in range(depth))
        self.down = nn.ModuleList(Residual(dims, channels, channels) for _ in range(depth))
        self.bottom = Residual(dims, channels, channels)
        self.up = nn.ModuleList(Residual(dims, channels, channels) for _ in range(depth))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(B, channels, *size)`` to the same."""
        kept: list[torch.Tensor] = []
        for beside, down in zip(self.beside, self.down):  # noqa: B905  TorchScript knows no strict
            kept.append(beside(x))
            x = down(self.pool(x))
        x = self.bottom(x)
        for number, up in enumerate(self.up):
            skip = kept[len(kept) - 1 - number]
            size = [skip.size(axis) for axis in range(2, skip.dim())]
            x = skip + functional.interpolate(up(x), size=size, mode=self.mode, align_corners=False)
        return x


class StackedHourglass(nn.Module):
    """Hourglasses one after the other, at half of the resolution; each hands its heatmaps on to the next.

    Published ones work at a quarter of the resolution and have a loss for each hourglass; here heatmaps are brought to
    the resolution of the image by linear interpolation, and the last ones alone are trained, because any loss may
    follow.
    Instance normalisation takes the place of batch normalisation, as in the other networks for batches of two.

    Args:
        spatial_dims: 2 or 3.
        in_channels: of the image.
        out_channels: landmarks.
        channels: of all features.
        depth: levels below the first of each hourglass.
        stacks: hourglasses.

    Raises:
        ValueError: no hourglass.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        *,
        channels: int = 128,
        depth: int = 4,
        stacks: int = 2,
    ) -> None:
        super().__init__()
        if stacks < 1:
            raise ValueError(f"there are {stacks} hourglasses; at least one is needed")
        dims, convolution = spatial_dims, Conv[Conv.CONV, spatial_dims]
        half = max(1, channels // 2)
        self.mode = "trilinear" if dims == 3 else "bilinear"
        self.stem = nn.Sequential(
            convolution(in_channels, half, kernel_size=7, stride=2, padding=3), Residual(dims, half, channels)
        )
        self.hourglasses = nn.ModuleList(
            nn.Sequential(Hourglass(dims, channels, depth), Residual(dims, channels, channels)) for _ in range(stacks)
        )
        self.heatmaps = nn.ModuleList(convolution(channels, out_channels, kernel_size=1) for _ in range(stacks))
        # What the next one is given; there is none behind the last.
        self.features = nn.ModuleList(convolution(channels, channels, kernel_size=1) for _ in range(stacks - 1))
        self.again = nn.ModuleList(convolution(out_channels, channels, kernel_size=1) for _ in range(stacks - 1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """``(B, C, *size)`` to ``(B, L, *size)``."""
        x = self.stem(image)
        features: list[torch.Tensor] = []
        for hourglass in self.hourglasses:
            if len(features) > 0:
                x = self._next(x, features, len(features) - 1)
            features.append(hourglass(x))
        found = features[-1]
        for number, layer in enumerate(self.heatmaps):
            if number == len(self.heatmaps) - 1:
                found = layer(features[-1])
        size = [image.size(axis) for axis in range(2, image.dim())]
        return functional.interpolate(found, size=size, mode=self.mode, align_corners=False)

    def _next(self, x: torch.Tensor, features: list[torch.Tensor], which: int) -> torch.Tensor:
        """The input of the next hourglass: that of the last one, its features and its heatmaps."""
        heat = x
        for number, layer in enumerate(self.heatmaps):
            if number == which:
                heat = layer(features[which])
        for number, (own, again) in enumerate(zip(self.features, self.again)):  # noqa: B905
            if number == which:
                x = x + own(features[which]) + again(heat)
        return x
