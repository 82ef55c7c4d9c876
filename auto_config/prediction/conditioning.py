"""Where the landmarks of a case must be, given those that a person set and those predicted ones that agree with them.

The case is a similarity of a shape that the training cases make likely (`ShapeGaussian`); neither pose nor shape is
known. A pose that most evidence speaks for is found by random sampling (RANSAC, Fischler and Bolles, 1981), each sample
with a point that a person set. From there, pose and shape are estimated together: the pose is linearised, so both are
one Gaussian whose mean is found in closed form, with weights for the predicted points after Geman and McClure (1985)
and anew from where that leads (Gauss-Newton). So a point that is far off has no say.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.linalg import expm
from scipy.stats import chi2

from auto_config.bundle_scripts.points.procrustes import similarity, size_of
from auto_config.prediction.shape_gaussian import ShapeGaussian

BELIEVED = 0.99  # of true points lie nearer to where the others expect them
SAMPLES = 500
LEAST_SHARE = 0.2  # of the points must agree with a pose before it may move the others
FIXED_VOTES = 5.0  # a point that a person set counts as much as so many predicted ones, when poses are compared
ROUNDS = 20
FAR = 3.0  # times as far as true points are: a person's point there bears a wrong name, the others say more
_REFINED = 5
_WIDE = 8
_SMALL = 1e-6


@dataclass(frozen=True)
class Conditioned:
    """What is expected of a case.

    Args:
        points: (L, D) world mm, NaN for landmarks that the shape does not know.
        deviation: (L,) mm along an axis: how well the place of a landmark is known without looking at it.
        agree: (L,) bool: points that were given and lie where they are expected; those of a person always.
        pose: (D+1, D+1) similarity from the mean shape to the case.
    """

    points: np.ndarray
    deviation: np.ndarray
    agree: np.ndarray
    pose: np.ndarray

    def believes(self, points: np.ndarray, tolerance: np.ndarray | float, share: float = BELIEVED) -> np.ndarray:
        """(L,) bool: points (L, D) mm no farther from where they are expected than nearly all true ones.

        Args:
            points: world mm.
            tolerance: mm that a good point is off along an axis.
            share: of true points that are believed.
        """
        variance = self.deviation**2 + np.square(tolerance)
        with np.errstate(invalid="ignore"):
            return ((points - self.points) ** 2).sum(axis=1) <= chi2.ppf(share, points.shape[1]) * variance


def condition(
    shape: ShapeGaussian,
    points: np.ndarray,
    tolerance: np.ndarray | float,
    fixed: np.ndarray,
    before: Conditioned | None = None,
) -> Conditioned | None:
    """The places of all landmarks, given some for sure and others perhaps.

    Args:
        shape: of the training cases.
        points: (L, D) world mm, predicted ones and those of a person; NaN where there is none.
        tolerance: mm that a good predicted point is off along an axis, (L,) or one number.
        fixed: (L,) bool: points of a person.
        before: what was expected with some of the points elsewhere; its pose is the first one, and none is searched.

    Returns:
        What is expected; None where too few points agree on a pose.
    """
    points = np.asarray(points, dtype=np.float64)
    dims = points.shape[1]
    tolerance = np.broadcast_to(np.asarray(tolerance, dtype=np.float64), len(points))
    use = np.flatnonzero(shape.known & np.isfinite(points).all(axis=1))
    sure = fixed[use]
    if len(use) <= dims:
        return None
    limit = np.sqrt(chi2.ppf(BELIEVED, dims) * (shape.variance[use] + tolerance[use] ** 2))
    if before is not None:
        agree = _distance(before.pose, shape.mean[use], points[use]) <= np.where(sure, FAR, 1.0) * limit
        return _refined(shape, points, tolerance, (before.pose, agree), fixed)
    pose, agree = _best_pose(shape.mean[use], points[use], limit, sure, shape.log_size)
    enough = max(dims + 2, math.ceil(LEAST_SHARE * len(use)))
    if agree.sum() < enough and sure.sum() <= dims:
        return None
    return _refined(shape, points, tolerance, (pose, agree), fixed)


def condition_as_usual(
    shape: ShapeGaussian, points: np.ndarray, usual: np.ndarray, tolerance: float, fixed: np.ndarray
) -> Conditioned | None:
    """The places of all landmarks by the points of a person alone, where these are too few for a pose of their own.

    The mean shape lies as it does in the training cases, moved along so that it meets the points of the person.

    Args:
        shape: of the training cases.
        points: (L, D) world mm; only those of the person count.
        usual: (L, D) world mm where the landmarks lie on average, NaN where not known.
        tolerance: mm that a good predicted point is off along an axis.
        fixed: (L,) bool: points of a person.

    Returns:
        What is expected; None where no point of a person has a usual place, or too few landmarks have one.
    """
    away = (np.asarray(points, dtype=np.float64) - usual)[fixed]
    away = away[np.isfinite(away).all(axis=1)]
    if not len(away):
        return None
    return condition(shape, np.where(fixed[:, None], points, usual + away.mean(axis=0)), tolerance, fixed)


def _best_pose(
    mean: np.ndarray, points: np.ndarray, limit: np.ndarray, sure: np.ndarray, log_size: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """The similarity (D+1, D+1) of the mean shape that most points agree with, and which these are."""
    dims = points.shape[1]
    random = np.random.default_rng(0)  # the same points give the same answer
    order = random.random((SAMPLES, len(points))).argsort(axis=1)[:, :dims]
    if sure.any():
        given = random.choice(np.flatnonzero(sure), SAMPLES)
        order[~(order == given[:, None]).any(axis=1), 0] = given[~(order == given[:, None]).any(axis=1)]
    linear, shift = _similarities(mean[order], points[order], log_size)
    votes = np.where(sure, FIXED_VOTES, 1.0)
    cost = _costs((linear, shift), mean, points, limit, votes)
    tried = [_matrix(linear[best], shift[best]) for best in np.argsort(cost, kind="stable")[:_REFINED]]
    tried.append(similarity(mean, points, votes))
    if sure.sum() >= dims:
        tried.append(similarity(mean[sure], points[sure], np.ones(int(sure.sum()))))
    found: list[tuple[float, np.ndarray, np.ndarray]] = []
    for matrix in tried:
        for _ in range(3):
            near = _distance(matrix, mean, points) <= limit
            if near.sum() >= dims:
                matrix = similarity(mean[near], points[near], votes[near])  # noqa: PLW2901  the pose is refined
        near = _distance(matrix, mean, points) <= limit
        value = _costs((matrix[None, :-1, :-1], matrix[None, :-1, -1]), mean, points, limit, votes)[0]
        near = _distance(matrix, mean, points) <= np.where(sure, FAR, 1.0) * limit
        found.append((float(value), matrix, near))
    _, matrix, near = min(found, key=lambda item: item[0])
    return matrix, near


def _similarities(
    source: np.ndarray, target: np.ndarray, log_size: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Similarities of many small point sets (S, n, D) at once, of a size that cases have: (S, D, D) and (S, D)."""
    dims = source.shape[2]
    mean_s, mean_t = source.mean(axis=1, keepdims=True), target.mean(axis=1, keepdims=True)
    cs, ct = source - mean_s, target - mean_t
    u, values, vt = np.linalg.svd(np.swapaxes(ct, 1, 2) @ cs)
    sign = np.ones((len(source), dims))
    sign[:, -1] = np.where(np.linalg.det(u @ vt) < 0, -1.0, 1.0)
    rotation = (u * sign[:, None]) @ vt
    scale = (values * sign).sum(axis=1) / np.maximum((cs**2).sum(axis=(1, 2)), 1e-12)
    middle, deviation = log_size
    scale = np.clip(scale, math.exp(middle - 4 * deviation), math.exp(middle + 4 * deviation))
    linear = scale[:, None, None] * rotation
    return linear, mean_t[:, 0] - (linear @ mean_s[:, 0, :, None])[..., 0]


