"""How much memory a training step needs, counted in values of feature maps."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from auto_config.methods.topology import Topology
from auto_config.methods.unets import Network

_BYTES_PER_VALUE = 8e9 / (2 * 560e6)
"""What one counted value costs: nnU-Net's reference says 2 x 560e6 of them fill 8 GB."""

_LOSS_BYTES_PER_VOXEL = 22.4
"""For each voxel of each landmark's channel, in float32: the promoted logit (4), the heatmap (4), the cross-entropy
(4), its gradient (4), the spatial log-softmax (4), and for the top 20 % a value and a 64 bit index (2.4)."""

LOSS_VALUES_PER_VOXEL = _LOSS_BYTES_PER_VOXEL / _BYTES_PER_VALUE


def convolution_values(network: Network, topology: Topology, outputs: int) -> int:
    """Values that the convolutions of a U-Net give for one patch.

    Counted are every convolution, the projections of residual blocks, the transposed convolutions and the last 1x1
    convolution to `outputs` channels, as in the published estimate of nnU-Net.

    Args:
        network: plain or residual, with its channels and blocks.
        topology: strides and patch size (voxels).
        outputs: channels of the output.
    """
    levels = len(topology.strides)
    filters = network.filters(levels, len(topology.patch_size))
    sizes = _level_sizes(topology)
    encoder = _residual_values if network.residual else _plain_values
    values = encoder(network, topology, filters, sizes)
    for level in range(levels - 1):
        values += (network.decoder_convolutions() + 1) * filters[level] * sizes[level]
    return values + outputs * sizes[0]


def memory_values(network: Network, topology: Topology, landmarks: int) -> float:
    """Values for one patch with everything that a landmark trainer holds.

    Beside the convolutions: each landmark's logit, heatmap, cross-entropy, gradient and top-k list at full resolution.
    Stock nnU-Net counts one feature map for each output channel only; with 32 landmarks in a patch of 128^3 the rest is
    more than a gigabyte for each patch.
    """
    return convolution_values(network, topology, landmarks) + LOSS_VALUES_PER_VOXEL * landmarks * prod(
        topology.patch_size
    )


def _level_sizes(topology: Topology) -> list[int]:
    """Voxels of each level's feature map."""
    edges = list(topology.patch_size)
    sizes = []
    for stride in topology.strides:
        edges = [edge // step for edge, step in zip(edges, stride, strict=True)]
        sizes.append(prod(edges))
    return sizes


def _plain_values(network: Network, topology: Topology, filters: Sequence[int], sizes: Sequence[int]) -> int:
    blocks = network.encoder_blocks(len(topology.strides))
    return sum(count * channels * size for count, channels, size in zip(blocks, filters, sizes, strict=True))


def _residual_values(network: Network, topology: Topology, filters: Sequence[int], sizes: Sequence[int]) -> int:
    blocks = network.encoder_blocks(len(topology.strides))
    values = filters[0] * sizes[0]  # the stem
    channels_before = filters[0]
    for level, (count, channels, size) in enumerate(zip(blocks, filters, sizes, strict=True)):
        projected = channels != channels_before or any(step != 1 for step in topology.strides[level])
        values += (2 * count + int(projected)) * channels * size
        channels_before = channels
    return values
