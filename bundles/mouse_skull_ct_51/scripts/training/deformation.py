"""Smooth random deformation of patches, by cubic B-splines over control points, with points that follow exactly.

A patch is sampled at ``p + u(p)``, with p its voxels and u the displacement; a point that the undeformed patch shows at
q is therefore shown where ``p + u(p) = q``. The displacement is so small against the distance of its control points
that this has one solution, which a fixed-point iteration finds.

Source: Rueckert et al., Nonrigid registration using free-form deformations (1999), for the splines; the iteration is
that of Chen et al., A simple fixed-point approach to invert a deformation field (2008).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import BSpline

from ..grid.grids import world_to_voxel

MOST_AMPLITUDE = 0.125
"""Largest move of a control point, in distances between them. The derivative of a cubic B-spline is a mean of the
differences between neighbouring control points, so the displacement's Lipschitz constant (maximum norm, D axes) is at
most ``2 D`` times this: 0.75 in 3D. Below 1 the deformation is one to one and the iteration converges."""

_DEGREE = 3
_MOST_STEPS = 200


@dataclass(frozen=True)
class Deformation:
    """A displacement of D axes within a patch, constant beyond it.

    Args:
        control: ``(D, *knots)`` displacements of the control points in voxels of the patch.
        step: ``(D,)`` voxels of the patch from one control point to the next.
        phase: ``(D,)`` place of voxel 0 between two control points, from 0 to 1.
    """

    control: np.ndarray
    step: np.ndarray
    phase: np.ndarray

    def on_grid(self, size: Sequence[int]) -> np.ndarray:
        """Displacement ``(*size, D)`` in voxels at every voxel of the patch, float32."""
        field = self.control.astype(np.float32)
        for axis, count in enumerate(size):
            weights = self._weights(np.arange(count, dtype=float), axis).astype(np.float32)
            # The axis that is worked on is always the first one behind the components, and comes out as the last.
            field = np.tensordot(field, weights, axes=([1], [1]))
        return np.moveaxis(field, 0, -1)

    def displacement(self, points: np.ndarray) -> np.ndarray:
        """Displacement ``(N, D)`` in voxels at points ``(N, D)`` in voxels of the patch, anywhere."""
        axes = "ijk"[: points.shape[1]]
        weights = [self._weights(points[:, axis], axis) for axis in range(points.shape[1])]
        return np.einsum(f"{','.join('p' + axis for axis in axes)},d{axes}->pd", *weights, self.control, optimize=True)

    def inverse(self, points: np.ndarray, tolerance: float = 1e-5) -> np.ndarray:
        """Where the deformed patch shows what the undeformed one shows at some points.

        Args:
            points: ``(N, D)`` voxels of the undeformed patch; rows with NaN stay NaN.
            tolerance: voxels of the last step of the iteration; the error is at most three times that.

        Raises:
            RuntimeError: The iteration does not converge, as with displacements above `MOST_AMPLITUDE`.
        """
        out = np.array(points, dtype=np.float64)
        known = np.isfinite(out).all(axis=1)
        wanted = out[known]
        if not len(wanted):
            return out
        found = wanted.copy()
        for _ in range(_MOST_STEPS):
            nearer = wanted - self.displacement(found)
            change = float(np.abs(nearer - found).max())
            found = nearer
            if change < tolerance:
                out[known] = found
                return out
        raise RuntimeError(
            f"a deformation is not inverted after {_MOST_STEPS} steps, the last one of {change:.2g} voxels"
        )

    def _weights(self, coordinates: np.ndarray, axis: int) -> np.ndarray:
        """``(N, knots)`` weight of each control point of an axis at coordinates in voxels, clamped to the lattice."""
        knots = self.control.shape[axis + 1]
        place = np.clip(coordinates / self.step[axis] + self.phase[axis] + 1.0, 1.0, knots - 2.0)
        return BSpline.design_matrix(place, np.arange(knots + 4) - 2.0, _DEGREE).toarray()


def random_deformation(
    rng: np.random.Generator, size: Sequence[int], spacing: np.ndarray, *, amplitude: float, control_mm: float
) -> Deformation:
    """Draw a deformation of a patch.

    Every patch has a strength of its own, uniform up to `amplitude`.

    Args:
        rng: Source of randomness.
        size: Patch shape in voxels.
        spacing: ``(D,)`` mm of a voxel of the patch.
        amplitude: Largest move of a control point along an axis, in distances between control points.
        control_mm: Distance between control points in mm, the same along all axes.
    """
    step = control_mm / np.asarray(spacing, dtype=float)
    phase = rng.uniform(size=len(step))
    knots = [
        int(np.floor((count - 1) / each + shift)) + 4 for count, each, shift in zip(size, step, phase, strict=True)
    ]
    strength = amplitude * rng.uniform()
    moves = rng.uniform(-strength, strength, size=(len(step), *knots))
    return Deformation(moves * step.reshape(-1, *[1] * len(step)), step, phase)


def draw_deformation(
    rule: tuple[float, float, float], rng: np.random.Generator, size: Sequence[int], spacing: np.ndarray
) -> Deformation | None:
    """A random deformation of a patch, or None for this one.

    Args:
        rule: share of the patches that are deformed, amplitude, mm between control points; see `random_deformation`.
        rng: source of randomness, of deformations alone, so that these do not shift the other draws.
        size: patch shape in voxels.
        spacing: ``(D,)`` mm of the image's voxels, those of a patch before its zoom.

    Raises:
        ValueError: an amplitude above `MOST_AMPLITUDE`, or no distance between control points.
    """
    share, amplitude, control_mm = rule
    if rng.uniform() >= share:
        return None
    if not (0 <= amplitude <= MOST_AMPLITUDE and control_mm > 0):
        raise ValueError(
            f"deformation is {list(rule)}; its amplitude is from 0 to {MOST_AMPLITUDE}, its distance between control "
            "points above 0 mm"
        )
    return random_deformation(rng, size, spacing, amplitude=amplitude, control_mm=control_mm)


def in_patch(affine: np.ndarray, points: np.ndarray, bend: Deformation | None) -> np.ndarray:
    """Where a patch shows points of the image.

    Args:
        affine: ``(D+1, D+1)`` map from patch voxels to image voxels.
        points: ``(L, D)`` voxels of the image; rows with NaN stay NaN.
        bend: the deformation of the patch, before the affine; None for none.

    Returns:
        ``(L, D)`` voxels of the patch.
    """
    local = world_to_voxel(affine, points)
    return local if bend is None else bend.inverse(local)
