"""Depth, strides and kernel sizes of a U-Net as arithmetic on patch size and spacing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

MIN_EDGE = 4
"""No feature map gets smaller than this along a pooled axis (voxels)."""

_NEAR = 2
"""Axes count as equally fine when their spacings differ by less than this factor."""


@dataclass(frozen=True)
class Topology:
    """A U-Net's shape.

    Args:
        patch_size: voxels along each axis, every axis a multiple of `divisor`.
        strides: of each level; the first level has stride 1.
        kernel_sizes: of each level; 1 along axes that are still much thicker than the finest one.
        divisor: product of the strides along each axis.
    """

    patch_size: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]
    kernel_sizes: tuple[tuple[int, ...], ...]
    divisor: tuple[int, ...]

    def level_sizes(self) -> list[int]:
        """Voxels of each level's feature map."""
        edges = list(self.patch_size)
        sizes = []
        for stride in self.strides:
            edges = [edge // step for edge, step in zip(edges, stride, strict=True)]
            sizes.append(prod(edges))
        return sizes


def plan_topology(spacing: Sequence[float], patch_size: Sequence[int], max_pools: int | None = None) -> Topology:
    """Pool every axis as long as its feature map has at least 8 voxels, thick axes later than fine ones.

    Args:
        spacing: mm along each axis of the grid on which the patch lies.
        patch_size: wished patch in voxels; it is rounded up to a multiple of the strides.
        max_pools: at most this many poolings along each axis.

    Source:
        The published rules of nnU-Net (Isensee et al. 2021, "network topology"): an axis is pooled while it holds at
        least twice `MIN_EDGE` voxels and its spacing is within a factor of two of the finest axis that can be pooled; a
        single axis left over needs three times `MIN_EDGE`; kernels are 1 along an axis until its spacing is within a
        factor of two of the finest, the bottleneck always has 3.
    """
    axes = range(len(spacing))
    size = [int(edge) for edge in patch_size]
    current = [float(value) for value in spacing]
    pools = [0 for _ in axes]
    kernel = [1 for _ in axes]
    strides = [tuple(1 for _ in axes)]
    kernels: list[tuple[int, ...]] = []
    while True:
        pooled = _axes_to_pool(size, current)
        if max_pools is not None:
            pooled = [axis for axis in pooled if pools[axis] < max_pools]
        if not pooled or (len(pooled) == 1 and size[pooled[0]] < 3 * MIN_EDGE):
            break
        kernel = [3 if current[axis] / min(current) < _NEAR else kernel[axis] for axis in axes]
        kernels.append(tuple(kernel))
        strides.append(tuple(2 if axis in pooled else 1 for axis in axes))
        for axis in pooled:
            pools[axis] += 1
            current[axis] *= 2
            size[axis] = -(-size[axis] // 2)
    kernels.append(tuple(3 for _ in axes))
    divisor = tuple(2**count for count in pools)
    return Topology(
        patch_size=tuple(round_up(edge, step) for edge, step in zip(patch_size, divisor, strict=True)),
        strides=tuple(strides),
        kernel_sizes=tuple(kernels),
        divisor=divisor,
    )


def round_up(edge: float, step: int) -> int:
    """The smallest positive multiple of `step` that is not below `edge`."""
    return max(1, int(-(-edge // step))) * step


def _axes_to_pool(size: Sequence[int], spacing: Sequence[float]) -> list[int]:
    large = [axis for axis, edge in enumerate(size) if edge >= 2 * MIN_EDGE]
    if not large:
        return []
    finest = min(spacing[axis] for axis in large)
    return [axis for axis in large if spacing[axis] / finest < _NEAR]
