"""How a case lies: rotations of point sets against a mean shape, proper ones only, by numpy alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import permutations, product

import numpy as np

from ..procrustes import similarity, size_of

_STARTS = 200
"""Random groups of points that a robust fit starts from: of 45 points with 40 % right ones, some group is right."""

_FLAT = 1e-3
"""Points whose second axis is shorter than this share of the first lie on a line: any turn about it fits."""


@dataclass(frozen=True)
class Fit:
    """A mean shape on the points of a case.

    Args:
        matrix: ``(D+1, D+1)`` similarity from the mean shape to the points, mm, never a reflection.
        distance: ``(L,)`` mm of each point from the fitted shape; NaN where one of the two is not known.
    """

    matrix: np.ndarray
    distance: np.ndarray

    @property
    def rotation(self) -> np.ndarray:
        """``(D, D)`` rotation from the frame of the mean shape to that of the points."""
        return proper(self.matrix[:-1, :-1])


def proper(matrix: np.ndarray) -> np.ndarray:
    """The rotation ``(D, D)`` nearest to a matrix (Kabsch, 1976); its determinant is 1."""
    u, _, vt = np.linalg.svd(matrix)
    sign = np.ones(len(matrix))
    sign[-1] = np.sign(np.linalg.det(u @ vt)) or 1.0
    out: np.ndarray = (u * sign) @ vt
    return out


def angle_deg(rotation: np.ndarray) -> float:
    """Angle of a rotation ``(D, D)`` in degrees, from 0 to 180."""
    dims = len(rotation)
    cosine = np.trace(rotation) / 2 if dims == 2 else (np.trace(rotation) - 1) / 2
    # The sine is exact where the cosine is flat.
    sine = np.linalg.norm(rotation - rotation.T) / np.sqrt(8)
    return float(np.degrees(np.arctan2(sine, cosine)))


def mean_rotation(rotations: Iterable[np.ndarray]) -> np.ndarray:
    """The rotation nearest to all of them in the sum of squares (chordal mean; Moakher, 2002)."""
    return proper(np.sum(list(rotations), axis=0))


def plane_rotation(angle: float) -> np.ndarray:
    """The rotation ``(2, 2)`` by an angle in radians, from the first axis to the second."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s], [s, c]])


def random_rotation(rng: np.random.Generator, dims: int) -> np.ndarray:
    """A rotation ``(D, D)``, uniform over all of them: in 3D from a normal quaternion (Shoemake, 1992)."""
    if dims == 2:
        return plane_rotation(rng.uniform(-np.pi, np.pi))
    quaternion = rng.normal(size=4)
    w, x, y, z = quaternion / np.linalg.norm(quaternion)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def quarter_turns(dims: int) -> list[np.ndarray]:
    """Every rotation that puts axes on axes, the identity first and then by angle: 24 in 3D.

    In 2D eight turns of 45 degrees, because four are quickly tried and leave more between them.
    """
    if dims == 2:
        return [plane_rotation(np.deg2rad(45 * step)) for step in (0, 1, -1, 2, -2, 3, -3, 4)]
    every = [np.eye(3)[list(p)] * s for p in permutations(range(3)) for s in product((1.0, -1.0), repeat=3)]
    return sorted((one for one in every if np.linalg.det(one) > 0), key=lambda one: round(angle_deg(one), 6))


def tells_pose(points: np.ndarray) -> bool:
    """Whether points ``(N, D)`` have one pose: two in 2D, three that are not on a line in 3D."""
    dims = points.shape[1]
    if len(points) < dims:
        return False
    sizes = np.linalg.svd(points - points.mean(0), compute_uv=False)
    return bool(sizes[dims - 2] > _FLAT * max(float(sizes[0]), 1e-12)) and float(sizes[0]) > 0


