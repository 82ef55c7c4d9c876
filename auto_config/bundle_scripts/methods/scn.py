"""The spatial configuration network: local appearance times spatial configuration."""

from __future__ import annotations

import torch
from monai.networks.layers.factories import Conv, Dropout, Pool
from torch import nn
from torch.nn import functional

_SLOPE = 0.1
_HEATMAP_STD = {2: 1e-4, 3: 1e-3}
"""Standard deviation of the first weights of both layers that give heatmaps."""


class SpatialConfigurationNetwork(nn.Module):
    """Heatmaps of what a place looks like, each times a heatmap of where the others say that it lies.

    A U-Net of few levels gives local heatmaps, which are sharp but may have several maxima. A second part sees nothing
    of the image: from all local heatmaps, made coarser, it makes the place of each landmark with large kernels. Their
    product is the output: linear, not a probability, about 0 where a landmark is not.

    The U-Net keeps its number of features at each level; a level has two convolutions with dropout between them on the
    way down, one on the way across, mean pooling and linear up-sampling, and the ways are added. No normalisation.

    Source:
        Payer et al., "Integrating Spatial Configuration into Heatmap Regression Based CNNs for Landmark Localization",
        Medical Image Analysis 54, 2019. There 2D networks pad with zeros and 3D ones with mirror images, and the
        factors and kernels of the second part are 16 and 11 in 2D, 8 and 7 in 3D. First weights: normal after He, those
        of both layers of heatmaps normal with a standard deviation of 1e-4 (2D) and 1e-3 (3D), cut at two of them.

    Args:
        spatial_dims: 2 or 3.
        in_channels: of the image.
        landmarks: L.
        features: channels of every level.
        levels: of the U-Net.
        factor: by which the second part is coarser.
        kernel: of the second part, in its own voxels.
        dropout: share of the features that is left out in training.
        padding: a padding mode of torch's convolutions.
    """

    def __init__(
        self,
        *,
        spatial_dims: int,
        in_channels: int,
        landmarks: int,
        features: int,
        levels: int,
        factor: int,
        kernel: int,
        dropout: float = 0.5,
        padding: str = "zeros",
    ) -> None:
        super().__init__()
        self.factor, self.volumes = int(factor), spatial_dims == 3
        convolution = Conv[Conv.CONV, spatial_dims]

        def layer(inputs: int, outputs: int, width: int) -> nn.Module:
            return convolution(inputs, outputs, kernel_size=width, padding=width // 2, padding_mode=padding)

        def active(inputs: int, outputs: int, width: int) -> list[nn.Module]:
            return [layer(inputs, outputs, width), nn.LeakyReLU(_SLOPE, inplace=True)]

        self.first = nn.Sequential(*active(in_channels, features, 3))
        self.down = nn.ModuleList(
            nn.Sequential(
                *active(features, features, 3),
                Dropout[Dropout.DROPOUT, spatial_dims](dropout),
                *active(features, features, 3),
            )
            for _ in range(levels)
        )
        self.across = nn.ModuleList(nn.Sequential(*active(features, features, 3)) for _ in range(levels))
        self.pool = Pool[Pool.AVG, spatial_dims](kernel_size=2)
        self.up = nn.Upsample(scale_factor=2.0, mode="trilinear" if self.volumes else "bilinear", align_corners=False)
        self.local_heatmaps = layer(features, landmarks, 3)
        self.coarser = Pool[Pool.AVG, spatial_dims](kernel_size=self.factor)
        self.configuration = nn.Sequential(
            *active(landmarks, features, kernel),
            *active(features, features, kernel),
            *active(features, features, kernel),
            layer(features, landmarks, kernel),
            nn.Tanh(),
        )
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Conv3d)):
                nn.init.kaiming_normal_(module.weight, a=_SLOPE)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        spread = _HEATMAP_STD[spatial_dims]
        for heatmaps in (self.local_heatmaps, self.configuration[-2]):
            nn.init.trunc_normal_(heatmaps.weight, std=spread, a=-2 * spread, b=2 * spread)  # type: ignore[arg-type]

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """``(B, C, *size)`` to ``(B, L, *size)``; each edge a multiple of the factor and of the U-Net's poolings."""
        local = self.local(image)
        return local * self._finer(self.configuration(self.coarser(local)))

    def local(self, image: torch.Tensor) -> torch.Tensor:
        """The local heatmaps ``(B, L, *size)``."""
        value = self.first(image)
        ways: list[torch.Tensor] = []
        for number, (down, across) in enumerate(zip(self.down, self.across)):  # noqa: B905  TorchScript has no strict
            value = down(value if number == 0 else self.pool(value))
            ways.append(across(value))
        value = ways[-1]
        for way in ways[:-1][::-1]:
            value = way + self.up(value)
        return self.local_heatmaps(value)

    def _finer(self, value: torch.Tensor) -> torch.Tensor:
        """Cubic up-sampling by the factor; torch has it for two axes, so in 3D one axis comes first."""
        if not self.volumes:
            return functional.interpolate(
                value, size=[value.shape[2] * self.factor, value.shape[3] * self.factor], mode="bicubic"
            )
        batch, channels, x, y, z = value.shape
        value = functional.interpolate(
            value.reshape(batch, channels, x, y * z), size=[x * self.factor, y * z], mode="bicubic"
        )
        value = functional.interpolate(
            value.reshape(batch, channels * x * self.factor, y, z),
            size=[y * self.factor, z * self.factor],
            mode="bicubic",
        )
        return value.reshape(batch, channels, x * self.factor, y * self.factor, z * self.factor)
