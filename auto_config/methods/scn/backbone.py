"""The spatial configuration network of Payer et al. as a row of the table of networks."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from auto_config.methods.base import Backbone, Json, Stage
from auto_config.methods.topology import Topology, round_up
from auto_config.methods.unets import UNETS

PAYER = (
    "Payer et al., Integrating Spatial Configuration into Heatmap Regression Based CNNs for Landmark Localization, "
    "Medical Image Analysis 54, 2019"
)
_LEVELS = 4
_NUMBERS: dict[int, Json] = {
    2: {"features": 128, "levels": _LEVELS, "factor": 16, "kernel": 11, "padding": "zeros"},
    3: {"features": 64, "levels": _LEVELS, "factor": 8, "kernel": 7, "padding": "reflect"},
}
_SMALLEST = 32
"""Voxels of an edge: mirrored padding by 3 needs 4 voxels of the coarser part."""


def _topology(spacing: Sequence[float], patch_size: Sequence[int]) -> Topology:
    """Every axis is halved three times, whatever its spacing, and is a whole number of coarse voxels."""
    axes = len(spacing)
    step = _NUMBERS[axes]["factor"]
    return Topology(
        patch_size=tuple(max(_SMALLEST, round_up(edge, step)) for edge in patch_size),
        strides=((1,) * axes, *((2,) * axes for _ in range(_LEVELS - 1))),
        kernel_sizes=((3,) * axes,) * _LEVELS,
        divisor=(step,) * axes,
    )


def _values(topology: Topology, outputs: int) -> float:
    """The first convolution, three of each level, local heatmaps, three coarse convolutions and both last maps."""
    dims, voxels = len(topology.patch_size), prod(topology.patch_size)
    numbers = _NUMBERS[dims]
    local = numbers["features"] * (1 + 3 * sum(2 ** (-dims * level) for level in range(_LEVELS)))
    coarse = (3 * numbers["features"] + outputs) / numbers["factor"] ** dims
    return (local + 2 * outputs + coarse) * voxels


def _config(stage: Stage, spatial_dims: int, in_channels: int, out_channels: int) -> Json:  # noqa: ARG001
    return {
        "_target_": "scripts.methods.scn.SpatialConfigurationNetwork",
        "spatial_dims": spatial_dims,
        "in_channels": in_channels,
        "landmarks": out_channels,
        **_NUMBERS[spatial_dims],
    }


SCN = Backbone(
    name="spatial_configuration",
    title="local appearance times spatial configuration, by Payer et al.",
    citation=PAYER,
    memory_gb=UNETS["plain"].memory_gb,
    topology=_topology,
    describe=lambda topology: {},  # noqa: ARG005
    values=_values,
    budget=UNETS["plain"].budget,
    config=_config,
    # A product of two maps: no bias of one of them is that of the output.
    output_layer=lambda stage: None,  # noqa: ARG005
)
