"""The network of SR-UNet as a row: a U-Net with pyramid pooling and a head of whole resolution at each level."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from auto_config.methods.base import Backbone, Json, Stage
from auto_config.methods.networks.sources import SR_UNET
from auto_config.methods.topology import Topology, round_up
from auto_config.methods.unets import UNETS

_HALVINGS = 4
_VALUES_PER_VOXEL = {2: 612.78, 3: 425.77}
"""Values that all convolutions but the heads' give, for each voxel of the patch."""
_HEAD_VALUES = {2: 9.75, 3: 8.6563}
"""Values that the convolutions of all heads give, for each voxel and landmark."""


def _topology(spacing: Sequence[float], patch_size: Sequence[int]) -> Topology:
    """Every axis is halved four times, and has two voxels at the bottom, for batch normalisation."""
    axes, step = len(spacing), 2**_HALVINGS
    return Topology(
        patch_size=tuple(max(2 * step, round_up(edge, step)) for edge in patch_size),
        strides=((1,) * axes, *((2,) * axes for _ in range(_HALVINGS))),
        kernel_sizes=((3,) * axes,) * (_HALVINGS + 1),
        divisor=(step,) * axes,
    )


def _values(topology: Topology, outputs: int) -> float:
    dims = len(topology.patch_size)
    return (_VALUES_PER_VOXEL[dims] + _HEAD_VALUES[dims] * outputs) * prod(topology.patch_size)


def _config(stage: Stage, spatial_dims: int, in_channels: int, out_channels: int) -> Json:  # noqa: ARG001
    return {
        "_target_": "scripts.methods.networks.super_resolution.SuperResolutionUNet",
        "spatial_dims": spatial_dims,
        "in_channels": in_channels,
        "out_channels": out_channels,
        "filters": [64, 128, 256, 512, 1024],
    }


SUPER_RESOLUTION = Backbone(
    name="sr_unet",
    title="a U-Net with pyramid pooling and heatmaps from each of its levels",
    citation=SR_UNET,
    memory_gb=UNETS["plain"].memory_gb,
    topology=_topology,
    describe=lambda topology: {},  # noqa: ARG005
    values=_values,
    budget=UNETS["plain"].budget,
    config=_config,
    output_layer=lambda stage: None,  # noqa: ARG005
    own_heads=True,
)
