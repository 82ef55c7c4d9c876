"""Patch and batch of one network: as large as memory allows, in the shape of the anatomy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import floor, prod

import numpy as np

from auto_config.methods.base import Backbone
from auto_config.methods.topology import Topology
from auto_config.methods.unets import UNETS
from auto_config.planning.memory import memory_values

DATASET_SHARE = 0.05
"""One batch holds at most this share of all voxels of the training cases (but two patches at least)."""

MIN_BATCH = 2
TINY_VOXELS = 64_000
"""Voxels (or pixels) in a patch of the tiny network: about half a second for a step of two on one core."""

Shape = Callable[[Sequence[float], Sequence[int]], Topology]
"""From a spacing in mm and a wished patch in voxels to a network's shape."""

_LARGEST_CUBE = 256
_LARGEST_SQUARE = 2048


@dataclass(frozen=True)
class PatchPlan:
    """A network's topology (with its patch) and batch.

    Args:
        topology: with the patch size in voxels.
        batch_size: patches.
        values: estimated memory of one patch, in values of feature maps (tiny: in voxels).
    """

    topology: Topology
    batch_size: int
    values: float


def plan_patch(
    network: Backbone,
    spacing: Sequence[float],
    median_shape: Sequence[float],
    *,
    landmarks: int,
    cases: int,
    loss_bytes_per_voxel: float,
    memory_gb: float | None = None,
) -> PatchPlan:
    """Our rule: nnU-Net's with an honest count of memory and the cap of the batch for every network.

    Args:
        network: from `BACKBONES`.
        spacing: mm, of the planned grid.
        median_shape: voxels of the median case on that grid.
        landmarks: channels of the output.
        cases: number of training cases.
        loss_bytes_per_voxel: of the method, for each voxel and landmark.
        memory_gb: GPU memory; None for the network's own.
    """
    if network.memory_gb is None:
        patch = fit_patch(spacing, median_shape, voxels, float(TINY_VOXELS), network.topology)
        return PatchPlan(patch, MIN_BATCH, voxels(patch))
    budget = memory_budget(network, len(spacing), memory_gb)
    return _fit(
        network.topology,
        spacing,
        median_shape,
        cost=lambda topology: memory_values(network, topology, landmarks, loss_bytes_per_voxel),
        budget=budget,
        batch=MIN_BATCH,
        whole=floor,  # half a patch more does not fit
        largest_batch_voxels=cases * prod(median_shape) * DATASET_SHARE,
    )


def stock_nnunet_plan(
    shape: Sequence[int], spacing: Sequence[float], landmarks: int, cases: int, network: str
) -> tuple[tuple[int, ...], int]:
    """Patch size and batch size as nnU-Net 2.6 (and so nnLandmark) plans them; the reference for tests and for docs.

    Args:
        shape: voxels of the median case; axes in any order, the patch comes in the same.
        spacing: mm, the same axes.
        landmarks: number of landmarks; nnU-Net counts one more channel, for the background.
        cases: number of training cases.
        network: ``"plain"``, ``"resenc_m"``, ``"resenc_l"`` or ``"resenc_xl"``.
    """
    chosen = UNETS[network]
    plan = _fit(
        chosen.topology,
        spacing,
        shape,
        cost=lambda topology: chosen.values(topology, landmarks + 1),
        budget=chosen.budget(len(spacing)),
        batch=chosen.stock_batch_2d if len(spacing) == 2 else chosen.batch_3d,
        whole=round,
        largest_batch_voxels=cases * prod(shape) * chosen.stock_dataset_share,
    )
    return plan.topology.patch_size, plan.batch_size


def memory_budget(network: Backbone, spatial_dims: int, memory_gb: float | None) -> float:
    """Feature map values that a whole batch may take in `memory_gb` (None: the network's own).

    Raises:
        ValueError: the network is not planned for a GPU.
    """
    if network.memory_gb is None:
        raise ValueError(f"{network.name} is planned by voxels, not by GPU memory")
    scale = 1.0 if memory_gb is None else memory_gb / network.memory_gb
    return network.budget(spatial_dims) * scale


def fit_patch(
    spacing: Sequence[float],
    median_shape: Sequence[float],
    cost: Callable[[Topology], float],
    limit: float,
    shape: Shape,
) -> Topology:
    """The largest patch in the shape of the median case whose cost is within the limit.

    Starts from a cube in mm of 256^3 voxels (2D: 2048^2), cut to the median shape, and takes one step of the divisor
    off the axis that covers most of the median shape until the cost fits.

    Args:
        spacing: mm.
        median_shape: voxels of the median case.
        cost: of a topology.
        limit: of the cost.
        shape: the network's topology for a spacing and a wished patch.

    Source:
        nnU-Net's rule for the patch size (Isensee et al. 2021).
    """
    per_mm = [1 / value for value in spacing]
    largest = _LARGEST_SQUARE if len(spacing) == 2 else _LARGEST_CUBE
    scale = (largest ** len(spacing) / prod(per_mm)) ** (1 / len(spacing))
    start = [min(round(value * scale), int(edge)) for value, edge in zip(per_mm, median_shape, strict=True)]
    topology = shape(spacing, start)
    while cost(topology) > limit:
        smaller = _smaller(spacing, topology, median_shape, shape)
        if smaller is None:
            break
        topology = smaller
    return topology


def _smaller(
    spacing: Sequence[float], topology: Topology, median_shape: Sequence[float], shape: Shape
) -> Topology | None:
    """One step less along the axis that covers most of the anatomy; None when no axis can give."""
    covered = [edge / whole for edge, whole in zip(topology.patch_size, median_shape, strict=True)]
    # Of equals the last one gives first: a stable sort, as in nnU-Net.
    for axis in np.argsort(covered, kind="stable")[::-1]:
        tried = list(topology.patch_size)
        tried[axis] -= topology.divisor[axis]
        if tried[axis] < 1:
            continue
        # The step itself may change the depth, and with it the step.
        step = shape(spacing, tried).divisor[axis]
        tried[axis] = topology.patch_size[axis] - step
        if tried[axis] >= 1:
            return shape(spacing, tried)
    return None


def voxels(topology: Topology) -> float:
    """Voxels of the patch, the cost by which the tiny network is planned."""
    return float(prod(topology.patch_size))


def _fit(
    shape: Shape,
    spacing: Sequence[float],
    median_shape: Sequence[float],
    *,
    cost: Callable[[Topology], float],
    budget: float,
    batch: int,
    whole: Callable[[float], int],
    largest_batch_voxels: float,
) -> PatchPlan:
    """The largest patch of which `batch` fit into the budget, then as many as fit, are sensible, and at least two."""
    topology = fit_patch(spacing, median_shape, cost, budget / batch, shape)
    values = cost(topology)
    by_data = round(largest_batch_voxels / prod(topology.patch_size))
    return PatchPlan(topology, max(min(whole(budget / values), by_data), MIN_BATCH), values)