def _costs(
    poses: tuple[np.ndarray, np.ndarray], mean: np.ndarray, points: np.ndarray, limit: np.ndarray, votes: np.ndarray
) -> np.ndarray:
    """(S,) truncated squared distances of the points from the mean shape under many similarities."""
    linear, shift = poses
    there = np.einsum("sij,lj->sli", linear, mean) + shift[:, None]
    squared = ((there - points) ** 2).sum(axis=2) / limit**2
    return (np.minimum(squared, 1.0) * votes).sum(axis=1)


def _refined(
    shape: ShapeGaussian,
    points: np.ndarray,
    tolerance: np.ndarray,
    start: tuple[np.ndarray, np.ndarray],
    fixed: np.ndarray,
) -> Conditioned:
    """Pose and shape together, from a pose and the usable points that agree with it."""
    pose, agree = start
    use = np.flatnonzero(shape.known & np.isfinite(points).all(axis=1))
    given, sure = fixed[use], fixed[use] & agree
    dims, count = points.shape[1], len(shape.modes)
    known = np.flatnonzero(shape.known)
    row = np.searchsorted(known, use)
    mean, noise = shape.mean[known], shape.noise[known]
    modes = shape.modes[:, known].transpose(1, 2, 0)  # (known, D, K)
    error = np.where(sure, 0.0, tolerance[use]) ** 2
    z, weight = np.zeros(count), agree.astype(np.float64)
    size = size_of(mean)
    # What a step may change is not held back, but for the size, which cases say something of.
    free = np.concatenate([np.full(dims, 1e2 * size), np.full(_turns(dims), 1e2)])
    limit = float(chi2.ppf(BELIEVED, dims))
    for number in range(ROUNDS):
        scale = abs(float(np.linalg.det(pose[:-1, :-1]))) ** (1 / dims)
        there = mean + modes @ z
        seen = (points[use] - pose[:-1, -1]) @ np.linalg.inv(pose[:-1, :-1]).T
        steps = np.concatenate([modes, _pose_steps(there)], axis=2)
        middle, deviation = shape.log_size
        precision = np.concatenate([np.ones(count), free**-2, [deviation**-2]])
        pull = np.concatenate([-z, np.zeros(len(free)), [(middle - math.log(scale)) / deviation**2]])
        variance = noise[row] + error / scale**2
        variance = np.maximum(variance, 1e-12 * size**2)
        strength = (weight / variance)[:, None, None]
        at = steps[row]
        normal = np.diag(precision) + (strength * at).reshape(-1, at.shape[2]).T @ at.reshape(-1, at.shape[2])
        right = pull + (strength[..., 0] * (seen - there[row])).reshape(-1) @ at.reshape(-1, at.shape[2])
        step = np.linalg.solve(normal, right)
        z = z + step[:count]
        pose = pose @ _pose_of(step[count:], dims)
        spread = np.linalg.inv(normal)
        own = ((steps @ spread) * steps).sum(axis=(1, 2)) / dims
        scale = abs(float(np.linalg.det(pose[:-1, :-1]))) ** (1 / dims)
        placed = (mean + modes @ z) @ pose[:-1, :-1].T + pose[:-1, -1]
        expected = scale**2 * (own + noise)
        # Wide at first, because the shape has not followed yet.
        width = 1 + (shape.variance[use] / expected[row] - 1).clip(0) * max(0.0, 1 - number / _WIDE)
        squared = ((placed[row] - points[use]) ** 2).sum(axis=1) / dims / (width * (expected[row] + error))
        weight = np.where(sure, 1.0, 1.0 / (1.0 + squared / 4.0) ** 2)
        weight[~sure & (squared * dims > 2 * limit)] = 0.0
        if number > _WIDE and np.abs(step).max(initial=0.0) < _SMALL:
            break
    nowhere = np.full_like(points, np.nan)
    out = Conditioned(nowhere, np.full(len(points), np.nan), np.zeros(len(points), dtype=bool), pose)
    out.points[known], out.deviation[known] = placed, np.sqrt(expected)
    out.agree[use] = given | out.believes(points, tolerance)[use]
    return out