def fit_pose(mean: np.ndarray, points: np.ndarray, scale: float) -> Fit | None:
    """Put a mean shape on the points of a case, most of which may be wrong.

    Similarities of random groups of points (always the same groups; Fischler and Bolles, 1981) are judged by how many
    points lie within three `scale`; the best one is refined with the weights of Geman and McClure (1985).

    Args:
        mean: ``(L, D)`` mm, NaN for landmarks that nobody knows.
        points: ``(L, D)`` mm in any right-handed frame, NaN for landmarks that are not to be looked at.
        scale: mm that a right point lies from the shape.

    Returns:
        The fit; None where the landmarks that both know do not tell how the case lies.
    """
    known = np.isfinite(mean).all(1) & np.isfinite(points).all(1)
    source, target = mean[known], points[known]
    if not (tells_pose(source) and tells_pose(target)):
        return None
    starts = [np.ones(len(source))]
    if len(source) > source.shape[1] + 1:
        rng = np.random.default_rng(0)
        for _ in range(_STARTS):
            weight = np.zeros(len(source))
            weight[rng.choice(len(source), source.shape[1] + 1, replace=False)] = 1.0
            starts.append(weight)
    size = size_of(target) / size_of(source)
    matrices = similarity(source, target, np.stack(starts))
    zoom = np.abs(np.linalg.det(matrices[:, :-1, :-1])) ** (1 / source.shape[1])
    likely = (0.5 * size < zoom) & (zoom < 2 * size)
    near = (1 / (1 + (_residual(matrices, source, target) / (3 * scale)) ** 2)).sum(-1)
    # Where none is likely, the first: the fit of all points.
    matrix = matrices[int(np.where(likely, near, -np.inf).argmax())]
    for width in np.geomspace(3 * scale, scale, 6).tolist() + [scale] * 8:
        weight = 1.0 / (1.0 + (_residual(matrix, source, target) / width) ** 2) ** 2
        matrix = similarity(source, target, weight)
    return Fit(matrix, np.linalg.norm(mean @ matrix[:-1, :-1].T + matrix[:-1, -1] - points, axis=1))


def _residual(matrix: np.ndarray, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Distances ``(..., N)`` of points from where matrices ``(..., D+1, D+1)`` put their partners."""
    put = source @ np.swapaxes(matrix[..., :-1, :-1], -1, -2) + matrix[..., None, :-1, -1]
    out: np.ndarray = np.linalg.norm(put - target, axis=-1)
    return out


def rotations_of(mean: np.ndarray, shapes: np.ndarray) -> list[np.ndarray]:
    """The rotation ``(D, D)`` from a mean shape to each case that tells how it lies, by least squares.

    Args:
        mean: ``(L, D)`` mm, NaN for landmarks that nobody knows.
        shapes: ``(N, L, D)`` mm, NaN where a landmark is not present.
    """
    found = []
    for shape in shapes:
        both = np.isfinite(shape).all(1) & np.isfinite(mean).all(1)
        if both.any() and tells_pose(mean[both]) and tells_pose(shape[both]):
            found.append(proper(similarity(mean[both], shape[both], np.ones(int(both.sum())))[:-1, :-1]))
    return found


def upright(mean: np.ndarray, mirror: np.ndarray | None) -> np.ndarray:
    """A mean shape turned to a pose of its own, which does not depend on how any case lies.

    Left and right lie along the first axis where pairs are known, so that the mirror image of an upright image is
    upright, and the other axes are the principal ones, the longest first. An axis points where the third moment of the
    shape is positive.

    Args:
        mean: ``(L, D)`` mm, NaN for landmarks that nobody knows.
        mirror: ``(L,)`` the landmark that takes the place of each in the mirror; None where that is not known.

    Returns:
        ``(L, D)`` mm about the centre of the shape.
    """
    known = np.isfinite(mean).all(1)
    dims = mean.shape[1]
    centred = mean - mean[known].mean(0) if known.any() else mean
    if not known.any() or not tells_pose(centred[known]):
        return mean
    axes: list[np.ndarray] = []
    rest = centred[known]
    if mirror is not None:
        between = (mean - mean[mirror])[known & known[mirror]]
        if np.linalg.norm(between) > 1e-9:
            axes.append(np.linalg.svd(between, full_matrices=True)[2][0])
            rest = rest - np.outer(rest @ axes[0], axes[0])
    principal = np.linalg.svd(rest, full_matrices=True)[2]
    axes = (axes + list(principal))[:dims]
    frame = np.stack(axes)
    along = centred[known] @ frame.T
    # The first axis has no side of its own in a symmetric shape: the determinant chooses it.
    for axis in range(1, dims):
        frame[axis] *= -1.0 if (along[:, axis] ** 3).sum() < 0 else 1.0
    frame[0] *= np.sign(np.linalg.det(frame))
    return np.asarray(centred @ frame.T)
