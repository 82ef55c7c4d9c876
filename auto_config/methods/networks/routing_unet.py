"""The network of H3DE-Net as a row: a U-Net with routing attention, for patches of any size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

from auto_config.methods.base import Backbone, Json, Stage
from auto_config.methods.networks.sources import H3DE
from auto_config.methods.topology import Topology, round_up
from auto_config.methods.unets import UNETS

STEM = 4
"""Voxels for one cell behind the stem; the network takes any size, and whole cells waste nothing."""

_DEPTH = 32
_VALUES_PER_VOXEL = {(2, 1): 288.5, (3, 1): 98.55, (2, 4): 216.5, (3, 4): 38.55}
"""Values that all convolutions but the last give, for each voxel of the patch; by dimensions and stride."""


def _topology(spacing: Sequence[float], patch_size: Sequence[int]) -> Topology:
    """Whole cells; and one axis longer than a voxel of the last stage, because norms need two values there."""
    axes = len(spacing)
    size = [round_up(edge, STEM) for edge in patch_size]
    if max(size) <= _DEPTH:
        size[size.index(max(size))] = _DEPTH + STEM
    return Topology(
        patch_size=tuple(size),
        strides=((1,) * axes, (STEM,) * axes),
        kernel_sizes=((3,) * axes,) * 2,
        divisor=(STEM,) * axes,
    )


def _values(stride: int) -> Callable[[Topology, int], float]:
    def values(topology: Topology, outputs: int) -> float:
        dims = len(topology.patch_size)
        return (_VALUES_PER_VOXEL[dims, stride] + outputs / stride**dims) * prod(topology.patch_size)

    return values


def _config(stride: int) -> Callable[[Stage, int, int, int], Json]:
    def config(stage: Stage, spatial_dims: int, in_channels: int, out_channels: int) -> Json:  # noqa: ARG001
        return {
            "_target_": "scripts.methods.networks.h3de.RoutingUNet",
            "spatial_dims": spatial_dims,
            "in_channels": in_channels,
            "out_channels": out_channels,
            "filters": [64, 128, 256, 512],
            "depths": [2, 2, 4, 2],
            **({} if stride == 1 else {"stride": stride}),
        }

    return config


def routing_unet(name: str, title: str, stride: int = 1) -> Backbone:
    """A row of the table of networks.

    Args:
        name: as the user gives it.
        title: a few words.
        stride: 1, or 4 for an output at a quarter of the resolution.
    """
    return Backbone(
        name=name,
        title=title,
        citation=H3DE,
        memory_gb=UNETS["plain"].memory_gb,
        topology=_topology,
        describe=lambda topology: {},  # noqa: ARG005
        values=_values(stride),
        budget=UNETS["plain"].budget,
        config=_config(stride),
        output_layer=lambda stage: "last",  # noqa: ARG005
        stride=stride,
    )


ROUTING_UNET = routing_unet("h3de", "H3DE-Net's U-Net with routing attention")
ROUTING_CELLS = routing_unet("h3de_cells", "the same, whose output has cells of 4 voxels", STEM)
