"""Networks: a bundle's network is one module for each stage, one channel for each landmark.

`plain` and `tiny` are MONAI's DynUNet, written into the config with its arguments; the residual-encoder U-Nets of
nnU-Net come from the package dynamic-network-architectures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from .shape import ShapeModel


def residual_encoder_unet(
    *,
    spatial_dims: int,
    in_channels: int,
    out_channels: int,
    filters: Sequence[int],
    strides: Sequence[Sequence[int]],
    kernel_size: Sequence[Sequence[int]],
    blocks: Sequence[int],
) -> nn.Module:
    """nnU-Net's residual-encoder U-Net (Isensee et al., MICCAI 2024), without deep supervision.

    Args:
        spatial_dims: 2 or 3.
        in_channels: image channels.
        out_channels: landmarks.
        filters: features of each level.
        strides: stride into each level, the first is 1.
        kernel_size: kernel of each level.
        blocks: residual blocks of each level; the decoder has one convolution a level.

    Raises:
        ImportError: if dynamic-network-architectures is not installed.
    """
    try:
        from dynamic_network_architectures.architectures.unet import ResidualEncoderUNet
    except ImportError as error:
        raise ImportError(
            "the residual-encoder networks need a package: pip install dynamic-network-architectures"
        ) from error
    conv, norm = (nn.Conv3d, nn.InstanceNorm3d) if spatial_dims == 3 else (nn.Conv2d, nn.InstanceNorm2d)
    return ResidualEncoderUNet(
        input_channels=in_channels,
        n_stages=len(filters),
        features_per_stage=list(filters),
        conv_op=conv,
        kernel_sizes=[list(k) for k in kernel_size],
        strides=[list(s) for s in strides],
        n_blocks_per_stage=list(blocks),
        num_classes=out_channels,
        n_conv_per_stage_decoder=[1] * (len(filters) - 1),
        conv_bias=True,
        norm_op=norm,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
        deep_supervision=False,
    )


class LandmarkNetwork(nn.Module):
    """One network for each stage, and the shape model that stands between them.

    A tensor goes through the last stage, so that the module looks like any network to tools that know nothing of
    stages; a dictionary goes through the stages that it names.

    Args:
        stages: network of each stage by name, in order; each maps ``(B, C, *size)`` to logits ``(B, L, *size)``.
        landmarks: L.
        spatial_dims: 2 or 3.
        output_bias: start value of the bias of the last convolution of each stage: a negative number starts with empty
            heatmaps. None keeps the network's own.

    Raises:
        ValueError: if there is no stage.
    """

    def __init__(
        self, stages: Mapping[str, nn.Module], landmarks: int, spatial_dims: int = 3, output_bias: float | None = None
    ) -> None:
        super().__init__()
        if not stages:
            raise ValueError("a network needs at least one stage")
        self.stages = nn.ModuleDict(dict(stages))
        self.last = list(stages)[-1]
        self.shape = ShapeModel(landmarks, spatial_dims)
        self.channels_last = torch.channels_last_3d if spatial_dims == 3 else torch.channels_last
        self.to(memory_format=self.channels_last)
        if output_bias is not None:
            for network in self.stages.values():
                with torch.no_grad():
                    _output_bias(network, landmarks).fill_(output_bias)

    def forward(self, image: torch.Tensor | dict[str, torch.Tensor]) -> torch.Tensor | dict[str, torch.Tensor]:
        """Logits.

        Args:
            image: ``(B, C, *size)``, or such a tensor for each stage by name.

        Returns:
            ``(B, L, *size)``, or a dictionary of them.
        """
        if isinstance(image, dict):
            return {name: self.stages[name](self._lay_out(x)) for name, x in image.items()}
        return self.stages[self.last](self._lay_out(image))

    def _lay_out(self, image: torch.Tensor) -> torch.Tensor:
        """Channels last: convolutions on CPU and on tensor cores are up to twice as fast."""
        return image.contiguous(memory_format=self.channels_last)


def _output_bias(network: nn.Module, landmarks: int) -> torch.Tensor:
    """Bias of the last convolution of a network that has one channel for each landmark."""
    biases = [
        m.bias
        for m in network.modules()
        if isinstance(m, (nn.Conv2d, nn.Conv3d)) and m.out_channels == landmarks and m.bias is not None
    ]
    if not biases:
        raise ValueError(f"the network has no convolution with {landmarks} output channels and a bias")
    return biases[-1]
