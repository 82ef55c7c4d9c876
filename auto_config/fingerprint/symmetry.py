"""Left-right pairs of landmarks, from their names or from the mirror symmetry of their mean shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from auto_config.bundle_scripts.points.procrustes import procrustes
from auto_config.datasets.model.names import left_right_pairs

MIN_CASES = 3
MIN_LANDMARKS = 6
MIN_PAIRS = 3

SHARE_OF_NEXT = 0.6
"""A mirrored landmark may be this far from its partner, as a share of its distance to any other landmark."""

OFF_MIDLINE = 0.15
"""A landmark without a partner is on the midline up to this distance from the pairs' plane, over the shape's size."""

SPREADS = 1.5
"""Mirrored landmarks may be this many spreads over the cases (root mean squares) away from their partners."""

SHARE_OF_SIZE = 0.02
"""... or this share of the size of the shape, where the cases hardly vary."""

CLEARER = 2.0
"""Another mirror plane must fit this many times worse."""

_LARGEST_TILT = np.deg2rad(40)
_TILTS = (-0.5, -0.25, 0.0, 0.25, 0.5)
_ROUNDS = 50


@dataclass(frozen=True)
class Symmetry:
    """What is known of left and right.

    Args:
        pairs: indices of landmarks that change places in a mirror, the smaller index first.
        midline: indices of landmarks that a mirror maps onto themselves.
        source: ``"declared"``, ``"names"``, ``"geometry"`` or ``"none"``.
        residual_mm: root mean square distance of the mirrored mean shape from itself; None where it was not measured.
        spread_mm: root mean square spread of the landmarks over the aligned cases; None where it was not measured.
        reason: one sentence.
    """

    pairs: tuple[tuple[int, int], ...]
    midline: tuple[int, ...]
    source: str
    residual_mm: float | None
    spread_mm: float | None
    reason: str


def find_symmetry(
    names: Sequence[str],
    points: np.ndarray,
    declared: Sequence[tuple[str, str]] | None = None,
    *,
    any_axis: bool = False,
) -> Symmetry:
    """Pairs as they are declared, else from names if names tell sides, else from geometry.

    Args:
        names: landmark names.
        points: ``(N, L, D)`` RAS mm, NaN where a landmark is not present.
        any_axis: the cases lie in any pose, so left and right may lie along any axis of the mean shape.
        declared: pairs of names; None where nothing is declared, and empty where there are no sides.
    """
    if declared is not None:
        pairs = sorted((min(pair), max(pair)) for pair in (tuple(map(list(names).index, two)) for two in declared))
        if not pairs:
            return Symmetry((), (), "declared", None, None, "no left-right pairs, as declared with the data")
    else:
        pairs = [(min(pair), max(pair)) for pair in left_right_pairs(names)]
    if not pairs:
        return symmetry_from_geometry(points, any_axis=any_axis)
    rest = sorted(set(range(len(names))) - {number for pair in pairs for number in pair})
    midline = _on_midline(points, pairs, rest)
    source = "names" if declared is None else "declared"
    how = "by names" if declared is None else "as declared with the data"
    nouns = "pair" if len(pairs) == 1 else "pairs", "landmark" if len(midline) == 1 else "landmarks"
    reason = f"{len(pairs)} {nouns[0]} {how}, {len(midline)} other {nouns[1]} on the midline between them"
    off = [names[number] for number in rest if number not in midline]
    if off:
        reason += f"; {len(off)} lie off it, such as {off[0]!r}"
    return Symmetry(tuple(sorted(pairs)), tuple(midline), source, None, None, reason)


def symmetry_from_geometry(points: np.ndarray, *, any_axis: bool = False) -> Symmetry:
    """Pairs from the mirror plane of the mean shape.

    The cases are aligned (generalised Procrustes). From many starting planes near x = 0 and from the shape's own axes:
    mirror the mean shape, assign mirrored to true landmarks one to one at the least cost, take the best plane for this
    assignment, and repeat until it stays. The best plane is believed if its assignment is its own inverse, each
    landmark is clearly closer to its partner than to any other, the rest is within the spread over the cases, and no
    other plane fits nearly as well.

    Args:
        points: ``(N, L, D)`` RAS mm, NaN where a landmark is not present.
        any_axis: believe a plane that is far from left-right, too.

    Returns:
        Pairs that hold for all landmarks, or none: half a table cannot be trained with.

    Source:
        Iterated closest points (Besl and McKay 1992) with optimal assignment (Kuhn 1955); object symmetry of a labelled
        configuration as in Klingenberg et al. 2002.
    """
    if points.shape[0] < MIN_CASES or points.shape[1] < MIN_LANDMARKS:
        return _none(f"fewer than {MIN_CASES} cases or {MIN_LANDMARKS} landmarks tell nothing about symmetry")
    mean, spreads, _ = procrustes(points)
    if not (np.isfinite(mean).all() and np.isfinite(spreads).all()):
        return _none("some landmarks are present in fewer than two cases, so the symmetry of the shape is not known")
    centred = mean - mean.mean(axis=0)
    fits = sorted((_settle(centred, start) for start in _starts(centred)), key=lambda fit: fit.residual)
    spread = float(np.sqrt(np.mean(spreads**2)))
    best = next((fit for fit in fits if any_axis or abs(fit.normal[0]) >= np.cos(_LARGEST_TILT)), None)
    if best is None:
        return _none("no mirror plane near the left-right axis fits the mean shape", spread=spread)
    other = next((fit for fit in fits if (fit.partner != best.partner).any()), None)
    doubt = _doubt(centred, best, spread, other)
    residual, partner = best.residual, best.partner
    if doubt is not None:
        return _none(doubt, residual, spread)
    pairs = tuple((i, int(j)) for i, j in enumerate(partner) if i < j)
    midline = tuple(i for i, j in enumerate(partner) if i == j)
    reason = (
        f"names tell no sides; the mean shape of {len(points)} cases equals its mirror image within {residual:.3g} mm "
        f"(spread over cases {spread:.3g} mm): {len(pairs)} pairs, {len(midline)} on the midline"
    )
    return Symmetry(pairs, midline, "geometry", residual, spread, reason)


def _on_midline(points: np.ndarray, pairs: Sequence[tuple[int, int]], rest: Sequence[int]) -> list[int]:
    """Those of the other landmarks that lie near the plane between the pairs; all where no case tells."""
    distances = [found for found in (_from_plane(case, pairs) for case in points) if found is not None]
    if not distances:
        return list(rest)
    seen = [[row[number] for row in distances if np.isfinite(row[number])] for number in rest]
    return [number for number, rows in zip(rest, seen, strict=True) if not rows or np.median(rows) <= OFF_MIDLINE]


def _from_plane(case: np.ndarray, pairs: Sequence[tuple[int, int]]) -> np.ndarray | None:
    """``(L,)`` distance from the plane between the pairs over the size of the shape; None where no pair is present."""
    present = np.isfinite(case[:, 0])
    known = np.array([pair for pair in pairs if present[list(pair)].all()])
    if len(known) == 0:
        return None
    across = case[known[:, 1]] - case[known[:, 0]]
    across *= np.sign(across @ across[0])[:, None]
    normal = across.sum(axis=0)
    length = np.linalg.norm(normal)
    if length == 0:
        return None
    middle = (case[known[:, 0]] + case[known[:, 1]]).mean(axis=0) / 2
    size = np.linalg.norm(np.ptp(case[present], axis=0))
    distance: np.ndarray = np.abs((case - middle) @ normal) / (length * size)
    return distance


def _none(reason: str, residual: float | None = None, spread: float | None = None) -> Symmetry:
    return Symmetry((), (), "none", residual, spread, f"names tell no sides, and {reason}")


def _starts(centred: np.ndarray) -> list[np.ndarray]:
    """Unit normals of planes to start from: around the x axis, and the principal axes of the shape."""
    dims = centred.shape[1]
    normals = [np.array([1.0, *tilt]) for tilt in product(_TILTS, repeat=dims - 1)]
    normals += list(np.linalg.svd(centred, full_matrices=False)[2])
    return [normal / np.linalg.norm(normal) for normal in normals]


def _distances(centred: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """``(L, L)`` mm from each mirrored landmark to each landmark."""
    mirrored = centred - 2 * np.outer(centred @ normal, normal)
    return np.linalg.norm(mirrored[:, None] - centred[None], axis=-1)


class _Fit(NamedTuple):
    """A mirror plane through the centre: what it leaves (mm), its unit normal, and each landmark's partner."""

    residual: float
    normal: np.ndarray
    partner: np.ndarray


