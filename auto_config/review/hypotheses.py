"""What may have happened to all points of a case, and the points as they were before it. Pure functions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.optimize import linear_sum_assignment

from auto_config.bundle_scripts.grid.grids import apply_affine
from auto_config.bundle_scripts.points.procrustes import similarity

_UNITS = {"cm": 10.0, "m": 1000.0, "inch": 25.4, "µm": 0.001}
_ASSIGNMENTS = 30


@dataclass(frozen=True)
class Repaired:
    """The points (L, D) of a case as they were if ``kind`` happened to it, world mm."""

    kind: str
    detail: str
    points: np.ndarray


def hypotheses(
    labels: np.ndarray,
    expected: np.ndarray,
    affine: np.ndarray | None,
    shape: Sequence[int] | None,
    pairs: Sequence[tuple[int, int]],
) -> Iterator[Repaired]:
    """Every repair that is tried.

    Args:
        labels: (L, D) world mm, NaN where not present.
        expected: (L, D) where they are expected, world mm, NaN where unknown.
        affine: Voxel to world of the image, None where not known.
        shape: Voxels of the image, None where not known.
        pairs: Landmarks that a mirror exchanges.
    """
    yield from _units(labels, affine)
    center = None if affine is None or shape is None else apply_affine(affine, (np.array(shape) - 1.0)[None] / 2)[0]
    yield from _frames(labels, expected, center)
    if pairs:
        turned = labels.copy()
        left, right = np.array(pairs).T
        turned[left], turned[right] = labels[right], labels[left]
        yield Repaired("left_right", "all left-right pairs are exchanged", turned)
    order = assigned_order(labels, expected)
    if order is not None:
        yield Repaired("order", "the same points fit in another order", labels[order])


def _units(labels: np.ndarray, affine: np.ndarray | None) -> Iterator[Repaired]:
    """The points times a factor, and taken as voxels of the image."""
    for unit, factor in _UNITS.items():
        yield Repaired("unit", f"as if given in {unit}", labels * factor)
    if affine is not None:
        yield Repaired("unit", "as if given in voxels of the image", apply_affine(affine, labels))


def _frames(labels: np.ndarray, expected: np.ndarray, center: np.ndarray | None) -> Iterator[Repaired]:
    """Signs and order of the axes, about the origin and the middle of the image, and a shift of all points."""
    dims = labels.shape[1]
    origins = [("", np.zeros(dims))] + ([] if center is None else [(" about the middle of the image", center)])
    for signs in product((1.0, -1.0), repeat=dims):
        axes = [axis for axis, sign in zip("xyz", signs, strict=False) if sign < 0]
        if not axes:
            continue
        said = " and ".join([", ".join(axes[:-1]), axes[-1]] if len(axes) > 1 else axes)
        # A picture whose y axis points up is the usual other frame; x turned round is its mirror image.
        kind = "mirrored" if np.prod(signs) < 0 and (dims == 3 or axes == ["x"]) else "frame"
        detail = f"the sign of {said} is turned"
        if dims == 3 and axes == ["x", "y"]:
            detail += ", as between RAS and LPS"
        for where, origin in origins:
            yield Repaired(kind, detail + where, (labels - origin) * signs + origin)
        moved = labels * signs
        if kind == "mirrored" and (shift := _shift(moved, expected)) is not None:
            yield Repaired(kind, f"{detail} about the points' own middle", moved + shift)
    yield Repaired("frame", "the axes are in the reverse order", labels[:, ::-1])
    if (shift := _shift(labels, expected)) is not None:
        text = ", ".join(f"{value:.3g}" for value in -shift)
        yield Repaired("frame", f"all points are moved by ({text})", labels + shift)


def _shift(points: np.ndarray, expected: np.ndarray) -> np.ndarray | None:
    """The median of what is missing to the expected points."""
    missing = expected - points
    known = np.isfinite(missing).all(-1)
    return np.asarray(np.median(missing[known], axis=0)) if known.any() else None


def assigned_order(labels: np.ndarray, expected: np.ndarray) -> np.ndarray | None:
    """The order of the labels in which they fit the expected points best, (L,) indices; None where it is theirs.

    The expected points are laid on the labels by a rigid fit of the points assigned to each other, again and again
    (iterated closest points, Besl and McKay 1992, with a one-to-one assignment).
    """
    known = np.flatnonzero(np.isfinite(labels).all(-1) & np.isfinite(expected).all(-1))
    if len(known) <= labels.shape[1]:
        return None
    own, target = labels[known], expected[known]
    moved = target
    order = np.arange(len(known))
    for turn in range(_ASSIGNMENTS):
        cost = np.linalg.norm(moved[:, None] - own[None], axis=-1)
        new = linear_sum_assignment(cost)[1]
        if turn and np.array_equal(new, order):
            break
        order = new
        matrix = similarity(target, own[order], np.ones(len(known)))
        moved = apply_affine(matrix, target)
    if np.array_equal(order, np.arange(len(known))):
        return None
    out = np.arange(len(labels))
    out[known] = known[order]
    return out
