"""Networks that no method names as its own: hourglasses, coordinates as channels, a grid network for each landmark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

from auto_config.methods.base import Backbone, Json, Stage
from auto_config.methods.grids import GRID
from auto_config.methods.networks.sources import LANDMARKER
from auto_config.methods.topology import Topology, round_up
from auto_config.methods.unets import UNETS, unet_backbone

_LIU = "Liu et al., CoordConv, NeurIPS 2018"
_NEWELL = "Newell et al., Stacked Hourglass Networks for Human Pose Estimation, ECCV 2016"
_CHANNELS, _DEPTH, _STACKS = {2: 128, 3: 64}, 4, 2
_VALUES_PER_VOXEL = {2: 559.5, 3: 121.71}
"""Values that all convolutions but those to heatmaps give, for each voxel of the patch."""
_HEATMAPS = {2: 1.5, 3: 1.25}
"""Values of heatmaps, those of both hourglasses and the last ones again at whole resolution, for each landmark."""


def _topology(spacing: Sequence[float], patch_size: Sequence[int]) -> Topology:
    """Every axis is halved by the stem and by each level, and has two voxels at the bottom, for normalisation."""
    axes, step = len(spacing), 2 ** (_DEPTH + 1)
    return Topology(
        patch_size=tuple(max(2 * step, round_up(edge, step)) for edge in patch_size),
        strides=((1,) * axes, *((2,) * axes for _ in range(_DEPTH + 1))),
        kernel_sizes=((3,) * axes,) * (_DEPTH + 2),
        divisor=(step,) * axes,
    )


def _values(topology: Topology, outputs: int) -> float:
    dims = len(topology.patch_size)
    return (_VALUES_PER_VOXEL[dims] + _HEATMAPS[dims] * outputs) * prod(topology.patch_size)


def _config(stage: Stage, spatial_dims: int, in_channels: int, out_channels: int) -> Json:  # noqa: ARG001
    return {
        "_target_": "scripts.methods.networks.hourglass.StackedHourglass",
        "spatial_dims": spatial_dims,
        "in_channels": in_channels,
        "out_channels": out_channels,
        "channels": _CHANNELS[spatial_dims],
        "depth": _DEPTH,
        "stacks": _STACKS,
    }


HOURGLASS = Backbone(
    name="hourglass",
    title="two stacked hourglasses at half of the resolution",
    citation=f"{_NEWELL}; {LANDMARKER}",
    memory_gb=UNETS["plain"].memory_gb,
    topology=_topology,
    describe=lambda topology: {},  # noqa: ARG005
    values=_values,
    budget=UNETS["plain"].budget,
    config=_config,
    output_layer=lambda stage: f"heatmaps.{_STACKS - 1}",  # noqa: ARG005
)

_PLAIN = unet_backbone(UNETS["plain"], "nnU-Net's U-Net")


def _with_coordinates(stage: Stage, spatial_dims: int, in_channels: int, out_channels: int) -> Json:
    network = _PLAIN.config(stage, spatial_dims, in_channels + spatial_dims, out_channels)
    return {"_target_": "scripts.methods.networks.wrapped.CoordConv", "network": network}


COORD_CONV = replace(
    _PLAIN,
    name="coord_conv",
    title="plain with the coordinates of voxels in the patch beside the image",
    citation=f"{_LIU}; {LANDMARKER}",
    config=_with_coordinates,
    output_layer=lambda stage: f"network.{_PLAIN.output_layer(stage)}",
)


def _for_each(row: Backbone) -> Backbone:
    """A grid network for each landmark."""

    def values(topology: Topology, outputs: int) -> float:
        return outputs * row.values(topology, 1)

    def config(stage: Stage, spatial_dims: int, in_channels: int, out_channels: int) -> Json:
        heads = 1 + spatial_dims
        layer = row.output_layer(stage)
        return {
            "_target_": "scripts.methods.networks.separate.SeparateNetworks",
            "number": out_channels // heads,
            "heads": [1, spatial_dims],
            "biases": {layer: -6.0},
            "network": row.config(stage, spatial_dims, in_channels, heads),
        }

    return replace(
        row,
        name="grid_single",
        title="the same, a network for each landmark",
        values=values,
        config=config,
        # Each network has a bias of its own, which its JSON says.
        output_layer=lambda stage: None,  # noqa: ARG005
        instead_of=GRID.name,
        fine=None if row.fine is None else _for_each(row.fine),
    )


SINGLE_LANDMARK = _for_each(GRID)
