"""One stage or two, and the grid, patch and network of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from math import ceil, floor, prod

import numpy as np

from auto_config.errors import UserError
from auto_config.methods.base import Backbone, Method, Stage
from auto_config.methods.topology import Topology
from auto_config.methods.unets import UNETS, UNet
from auto_config.planning.patch import (
    MIN_BATCH,
    Cost,
    PatchPlan,
    coarser_for_whole,
    cost_of,
    plan_patch,
    whole_patch,
)
from auto_config.planning.stock import plan_stock_patch, stock_nnunet_plan

MOST_OF_THE_ANATOMY = 0.75
"""One stage is enough where its patch holds this share of the anatomy along each axis."""

COARSE_MARGIN = 1.1
"""The coarse patch is so much longer than the image, so that a rotated or scaled anatomy still lies inside."""

_TWO_STAGE_SHARE = 0.5
"""Both networks train in one run: each gets half of the memory."""

_FINE_EDGE = {("cpu", 3): 32, ("cpu", 2): 64, ("gpu", 3): 64, ("gpu", 2): 128}
_CROPS_CPU = 4
_CROPS_MOST = 16
_CROPS_FOR_LANDMARKS = 5
"""Landmarks for one crop of an image: fewer crops leave most landmarks without one in a step."""
_MAX_FACTOR = 64
_ALIKE = 1.5
"""Edges of a coarse voxel may differ by this factor: nearly a cube, in whole voxels of the planned grid."""


@dataclass(frozen=True)
class Anatomy:
    """The cohort on the planned grid.

    Args:
        spacing: mm of the planned grid, RAS order.
        median_shape: voxels of the median case after the background crop, on that grid.
        extent_mm: 95th percentile of the images' extents after the background crop, mm.
        landmarks: number of landmarks.
        cases: number of training cases.
    """

    spacing: tuple[float, ...]
    median_shape: tuple[int, ...]
    extent_mm: tuple[float, ...]
    landmarks: int
    cases: int


def describe(
    spacing: Sequence[float],
    spacings: Sequence[Sequence[float]],
    shapes: Sequence[Sequence[int]],
    extents_mm: Sequence[Sequence[float]],
    landmarks: int,
) -> Anatomy:
    """The cohort as the stages need it: medians and 95th percentiles over the cases.

    Args:
        spacing: mm of the planned grid.
        spacings: mm of each case, RAS order.
        shapes: voxels of each case after the background crop, RAS order.
        extents_mm: shape times spacing of each case.
        landmarks: number of landmarks.
    """
    on_grid = np.round(np.asarray(shapes, dtype=float) * np.asarray(spacings, dtype=float) / np.asarray(spacing))
    return Anatomy(
        spacing=tuple(spacing),
        median_shape=tuple(max(1, int(edge)) for edge in np.median(on_grid, axis=0)),
        extent_mm=tuple(float(edge) for edge in np.percentile(np.asarray(extents_mm, dtype=float), 95, axis=0)),
        landmarks=landmarks,
        cases=len(shapes),
    )


def plan_stages(
    network: Backbone,
    method: Method,
    anatomy: Anatomy,
    *,
    memory_gb: float | None = None,
    room_gb: float | None = None,
    wanted: int | None = None,
    why_wanted: str = "given by the user",
    patch_size: Sequence[int] | None = None,
    coarse_anatomy: Anatomy | None = None,
) -> tuple[list[Stage], str]:
    """The stages with their grids, patches, batches and networks.

    Args:
        network: from `BACKBONES`.
        method: says how many stages it has, where `wanted` does not, and what its loss costs.
        anatomy: the cohort on the planned grid.
        memory_gb: GPU memory to plan for; None for the network's own.
        room_gb: memory of the GPU, for a method whose patch is nnU-Net's; None for the network's own.
        wanted: 1 or 2 where that is settled, as by the user.
        why_wanted: the reason of `wanted`.
        patch_size: voxels, if the user says so: of the patch, or of the fine crops where there are two stages.
        coarse_anatomy: what the patch of the coarse stage must hold, where that is more than the cohort as it lies.

    Returns:
        One stage (``fine``) or two (``coarse``, ``fine``) as in ``docs/file_formats.md``, and the reason.

    Raises:
        UserError: the given patch does not fit the strides.
    """
    budget = partial(
        cost_of,
        spatial_dims=len(anatomy.spacing),
        landmarks=anatomy.landmarks,
        loss_bytes_per_voxel=method.loss_bytes_per_voxel,
        memory_gb=memory_gb,
    )
    settled = 2 if method.stages == "two" else wanted
    single = _single(network, method, anatomy, budget(network), room_gb, wanted=settled, patch_size=patch_size)
    held = [
        edge * step / whole
        for edge, step, whole in zip(single.topology.patch_size, anatomy.spacing, anatomy.extent_mm, strict=True)
    ]
    count, reason = _one_or_two(method, wanted, why_wanted, held)
    if patch_size is not None:
        reason += "; patch given by the user"
    if count == 1:
        reason += f"; {single.reason}" if single.reason else ""
        factor = [1] * len(anatomy.spacing)
        return [_stage("fine", network, anatomy.spacing, factor, single.topology, batch_size=single.batch_size)], reason
    coarse, factor = _coarse(network, coarse_anatomy or anatomy, budget(network))
    coarse_spacing = [step * times for step, times in zip(anatomy.spacing, factor, strict=True)]
    fine_network = network.fine or network
    fine = _given(anatomy.spacing, patch_size, fine_network) or _fine(fine_network, anatomy.spacing)
    crops, fits = _crops_per_image(fine_network, fine, budget(fine_network), anatomy.landmarks)
    if not fits:
        reason += (
            f"; {crops} fine crops of an image for {anatomy.landmarks} landmarks are all that memory holds; more "
            "memory (--gpu_memory_gb) or smaller crops (--patch_size) allow more"
        )
    batch_size = method.cpu_batch if network.memory_gb is None else MIN_BATCH
    return [
        _stage("coarse", network, coarse_spacing, factor, coarse, batch_size=batch_size),
        {
            **_stage("fine", fine_network, anatomy.spacing, [1] * len(factor), fine, batch_size=batch_size),
            "crops_per_image": crops,
        },
    ], reason


def jitter_mm(stages: Sequence[Stage], stride: int = 1) -> float | None:
    """Standard deviation along each axis of the points around which fine crops are cut in training; None for one stage.

    Two thirds of a coarse voxel: on the mouse skulls the coarse stage is off by a third of a voxel on average and by
    less than two at worst, which is three deviations here. Wider crops make the fine stage search more than it has to.
    Cells of several voxels point less well than voxels do: a sixth of a cell, where that is more.

    Args:
        stages: of the plan.
        stride: coarse voxels for one cell of the coarse stage's output.
    """
    if len(stages) == 1:
        return None
    spacing = stages[0]["spacing"]
    return round(prod(spacing) ** (1 / len(spacing)) * max(2 / 3, stride / 6), 4)


def _one_or_two(method: Method, wanted: int | None, why_wanted: str, held: Sequence[float]) -> tuple[int, str]:
    share = f"a single patch holds {', '.join(f'{100 * part:.0f}' for part in held)} % of the anatomy along its axes"
    if wanted is not None:
        return wanted, f"{why_wanted} ({share})"
    if method.stages == "one":
        return 1, f"method {method.name} has one stage ({share})"
    if method.stages == "two":
        return 2, f"method {method.name} has two stages ({share})"
    if min(held) >= MOST_OF_THE_ANATOMY:
        return 1, f"{share}, {100 * MOST_OF_THE_ANATOMY:.0f} % are enough for one stage"
    return 2, (
        f"{share}; below {100 * MOST_OF_THE_ANATOMY:.0f} % short schedules mix up sides and neighbours, so a coarse "
        "stage sees the whole anatomy and a fine one crops around its points"
    )


def _single(
    network: Backbone,
    method: Method,
    anatomy: Anatomy,
    cost: Cost,
    room_gb: float | None,
    *,
    wanted: int | None,
    patch_size: Sequence[int] | None,
) -> PatchPlan:
    spacing, shape = anatomy.spacing, anatomy.median_shape
    unet = UNETS.get(network.name)
    if method.stock_patch and unet is not None and unet.memory_gb is not None:
        planned = plan_stock_patch(
            unet,
            spacing,
            shape,
            landmarks=anatomy.landmarks,
            cases=anatomy.cases,
            loss_bytes_per_voxel=method.loss_bytes_per_voxel,
            memory_gb=room_gb or unet.memory_gb,
        )
    else:
        planned = plan_patch(network, spacing, shape, cost, anatomy.cases)
        if unet is not None and unet.memory_gb is not None:
            planned = replace(planned, reason=_lost_levels(unet, anatomy, planned.topology))
    if wanted == 2:
        # A given patch is that of the fine crops and must fit the fine network's strides.
        return planned
    given = _given(spacing, patch_size, network)
    if given is not None:
        return replace(planned, topology=given, batch_size=MIN_BATCH, reason="")
    if not method.whole_anatomy:
        return planned
    whole = whole_patch(network, spacing, anatomy.extent_mm, median_shape=shape, cost=cost, cases=anatomy.cases)
    if whole is None:
        coarser, _ = coarser_for_whole(network, spacing, anatomy.extent_mm, cost)
        raise UserError(
            f"--spacing {_listed(spacing)}: method {method.name} must see the whole anatomy in one patch, which does "
            f"not fit into memory on this grid; omit --spacing, or give a coarser one, such as {_listed(coarser)}"
        )
    return whole


def _lost_levels(unet: UNet, anatomy: Anatomy, ours: Topology) -> str:
    """What is to be said where memory for the landmarks costs the network a level."""
    edges, _ = stock_nnunet_plan(anatomy.median_shape, anatomy.spacing, anatomy.landmarks, anatomy.cases, unet.name)
    stock = unet.topology(anatomy.spacing, edges)
    lost = len(stock.strides) - len(ours.strides)
    if lost <= 0:
        return ""
    channels = unet.filters(len(stock.strides), len(edges))[-lost:]
    return (
        f"the losses of {anatomy.landmarks} landmarks leave memory for a patch of "
        f"{'x'.join(map(str, ours.patch_size))}, where nnU-Net's is {'x'.join(map(str, edges))}: the network has "
        f"{len(ours.strides)} levels and not {len(stock.strides)}, without the deepest of "
        f"{' and '.join(map(str, channels))} channels"
    )


def _listed(spacing: Sequence[float]) -> str:
    return ",".join(f"{step:.10g}" for step in spacing)


def _given(spacing: Sequence[float], patch_size: Sequence[int] | None, network: Backbone) -> Topology | None:
    if patch_size is None:
        return None
    topology = network.topology(spacing, patch_size)
    if topology.patch_size != tuple(patch_size):
        multiple = ",".join(map(str, topology.divisor))
        rounded = [ceil(edge / step) * step for edge, step in zip(patch_size, topology.divisor, strict=True)]
        if any(fits > edge for fits, edge in zip(topology.patch_size, rounded, strict=True)):
            least = network.topology(spacing, topology.divisor).patch_size
            raise UserError(
                f"--patch_size {','.join(map(str, patch_size))} is too small for the network; allowed are multiples of "
                f"{multiple}, from {','.join(map(str, least))} on"
            )
        raise UserError(
            f"--patch_size {','.join(map(str, patch_size))} does not fit the network's strides: it must be a multiple "
            f"of {multiple}, such as {','.join(map(str, topology.patch_size))}"
        )
    return topology


def _coarse(network: Backbone, anatomy: Anatomy, cost: Cost) -> tuple[Topology, list[int]]:
    """The finest grid of whole blocks, as isotropic as blocks allow, on which the whole anatomy fits into one patch."""
    spacing = anatomy.spacing
    # Networks for CPUs are planned by voxels, and time is not shared.
    limit = cost.limit if network.memory_gb is None else cost.limit * _TWO_STAGE_SHARE
    for factor in _block_sizes(spacing):
        grid = [edge * times for edge, times in zip(spacing, factor, strict=True)]
        wanted = [ceil(COARSE_MARGIN * whole / edge) for whole, edge in zip(anatomy.extent_mm, grid, strict=True)]
        topology = network.topology(grid, wanted)
        if cost.of(topology) <= limit:
            return topology, list(factor)
    raise UserError(
        f"images of {' x '.join(f'{edge:.0f}' for edge in anatomy.extent_mm)} mm are too large for a coarse stage with "
        f"{_MAX_FACTOR} planned voxels of {min(spacing):g} mm in a row; give a coarser --spacing or --stages 1"
    )


def _block_sizes(spacing: Sequence[float]) -> list[tuple[int, ...]]:
    """Blocks of planned voxels whose edges in mm are alike, from small to large; along thick axes they may be one."""
    blocks: dict[tuple[int, ...], float] = {}
    steps = sorted({times * edge for edge in spacing for times in range(1, _MAX_FACTOR + 1)})
    for step in steps:
        if step < 2 * min(spacing):
            continue
        choices = [{max(1, floor(step / edge)), max(1, ceil(step / edge))} for edge in spacing]
        for factor in product(*choices):
            lengths = [edge * times for edge, times in zip(spacing, factor, strict=True)]
            alike = [
                length for length, times in zip(lengths, factor, strict=True) if times > 1 or length < max(lengths)
            ]
            if max(factor) > 1 and max(alike) <= _ALIKE * min(alike):
                blocks[factor] = round(max(alike) / min(alike), 6)
    return sorted(blocks, key=lambda factor: (prod(factor), blocks[factor], factor))


def _fine(network: Backbone, spacing: Sequence[float]) -> Topology:
    """Crops of the same length in mm along each axis, so fewer voxels on thick ones."""
    edge = _FINE_EDGE["cpu" if network.memory_gb is None else "gpu", len(spacing)]
    length = edge * min(spacing)
    return network.topology(spacing, [ceil(round(length / step, 6)) for step in spacing])


def _crops_per_image(network: Backbone, fine: Topology, cost: Cost, landmarks: int) -> tuple[int, bool]:
    """As many as memory holds and are sensible, and whether these are enough for the landmarks."""
    if network.memory_gb is None:
        return _CROPS_CPU, True
    room = int(max(cost.limit * _TWO_STAGE_SHARE // cost.of(fine), 1))
    wanted = ceil(landmarks / _CROPS_FOR_LANDMARKS)
    # Sixteen are enough for what a step learns, and more for many landmarks.
    crops = min(room, max(_CROPS_MOST, wanted))
    return crops, crops >= min(wanted, _CROPS_MOST)


def _stage(
    name: str,
    network: Backbone,
    spacing: Sequence[float],
    factor: Sequence[int],
    topology: Topology,
    *,
    batch_size: int,
) -> Stage:
    return {
        "name": name,
        "spacing": [round(float(step), 6) for step in spacing],
        "factor": [int(times) for times in factor],
        "patch_size": list(topology.patch_size),
        "batch_size": int(batch_size),
        **network.describe(topology),
    }
