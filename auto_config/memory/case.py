"""One case: what reading its image and finding its landmarks take, in tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from auto_config.bundle_scripts.inference.streaming.window_grid import planes_held, regular_windows, slab_axis
from auto_config.memory.step import FLOAT, MB
from auto_config.methods.base import Backbone, Stage

_DOUBLE = 8
_SAME_GRID = 1e-3
"""Spacings that differ by less (mm) are one: MONAI resamples nothing then."""

_READING_BYTES = 10
"""Of each voxel of the file: as it is stored (2), in float32 (4), and turned into RAS order (4)."""

_NORMALISING_BYTES = 16
"""Of each voxel of the planned grid: clipped, shifted and scaled, one array after the other, and the image before."""

CROPS_AT_A_TIME = 8
"""Fine crops in one call of the network (`CoarseToFineInferer`)."""

_AT_A_TIME = 0.8
"""Share of the values of a U-Net that are there at once, counted in a pass of `tiny` (0.80)."""


@dataclass(frozen=True)
class Grid:
    """A case on its own grid and on the planned one, after the crop of constant background.

    Args:
        shape: voxels of the file.
        spacing: mm of the file.
        planned: voxels of the planned grid.
        planned_spacing: mm of the planned grid.
        channels: of the image.
    """

    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    planned: tuple[int, ...]
    planned_spacing: tuple[float, ...]
    channels: int = 1

    @property
    def resampled(self) -> bool:
        """Whether the two grids differ."""
        pairs = zip(self.spacing, self.planned_spacing, strict=True)
        return any(abs(mine - theirs) > _SAME_GRID for mine, theirs in pairs)

    @property
    def smoothed(self) -> bool:
        """Whether the grid gets so much coarser that the image is low-passed first."""
        pairs = zip(self.spacing, self.planned_spacing, strict=True)
        return any((theirs / mine - 1) / 2 > 0.05 for mine, theirs in pairs)


@dataclass(frozen=True)
class CaseMemory:
    """Memory of one case in MB. The image is read before its landmarks are found, so the larger of both counts.

    Args:
        reading: the most that the way from the file to the planned grid takes.
        image: on the planned grid, float32.
        finding: the most that networks, windows and their merged maps take beside the image.
    """

    reading: float
    image: float
    finding: float

    @property
    def total(self) -> float:
        """The most at a time."""
        return max(self.reading, self.image + self.finding)


def largest(shapes: Sequence[Sequence[int]], spacings: Sequence[Sequence[float]], planned: Sequence[float]) -> Grid:
    """The case with the most voxels on both grids together.

    Args:
        shapes: voxels of each case.
        spacings: mm of each case.
        planned: mm of the planned grid.
    """
    grids = [
        Grid(
            tuple(int(edge) for edge in shape),
            tuple(float(step) for step in spacing),
            tuple(max(1, round(edge * step / to)) for edge, step, to in zip(shape, spacing, planned, strict=True)),
            tuple(float(step) for step in planned),
        )
        for shape, spacing in zip(shapes, spacings, strict=True)
    ]
    return max(grids, key=lambda grid: prod(grid.shape) + prod(grid.planned))


def reading_bytes(grid: Grid) -> float:
    """The most that an image takes on its way from the file to the planned grid.

    MONAI resamples in float64, with a coordinate for each voxel of the new grid and, while these are made, the numbers
    that they are made of: 8 bytes for each of D + (D + 1).
    """
    dims, channels = len(grid.shape), grid.channels
    before, after = float(prod(grid.shape) * channels), float(prod(grid.planned) * channels)
    most = max(_READING_BYTES * before, _NORMALISING_BYTES * after)
    if grid.resampled:
        coordinates = _DOUBLE * prod(grid.planned) * max(2 * dims + 1, dims + channels)
        kept = FLOAT * (2 if grid.smoothed else 1) + _DOUBLE
        most = max(most, kept * before + coordinates)
    return most


def two_stage_bytes(
    networks: Sequence[Backbone],
    stages: Sequence[Stage],
    planned: Sequence[int],
    *,
    landmarks: int,
    channels: int,
    views: int,
) -> float:
    """The most that coarse to fine takes: maps of the coarse grid, then crops around each point and their outputs.

    Args:
        networks: of the coarse and of the fine stage.
        stages: of the plan.
        planned: voxels of the image on the planned grid.
        landmarks: number of landmarks.
        channels: of the image.
        views: how often the network looks: 2 with the mirror image.
    """
    coarse, fine = stages
    grid = [
        max(-(-edge // step), patch)
        for edge, step, patch in zip(planned, coarse["factor"], coarse["patch_size"], strict=True)
    ]
    # The merged map, that of a window, and their sum's copy by the count of windows.
    maps = FLOAT * landmarks * (2 * prod(grid) + prod(coarse["patch_size"])) + pass_bytes(
        networks[0], coarse, landmarks, 1
    )
    crop, batch = prod(fine["patch_size"]), min(CROPS_AT_A_TIME, landmarks)
    crops = FLOAT * landmarks * crop * (channels + 1 + views)
    looks = pass_bytes(networks[1], fine, landmarks, batch)
    return max(maps, crops + looks)


def one_stage_bytes(
    network: Backbone, stage: Stage, planned: Sequence[int], *, landmarks: int, views: int, box_radius: int | None
) -> float:
    """The most that a sliding window over the whole image takes: merged maps, or slabs of them, and a window's pass.

    Args:
        network: of the stage.
        stage: of the plan.
        planned: voxels of the image on the planned grid.
        landmarks: number of landmarks.
        views: how often the network looks: 2 with the mirror image.
        box_radius: voxels that the decoder reads around the highest one, so that slabs do where they take less; None
            where it reads the whole map.
    """
    windows = regular_windows(planned, stage["patch_size"], 0.0)  # however much they overlap, slabs are as thick
    plane = FLOAT * prod(windows.padded)
    held: float = plane * (landmarks * (1 if views == 1 else 2) + 1)
    if box_radius is not None and windows.count > 1:
        axis = slab_axis(windows)
        share = planes_held(windows, axis, 2 * box_radius) / windows.padded[axis]
        held = min(held, plane * share * (landmarks * (views + (views > 1)) + 1))
    return held + pass_bytes(network, stage, landmarks, 1)


def pass_bytes(network: Backbone, stage: Stage, landmarks: int, batch: int) -> float:
    """What a look of a network in float32 holds at most, without gradients.

    At its last level a U-Net holds what it began with, both halves of what it up-samples, and a convolution before and
    after its normalisation, which is `_AT_A_TIME` of what all its convolutions give. All that is gone when its maps
    are there, which are more where landmarks are many.
    """
    maps = landmarks * prod(stage["patch_size"])
    inside = network.values(network.topology(stage["spacing"], stage["patch_size"]), landmarks) - maps
    return FLOAT * batch * max(_AT_A_TIME * inside, float(maps))


def case_memory(grid: Grid, finding_bytes: float) -> CaseMemory:
    """Memory of a case in MB.

    Args:
        grid: of the case.
        finding_bytes: what finding its landmarks takes, without its image.
    """
    image = FLOAT * prod(grid.planned) * grid.channels
    return CaseMemory(reading_bytes(grid) / MB, image / MB, finding_bytes / MB)
