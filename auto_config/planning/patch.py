"""Patch and batch of one network: as large as memory allows, in the shape of the anatomy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import floor, prod

import numpy as np

from auto_config.methods.topology import Topology, plan_topology
from auto_config.methods.unets import NETWORKS, Network
from auto_config.planning.memory import convolution_values, memory_values

DATASET_SHARE = 0.05
"""One batch holds at most this share of all voxels of the training cases (but two patches at least)."""

MIN_BATCH = 2
TINY_VOXELS = 64_000
"""Voxels (or pixels) in a patch of the tiny network: about half a second for a step of two on one core."""

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
    network: Network,
    spacing: Sequence[float],
    median_shape: Sequence[float],
    *,
    landmarks: int,
    cases: int,
    memory_gb: float | None = None,
) -> PatchPlan:
    """Our rule: nnU-Net's with an honest count of memory and the cap of the batch for every network.

    Args:
        network: from `NETWORKS`.
        spacing: mm, of the planned grid.
        median_shape: voxels of the median case on that grid.
        landmarks: channels of the output.
        cases: number of training cases.
        memory_gb: GPU memory; None for the network's own.
    """
    if network.memory_gb is None:
        patch = fit_patch(spacing, median_shape, voxels, float(TINY_VOXELS), network.max_pools)
        return PatchPlan(patch, MIN_BATCH, voxels(patch))
    budget = memory_budget(network, len(spacing), memory_gb)
    return _fit(
        network,
        spacing,
        median_shape,
        cost=lambda topology: memory_values(network, topology, landmarks),
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
    chosen = NETWORKS[network]
    plan = _fit(
        chosen,
        spacing,
        shape,
        cost=lambda topology: convolution_values(chosen, topology, landmarks + 1),
        budget=chosen.budget(len(spacing)),
        batch=chosen.stock_batch_2d if len(spacing) == 2 else chosen.batch_3d,
        whole=round,
        largest_batch_voxels=cases * prod(shape) * chosen.stock_dataset_share,
    )
    return plan.topology.patch_size, plan.batch_size


def memory_budget(network: Network, spatial_dims: int, memory_gb: float | None) -> float:
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
    max_pools: int | None = None,
) -> Topology:
    """The largest patch in the shape of the median case whose cost is within the limit.

    Starts from a cube in mm of 256^3 voxels (2D: 2048^2), cut to the median shape, and takes one step of the divisor
    off the axis that covers most of the median shape until the cost fits.

    Source:
        nnU-Net's rule for the patch size (Isensee et al. 2021).
    """
    per_mm = [1 / value for value in spacing]
    largest = _LARGEST_SQUARE if len(spacing) == 2 else _LARGEST_CUBE
    scale = (largest ** len(spacing) / prod(per_mm)) ** (1 / len(spacing))
    start = [min(round(value * scale), int(edge)) for value, edge in zip(per_mm, median_shape, strict=True)]
    topology = plan_topology(spacing, start, max_pools)
    while cost(topology) > limit:
        smaller = _smaller(spacing, topology, median_shape, max_pools)
        if smaller is None:
            break
        topology = smaller
    return topology


def _smaller(
    spacing: Sequence[float], topology: Topology, median_shape: Sequence[float], max_pools: int | None
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
        step = plan_topology(spacing, tried, max_pools).divisor[axis]
        tried[axis] = topology.patch_size[axis] - step
        if tried[axis] >= 1:
            return plan_topology(spacing, tried, max_pools)
    return None


def voxels(topology: Topology) -> float:
    """Voxels of the patch, the cost by which the tiny network is planned."""
    return float(prod(topology.patch_size))


def _fit(
    network: Network,
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
    topology = fit_patch(spacing, median_shape, cost, budget / batch, network.max_pools)
    values = cost(topology)
    by_data = round(largest_batch_voxels / prod(topology.patch_size))
    return PatchPlan(topology, max(min(whole(budget / values), by_data), MIN_BATCH), values)
