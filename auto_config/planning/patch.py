"""Patch and batch of one network: as large as memory allows, in the shape of the anatomy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, floor, prod

import numpy as np

from auto_config.memory.counted import memory_values
from auto_config.methods.base import Backbone
from auto_config.methods.topology import Topology

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
        reason: what is to be said of them, if anything.
    """

    topology: Topology
    batch_size: int
    values: float
    reason: str = ""


@dataclass(frozen=True)
class Cost:
    """What a patch of a network costs, and how much a patch may cost.

    Args:
        of: the cost of a topology, in values of feature maps (networks for CPUs: in voxels).
        whole_batch: the cost that a whole batch may have.
    """

    of: Callable[[Topology], float]
    whole_batch: float

    @property
    def limit(self) -> float:
        """The cost that each patch of the smallest batch may have."""
        return self.whole_batch / MIN_BATCH


def cost_of(
    network: Backbone, spatial_dims: int, *, landmarks: int, loss_bytes_per_voxel: float, memory_gb: float | None
) -> Cost:
    """The cost by which a network is planned: voxels on CPUs, else memory with that of the loss.

    Args:
        network: from `BACKBONES`.
        spatial_dims: 2 or 3.
        landmarks: number of landmarks.
        loss_bytes_per_voxel: of the method, for each voxel and landmark.
        memory_gb: GPU memory; None for the network's own.
    """
    if network.memory_gb is None:
        return Cost(voxels, float(TINY_VOXELS * MIN_BATCH))
    budget = memory_budget(network, spatial_dims, memory_gb)
    return Cost(lambda topology: memory_values(network, topology, landmarks, loss_bytes_per_voxel), budget)


def plan_patch(
    network: Backbone, spacing: Sequence[float], median_shape: Sequence[float], cost: Cost, cases: int
) -> PatchPlan:
    """Our rule: nnU-Net's with an honest count of memory and the cap of the batch for every network.

    Args:
        network: from `BACKBONES`.
        spacing: mm, of the planned grid.
        median_shape: voxels of the median case on that grid.
        cost: of `cost_of`.
        cases: number of training cases.
    """
    topology = fit_patch(spacing, median_shape, cost.of, cost.limit, network.topology)
    return _with_batch(network, topology, median_shape, cost, cases)


def whole_patch(
    network: Backbone,
    spacing: Sequence[float],
    extent_mm: Sequence[float],
    *,
    median_shape: Sequence[float],
    cost: Cost,
    cases: int,
) -> PatchPlan | None:
    """A patch that holds the whole anatomy, for methods that must see all of it; None where no two fit.

    Args:
        network: from `BACKBONES`.
        spacing: mm, of the planned grid.
        extent_mm: of the anatomy, mm.
        median_shape: voxels of the median case on that grid.
        cost: of `cost_of`.
        cases: number of training cases.
    """
    edges = [ceil(round(length / step, 6)) for length, step in zip(extent_mm, spacing, strict=True)]
    topology = network.topology(spacing, edges)
    if cost.of(topology) > cost.limit:
        return None
    return _with_batch(network, topology, median_shape, cost, cases)


def coarser_for_whole(
    network: Backbone, spacing: Sequence[float], extent_mm: Sequence[float], cost: Cost
) -> tuple[list[float], float]:
    """The spacing, made coarser by one factor until two patches with the whole anatomy fit.

    Returns:
        The spacing in mm, and the factor: a power of 1.1, or 1.
    """
    factor = 1.0
    while True:
        grid = [round(step * factor, 6) for step in spacing]
        if whole_patch(network, grid, extent_mm, median_shape=(1,) * len(grid), cost=cost, cases=1) is not None:
            return grid, factor
        factor *= 1.1


def _with_batch(
    network: Backbone, topology: Topology, median_shape: Sequence[float], cost: Cost, cases: int
) -> PatchPlan:
    """The batch: two on CPUs; else as many as fit, are sensible for the data set, and at least two."""
    values = cost.of(topology)
    if network.memory_gb is None:
        return PatchPlan(topology, MIN_BATCH, values)
    by_data = round(cases * prod(median_shape) * DATASET_SHARE / prod(topology.patch_size))
    # Half a patch more does not fit.
    return PatchPlan(topology, max(min(floor(cost.whole_batch / values), by_data), MIN_BATCH), values)


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
