"""Grid networks of Noothout et al.: cells of 8 voxels for the whole anatomy, cells of 2 in crops."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from auto_config.methods.base import Backbone, Json, Stage
from auto_config.methods.topology import Topology, round_up
from auto_config.methods.unets import UNETS

NOOTHOUT = (
    "Noothout et al., Deep Learning-Based Regression and Classification for Automatic Landmark Localization in Medical "
    "Images, IEEE TMI 39, 2020"
)
GLOBAL_STRIDE, LOCAL_STRIDE = 8, 2
_GLOBAL_FILTERS, _GLOBAL_BLOCKS = (32, 64, 128, 256), (3, 4, 6, 3)
_LOCAL_FILTERS = (32, 64)


def heads(landmarks: int, spatial_dims: int) -> dict[str, int]:
    """Channels of each head of a grid network."""
    return {"class": landmarks, "offset": landmarks * spatial_dims}


def _topology(patch_size: Sequence[int], halvings: int) -> Topology:
    """Every axis is halved as often, whatever its spacing, and has two cells at least, for batch normalisation."""
    axes, stride = len(patch_size), 2**halvings
    return Topology(
        patch_size=tuple(max(2 * stride, round_up(edge, stride)) for edge in patch_size),
        strides=((1,) * axes, *((2,) * axes for _ in range(halvings))),
        kernel_sizes=((3,) * axes,) * (halvings + 1),
        divisor=(stride,) * axes,
    )


def _head_values(width: int, outputs: int, dims: int) -> int:
    """Values of both heads for each cell."""
    return 4 * width + sum(heads(outputs, dims).values())


def _global_values(topology: Topology, outputs: int) -> float:
    dims, voxels = len(topology.patch_size), prod(topology.patch_size)
    width = _GLOBAL_FILTERS[0] // 2
    values, stride = width * voxels / 2**dims, 2
    for stage, (channels, count) in enumerate(zip(_GLOBAL_FILTERS, _GLOBAL_BLOCKS, strict=True)):
        stride *= 2 if stage < 2 else 1
        # Two convolutions in each block, and the projection of the shortcut.
        values += (2 * count + 1) * channels * voxels / stride**dims
    return values + _head_values(_GLOBAL_FILTERS[-1], outputs, dims) * voxels / stride**dims


def _local_values(topology: Topology, outputs: int) -> float:
    dims, voxels = len(topology.patch_size), prod(topology.patch_size)
    first, second = _LOCAL_FILTERS
    return 2 * first * voxels + (2 * second + _head_values(second, outputs, dims)) * voxels / LOCAL_STRIDE**dims


def _config(target: str, stage: Stage, spatial_dims: int, in_channels: int, out_channels: int) -> Json:  # noqa: ARG001
    return {
        "_target_": f"scripts.methods.grid_network.{target}",
        "spatial_dims": spatial_dims,
        "in_channels": in_channels,
        "landmarks": out_channels // (1 + spatial_dims),
    }


def _global_config(stage: Stage, spatial_dims: int, in_channels: int, out_channels: int) -> Json:
    common = _config("GlobalGridNetwork", stage, spatial_dims, in_channels, out_channels)
    return {**common, "filters": list(_GLOBAL_FILTERS), "blocks": list(_GLOBAL_BLOCKS)}


def _local_config(stage: Stage, spatial_dims: int, in_channels: int, out_channels: int) -> Json:
    common = _config("LocalGridNetwork", stage, spatial_dims, in_channels, out_channels)
    return {**common, "filters": list(_LOCAL_FILTERS)}


_LOCAL = Backbone(
    name="grid",
    title="a shallow local network with cells of 2 voxels",
    citation=NOOTHOUT,
    # Crops of the size for CPUs, which are small: the publication's are of 16 voxels.
    memory_gb=None,
    topology=lambda spacing, patch_size: _topology(patch_size, 1),  # noqa: ARG005
    describe=lambda topology: {},  # noqa: ARG005
    values=_local_values,
    budget=UNETS["plain"].budget,
    config=_local_config,
    output_layer=lambda stage: "class_head.6",  # noqa: ARG005
    stride=LOCAL_STRIDE,
)

GRID = Backbone(
    name="grid",
    title="a residual network with cells of 8 voxels, and a shallow one with cells of 2 for the fine stage",
    citation=NOOTHOUT,
    memory_gb=UNETS["plain"].memory_gb,
    topology=lambda spacing, patch_size: _topology(patch_size, 3),  # noqa: ARG005
    describe=lambda topology: {},  # noqa: ARG005
    values=_global_values,
    budget=UNETS["plain"].budget,
    config=_global_config,
    output_layer=lambda stage: "class_head.6",  # noqa: ARG005
    stride=GLOBAL_STRIDE,
    fine=_LOCAL,
)
