"""U-Nets whose depth, strides and kernels follow the data, as nnU-Net plans them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from auto_config.methods.base import Backbone, Json, Stage
from auto_config.methods.topology import Topology, plan_topology

_RESIDUAL_BLOCKS = (1, 3, 4, 6, 6, 6)
_NNUNET = "Isensee et al., nnU-Net, Nature Methods 18, 2021"
_LEAKY_RELU = ["leakyrelu", {"inplace": True, "negative_slope": 0.01}]
_INSTANCE_NORM = ["INSTANCE", {"affine": True}]


@dataclass(frozen=True)
class UNet:
    """The numbers of a U-Net.

    Args:
        name: as the user gives it.
        residual: residual blocks in the encoder (ResEnc) or plain pairs of convolutions.
        memory_gb: GPU memory for which the references hold; None for the network that is planned for CPUs.
        reference_3d: values in the feature maps of one patch at which `batch_3d` patches fill `memory_gb`.
        reference_2d: the same in 2D, for `batch_2d` patches.
        features: channels of the first level, doubled at each further one.
        max_features_3d: channels at most.
        max_features_2d: channels at most, 2D.
        max_pools: poolings along each axis at most; None for no limit.
        stock_dataset_share: the share of all voxels of the data set that the stock planner lets one batch hold.
        stock_batch_2d: patches for which the stock planner of the reference sizes a 2D patch. nnLandmark's default
            planner gives one of 1280 x 1024 and a batch of 2 where nnU-Net's 12 would give 512 x 448: the same memory,
            spent on two patches.

    Source:
        nnU-Net 2.6's planners (Isensee et al. 2021, Isensee et al. 2024 "nnU-Net Revisited").
    """

    name: str
    residual: bool
    memory_gb: float | None
    reference_3d: float
    reference_2d: float
    features: int
    max_features_3d: int
    max_features_2d: int
    max_pools: int | None = None
    stock_dataset_share: float = 1.0
    stock_batch_2d: int = 12
    batch_3d: int = 2
    batch_2d: int = 12

    def filters(self, levels: int, spatial_dims: int) -> list[int]:
        """Channels of each of `levels` levels."""
        largest = self.max_features_2d if spatial_dims == 2 else self.max_features_3d
        return [min(self.features * 2**level, largest) for level in range(levels)]

    def encoder_blocks(self, levels: int) -> list[int]:
        """Blocks of each level of the encoder: residual blocks, or plain convolutions."""
        if not self.residual:
            return [2] * levels
        return [_RESIDUAL_BLOCKS[min(level, len(_RESIDUAL_BLOCKS) - 1)] for level in range(levels)]

    def decoder_convolutions(self) -> int:
        """Convolutions of each level of the decoder after the up-sampling."""
        return 1 if self.residual else 2

    def budget(self, spatial_dims: int) -> float:
        """Feature map values of a whole batch that fill `memory_gb`."""
        if spatial_dims == 2:
            return self.reference_2d * self.batch_2d
        return self.reference_3d * self.batch_3d

    def topology(self, spacing: Sequence[float], patch_size: Sequence[int]) -> Topology:
        """Strides and kernels for a spacing in mm and a wished patch in voxels."""
        return plan_topology(spacing, patch_size, self.max_pools)

    def describe(self, topology: Topology) -> Json:
        """What a stage of the plan says of the network."""
        levels = len(topology.strides)
        found: Json = {
            "filters": self.filters(levels, len(topology.patch_size)),
            "strides": [list(stride) for stride in topology.strides],
            "kernel_sizes": [list(kernel) for kernel in topology.kernel_sizes],
        }
        if self.residual:
            found["blocks"] = self.encoder_blocks(levels)
        return found

    def values(self, topology: Topology, outputs: int) -> int:
        """Values that the convolutions give for one patch.

        Counted are every convolution, the projections of residual blocks, the transposed convolutions and the last 1x1
        convolution to `outputs` channels, as in the published estimate of nnU-Net.

        Args:
            topology: strides and patch size (voxels).
            outputs: channels of the output.
        """
        levels = len(topology.strides)
        filters = self.filters(levels, len(topology.patch_size))
        sizes = topology.level_sizes()
        encoder = _residual_values if self.residual else _plain_values
        values = encoder(self, topology, filters, sizes)
        for level in range(levels - 1):
            values += (self.decoder_convolutions() + 1) * filters[level] * sizes[level]
        return values + outputs * sizes[0]

    def saved(self, topology: Topology, inputs: int, outputs: int) -> int:
        """Values that a step keeps of one patch for its gradients.

        Each convolution is kept twice, as the normalisation takes it and as it leaves the activation, which the next
        convolution takes; of the up-sampled maps it is the two that stand side by side. The last convolution keeps
        nothing of its own: what its output is for is counted with the loss.

        Args:
            topology: strides and patch size (voxels).
            inputs: channels of the image.
            outputs: channels of the output.
        """
        levels = len(topology.strides)
        sizes = topology.level_sizes()
        values = 2 * (self.values(topology, outputs) - outputs * sizes[0]) + inputs * sizes[0]
        if not self.residual:
            return values
        # Of a shortcut, what its convolution takes and gives: the normalised map is added to another one and gone.
        filters = self.filters(levels, len(topology.patch_size))
        before = filters[0]
        for stride, channels, size in zip(topology.strides, filters, sizes, strict=True):
            if channels != before:
                values -= 2 * channels * size - (channels + before) * size
            elif any(step != 1 for step in stride):
                values -= 2 * channels * size
            before = channels
        return values

    def weights(self, topology: Topology, inputs: int, outputs: int) -> int:
        """Numbers that are learnt.

        Args:
            topology: strides and kernels.
            inputs: channels of the image.
            outputs: channels of the output.
        """
        levels = len(topology.strides)
        filters = self.filters(levels, len(topology.patch_size))
        kernels = [prod(kernel) for kernel in topology.kernel_sizes]
        bias = int(self.residual)
        blocks = self.encoder_blocks(levels)

        def convolution(kernel: int, before: int, after: int, biased: int = bias) -> int:
            """With its normalisation."""
            return kernel * before * after + biased * after + 2 * after

        total = convolution(kernels[0], inputs, filters[0]) if self.residual else 0
        before = filters[0] if self.residual else inputs
        for kernel, channels, count in zip(kernels, filters, blocks, strict=True):
            convolutions = 2 * count if self.residual else count
            total += convolution(kernel, before, channels) + (convolutions - 1) * convolution(
                kernel, channels, channels
            )
            if self.residual and channels != before:
                total += convolution(1, before, channels, 0)
            before = channels
        for level in range(levels - 1):
            channels = filters[level]
            total += prod(topology.strides[level + 1]) * filters[level + 1] * channels + bias * channels
            kernel = kernels[level] if self.residual else kernels[level + 1]
            total += convolution(kernel, 2 * channels, channels)
            total += (self.decoder_convolutions() - 1) * convolution(kernel, channels, channels)
        return total + filters[0] * outputs + outputs

    def config(self, stage: Stage, spatial_dims: int, in_channels: int, out_channels: int) -> Json:
        """JSON of the network of a stage."""
        common = {
            "spatial_dims": spatial_dims,
            "in_channels": in_channels,
            "out_channels": out_channels,
            "kernel_size": stage["kernel_sizes"],
            "strides": stage["strides"],
            "filters": stage["filters"],
        }
        if self.residual:
            return {"_target_": "scripts.methods.stages.residual_encoder_unet", **common, "blocks": stage["blocks"]}
        return {
            "_target_": "DynUNet",
            **common,
            "upsample_kernel_size": stage["strides"][1:],
            "norm_name": _INSTANCE_NORM,
            "act_name": _LEAKY_RELU,
        }

    def output_layer(self, stage: Stage) -> str:
        """Name of the last convolution."""
        return f"decoder.seg_layers.{len(stage['filters']) - 2}" if self.residual else "output_block.conv.conv"


def unet_backbone(unet: UNet, title: str, fine: Mapping[str, Any] | None = None) -> Backbone:
    """A row of the table of networks.

    Args:
        unet: its numbers.
        title: a few words.
        fine: numbers that are others in the fine stage of two.
    """
    return Backbone(
        name=unet.name,
        title=title,
        citation=_NNUNET,
        memory_gb=unet.memory_gb,
        topology=unet.topology,
        describe=unet.describe,
        values=unet.values,
        budget=unet.budget,
        config=unet.config,
        output_layer=unet.output_layer,
        saved=unet.saved,
        weights=unet.weights,
        packages=("dynamic-network-architectures",) if unet.residual else (),
        fine=None if fine is None else unet_backbone(replace(unet, **fine), title),
    )


def _plain_values(unet: UNet, topology: Topology, filters: Sequence[int], sizes: Sequence[int]) -> int:
    blocks = unet.encoder_blocks(len(topology.strides))
    return sum(count * channels * size for count, channels, size in zip(blocks, filters, sizes, strict=True))


def _residual_values(unet: UNet, topology: Topology, filters: Sequence[int], sizes: Sequence[int]) -> int:
    blocks = unet.encoder_blocks(len(topology.strides))
    values = filters[0] * sizes[0]  # the stem
    channels_before = filters[0]
    for level, (count, channels, size) in enumerate(zip(blocks, filters, sizes, strict=True)):
        projected = channels != channels_before or any(step != 1 for step in topology.strides[level])
        values += (2 * count + int(projected)) * channels * size
        channels_before = channels
    return values


UNETS = {
    unet.name: unet
    for unet in (
        # Measured on the mouse skulls: 3 M parameters learn 51 points in minutes on one core.
        UNet("tiny", False, None, 0.0, 0.0, 12, 128, 128, max_pools=4),
        UNet("plain", False, 8.0, 560e6, 85e6, 32, 320, 512, stock_dataset_share=0.05, stock_batch_2d=2),
        UNet("resenc_m", True, 8.0, 680e6, 135e6, 32, 320, 512),
        UNet("resenc_l", True, 24.0, 2100e6, 380e6, 32, 320, 512),
        UNet("resenc_xl", True, 40.0, 3600e6, 560e6, 32, 320, 512),
    )
}
"""The U-Nets by name."""
