"""Patch and batch as nnU-Net 2.6, and so the published nnLandmark, plans them, where the GPU has room for a step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import inf, prod

from auto_config.methods.topology import Topology
from auto_config.methods.unets import UNETS, UNet
from auto_config.planning.patch import MIN_BATCH, PatchPlan, fit_patch


def step_gb(unet: UNet, topology: Topology, landmarks: int, loss_bytes_per_voxel: float) -> float:
    """GPU memory that a step takes for each patch, in GB of 1e9 bytes.

    nnU-Net's numbers say how many values of feature maps fill the memory that a network is made for, so each value has
    a share in all that a step holds; what a landmark loss holds comes on top.

    Args:
        unet: of `UNETS`, with a memory.
        topology: with the patch in voxels.
        landmarks: number of landmarks.
        loss_bytes_per_voxel: of the method, for each voxel and landmark.
    """
    memory_gb = unet.memory_gb or 0.0
    loss = loss_bytes_per_voxel * landmarks * prod(topology.patch_size) / 1e9
    return unet.values(topology, landmarks) * memory_gb / unet.budget(len(topology.patch_size)) + loss


def plan_stock_patch(
    unet: UNet,
    spacing: Sequence[float],
    median_shape: Sequence[float],
    *,
    landmarks: int,
    cases: int,
    loss_bytes_per_voxel: float,
    memory_gb: float,
) -> PatchPlan:
    """nnU-Net's plan, or where two patches of it do not fit, the first on its way to smaller ones of which two do.

    Args:
        unet: of `UNETS`, with a memory.
        spacing: mm, of the planned grid.
        median_shape: voxels of the median case on that grid.
        landmarks: number of landmarks.
        cases: number of training cases.
        loss_bytes_per_voxel: of the method, for each voxel and landmark.
        memory_gb: of the GPU.
    """

    def plan(room_gb: float) -> PatchPlan:
        return _plan(
            unet,
            spacing,
            median_shape,
            landmarks=landmarks,
            cases=cases,
            loss_bytes_per_voxel=loss_bytes_per_voxel,
            room_gb=room_gb,
        )

    found, stock = plan(memory_gb), plan(inf)
    needed = stock.batch_size * step_gb(unet, stock.topology, landmarks, loss_bytes_per_voxel)
    if (found.topology, found.batch_size) == (stock.topology, stock.batch_size):
        size = f"{needed:.1f} GB" if needed >= 0.05 else "less than 0.1 GB"
        return replace(found, reason=f"patch and batch are those of nnU-Net, for {size} of GPU memory")
    edges = "x".join(map(str, stock.topology.patch_size))
    return replace(
        found,
        reason=f"{memory_gb:g} GB of GPU memory are less than the {needed:.1f} GB of nnU-Net's patch {edges} and batch "
        f"{stock.batch_size}, so they are smaller; --gpu_memory_gb says what there is",
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
    plan = _plan(
        UNETS[network], spacing, shape, landmarks=landmarks, cases=cases, loss_bytes_per_voxel=0.0, room_gb=inf
    )
    return plan.topology.patch_size, plan.batch_size


def _plan(
    unet: UNet,
    spacing: Sequence[float],
    median_shape: Sequence[float],
    *,
    landmarks: int,
    cases: int,
    loss_bytes_per_voxel: float,
    room_gb: float,
) -> PatchPlan:
    dims = len(spacing)
    budget, batch = unet.budget(dims), unet.stock_batch_2d if dims == 2 else unet.batch_3d

    def values(topology: Topology) -> float:
        return unet.values(topology, landmarks + 1)

    def gigabytes(topology: Topology) -> float:
        return step_gb(unet, topology, landmarks, loss_bytes_per_voxel)

    def cost(topology: Topology) -> float:
        """Of nnU-Net's count and of ours the one that leaves less room."""
        return max(values(topology), MIN_BATCH * gigabytes(topology) / room_gb * budget / batch)

    topology = fit_patch(spacing, median_shape, cost, budget / batch, unet.topology)
    by_data = round(cases * prod(median_shape) * unet.stock_dataset_share / prod(topology.patch_size))
    by_memory = room_gb / gigabytes(topology)
    size = int(min(round(budget / values(topology)), by_data, by_memory))
    return PatchPlan(topology, max(size, MIN_BATCH), values(topology))
