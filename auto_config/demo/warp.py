"""A random smooth deformation that moves an image and its points alike.

The image is pulled back through `Warp.to_template`; points go the other way by inverting that very map, so both agree
to the accuracy of the iteration, whatever the deformation is.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

from auto_config.bundle_scripts.grid.grids import apply_affine

CONTROL_SPACING_MM = 40.0
REACH_MM = 160.0
# A cubic B-spline free-form deformation is one-to-one where no control point moves farther than 1 / 2.48 of the control
# spacing (Choi and Lee, Injectivity conditions of 2D and 3D uniform cubic B-spline functions, 2000).
INJECTIVE_SHARE = 1 / 2.48


@dataclass(frozen=True)
class Warp:
    """A case as the template moved: first by a free-form deformation, then by an affine pose.

    Args:
        pose: (4, 4) affine, deformed template mm to case mm.
        control: (3, n, n, n) displacements in mm of the control points of uniform cubic B-splines, from `-REACH_MM` to
            `REACH_MM` of the template's world in steps of `CONTROL_SPACING_MM`.
    """

    pose: np.ndarray
    control: np.ndarray

    def to_template(self, world: np.ndarray) -> np.ndarray:
        """Case mm (N, 3) to template mm (N, 3)."""
        posed = apply_affine(np.linalg.inv(self.pose), world)
        return posed + self._displacement(posed)

    def from_template(self, points: np.ndarray, tolerance_mm: float = 1e-6) -> np.ndarray:
        """Template mm (N, 3) to case mm (N, 3): the inverse of `to_template`, by fixed-point iteration.

        Raises:
            RuntimeError: The iteration does not converge; the deformation is too strong.
        """
        posed = np.array(points, dtype=np.float64)
        for _ in range(200):
            nearer = points - self._displacement(posed)
            change = float(np.abs(nearer - posed).max(initial=0.0))
            posed = nearer
            if change < tolerance_mm:
                return apply_affine(self.pose, posed)
        raise RuntimeError(f"a warp is not inverted after 200 steps, the last one of {change:.2g} mm")

    def _displacement(self, points: np.ndarray) -> np.ndarray:
        """Displacement in mm (N, 3) at points (N, 3) of the template's world."""
        knots = (points.T + REACH_MM) / CONTROL_SPACING_MM
        # Without the prefilter the array's values are the B-spline coefficients themselves.
        moved = [map_coordinates(axis, knots, order=3, mode="nearest", prefilter=False) for axis in self.control]
        return np.stack(moved, axis=-1)


def random_warp(
    random: np.random.Generator,
    *,
    control_sd_mm: float = 9.0,
    rotation_sd_deg: float = 7.0,
    scale_sd: float = 0.05,
    shift_sd_mm: float = 10.0,
) -> Warp:
    """Draw a warp: a head of another shape and size, lying otherwise in the scanner.

    Args:
        random: Source of the numbers.
        control_sd_mm: Standard deviation of each coordinate of the control points; points move by about a third of it.
        rotation_sd_deg: Of the head about each axis.
        scale_sd: Of the size along each axis, about 1.
        shift_sd_mm: Of the head along each axis.
    """
    knots = round(2 * REACH_MM / CONTROL_SPACING_MM) + 1
    farthest = INJECTIVE_SHARE * CONTROL_SPACING_MM
    control = np.clip(random.normal(0, control_sd_mm, (3, knots, knots, knots)), -farthest, farthest)
    rotation = Rotation.from_euler("xyz", random.normal(0, rotation_sd_deg, 3), degrees=True).as_matrix()
    pose = np.eye(4)
    pose[:3, :3] = rotation @ np.diag(random.normal(1, scale_sd, 3))
    pose[:3, 3] = random.normal(0, shift_sd_mm, 3)
    return Warp(pose, control)