def _turns(dims: int) -> int:
    return dims * (dims - 1) // 2


def _generators(dims: int) -> np.ndarray:
    """(turns, D, D) skew matrices, one for each plane of two axes."""
    pairs = [(i, j) for i in range(dims) for j in range(i + 1, dims)]
    out = np.zeros((len(pairs), dims, dims))
    for number, (i, j) in enumerate(pairs):
        out[number, i, j], out[number, j, i] = -1.0, 1.0
    return out


def _pose_steps(points: np.ndarray) -> np.ndarray:
    """(L, D, P) how points move with a shift, a turn about each plane, and the logarithm of the size."""
    dims = points.shape[1]
    shift = np.broadcast_to(np.eye(dims), (len(points), dims, dims))
    turn = np.einsum("kij,lj->lik", _generators(dims), points)
    return np.concatenate([shift, turn, points[..., None]], axis=2)


def _pose_of(step: np.ndarray, dims: int) -> np.ndarray:
    """The similarity (D+1, D+1) of a step."""
    shift, turn, size = step[:dims], step[dims:-1], step[-1]
    generator = np.tensordot(np.clip(turn, -1, 1), _generators(dims), axes=1)
    return _matrix(math.exp(float(np.clip(size, -0.5, 0.5))) * expm(generator), shift)


def _matrix(linear: np.ndarray, shift: np.ndarray) -> np.ndarray:
    out = np.eye(len(shift) + 1)
    out[:-1, :-1], out[:-1, -1] = linear, shift
    return out


def _distance(matrix: np.ndarray, mean: np.ndarray, points: np.ndarray) -> np.ndarray:
    return np.linalg.norm(mean @ matrix[:-1, :-1].T + matrix[:-1, -1] - points, axis=1)
