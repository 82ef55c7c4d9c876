"""FlexibleUNet with EfficientNet-b0, as the package landmarker uses it."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from auto_config.methods.base import Backbone, Json, Stage
from auto_config.methods.topology import Topology, round_up
from auto_config.methods.unets import UNETS

_HALVINGS = 5
_SMALLEST = 64
"""Batch normalisation needs several values for each channel, so two voxels along each axis of the last level."""
_VALUES_PER_VOXEL = {2: 201.0, 3: 78.2}
"""Values that all convolutions but the last give, for each voxel of the patch; counted in a patch of 64^D."""


def _topology(spacing: Sequence[float], patch_size: Sequence[int]) -> Topology:
    """Every axis is halved five times, whatever its spacing."""
    step = 2**_HALVINGS
    axes = len(spacing)
    return Topology(
        patch_size=tuple(max(_SMALLEST, round_up(edge, step)) for edge in patch_size),
        strides=((1,) * axes, *((2,) * axes for _ in range(_HALVINGS))),
        kernel_sizes=((3,) * axes,) * (_HALVINGS + 1),
        divisor=(step,) * axes,
    )


def _values(topology: Topology, outputs: int) -> float:
    return (_VALUES_PER_VOXEL[len(topology.patch_size)] + outputs) * prod(topology.patch_size)


def _config(stage: Stage, spatial_dims: int, in_channels: int, out_channels: int) -> Json:  # noqa: ARG001
    return {
        "_target_": "scripts.methods.flexible_unet.LogProbabilityUNet",
        "spatial_dims": spatial_dims,
        "in_channels": in_channels,
        "out_channels": out_channels,
        "backbone": "efficientnet-b0",
    }


FLEXIBLE_UNET = Backbone(
    name="flexible_unet",
    title="MONAI's FlexibleUNet with EfficientNet-b0",
    citation="Tan and Le, EfficientNet, ICML 2019; Cardoso et al., MONAI, arXiv 2211.02701",
    memory_gb=UNETS["plain"].memory_gb,
    topology=_topology,
    describe=lambda topology: {},  # noqa: ARG005
    values=_values,
    budget=UNETS["plain"].budget,
    config=_config,
    # The softmax that follows makes a bias of a whole channel meaningless.
    output_layer=lambda stage: None,  # noqa: ARG005
    distribution=True,
)