def _settle(centred: np.ndarray, normal: np.ndarray) -> _Fit:
    """The plane at which assignment and plane no longer change."""
    partner = np.full(len(centred), -1)
    for _ in range(_ROUNDS):
        found = linear_sum_assignment(_distances(centred, normal) ** 2)[1]
        if (found == partner).all():
            break
        partner = found
        # The plane through the centre that minimises the squared distances to the partners: smallest eigenvector.
        products = centred.T @ centred[partner]
        normal = np.linalg.eigh(products + products.T)[1][:, 0]
    distance = _distances(centred, normal)[np.arange(len(centred)), partner]
    return _Fit(float(np.sqrt(np.mean(distance**2))), normal, partner)


def _doubt(centred: np.ndarray, fit: _Fit, spread: float, other: _Fit | None) -> str | None:
    """Why the plane is not believed; None if it is."""
    partner, residual = fit.partner, fit.residual
    everyone = np.arange(len(centred))
    if (partner[partner] != everyone).any():
        return "the best mirror image of the mean shape makes no pairs"
    if (partner != everyone).sum() < 2 * MIN_PAIRS:
        return f"the best mirror image of the mean shape makes fewer than {MIN_PAIRS} pairs"
    if residual > max(SPREADS * spread, SHARE_OF_SIZE * np.sqrt(np.mean(np.sum(centred**2, axis=1)))):
        return (
            f"the mean shape differs from its mirror image by {residual:.3g} mm, more than cases do ({spread:.3g} mm)"
        )
    distances = _distances(centred, fit.normal)
    own = distances[everyone, partner]
    distances[everyone, partner] = np.inf
    unclear = own > SHARE_OF_NEXT * distances.min(axis=1)
    if unclear.any():
        return f"{int(unclear.sum())} landmarks of the mirrored mean shape lie between two landmarks"
    if other is not None and other.residual < CLEARER * residual:
        return "several mirror planes fit the mean shape about as well"
    return None
