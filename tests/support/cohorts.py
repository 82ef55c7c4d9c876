"""Cohorts of points for reviews: a nearly symmetric head of 18 landmarks, each case turned, moved and varied."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from auto_config.bundle_scripts.points.landmarks import PRESENT
from auto_config.review.cohort import Cohort

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "trust" / "label_errors.py"


def planting():
    """The benchmark that plants label errors, as a module."""
    if "label_errors_benchmark" not in sys.modules:
        spec = importlib.util.spec_from_file_location("label_errors_benchmark", BENCHMARK)
        module = importlib.util.module_from_spec(spec)
        sys.modules["label_errors_benchmark"] = module
        spec.loader.exec_module(module)
    return sys.modules["label_errors_benchmark"]


def head_cohort(seed=0, *, cases=20, dims=3, noise=0.15, predictions=True, basis="unseen") -> Cohort:
    """The cohort; labels and predictions have normal errors of `noise` mm on each axis."""
    rng = np.random.default_rng(seed)
    side = np.random.default_rng(7).uniform((12, -40, -25), (35, 40, 30), (6, 3))
    middle = np.random.default_rng(8).uniform((-0.5, -45, -30), (0.5, 45, 35), (6, 3))
    mean = np.concatenate([side * (-1, 1, 1), side, middle])
    if dims == 2:
        mean = mean[:, 1:] + np.array([[0.0, 0.0]])
    count = len(mean)
    labels, affines = np.empty((cases, count, dims)), []
    for row in range(cases):
        angles = rng.uniform(-8, 8, 3)
        turn = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() if dims == 3 else _turn(angles[0])
        shape = (mean + rng.normal(0, 0.6, mean.shape)) * rng.uniform(0.9, 1.1)
        middle_of_image = rng.uniform(20, 60, dims) * rng.choice([-1, 1], dims) if dims == 3 else np.full(dims, 75.0)
        affine = np.eye(dims + 1)
        affine[:-1, :-1] *= 1.5
        affine[:-1, -1] = middle_of_image - 1.5 * 49.5 * np.ones(dims)
        affines.append(affine)
        labels[row] = shape @ turn.T + middle_of_image + rng.uniform(-2, 2, dims)
    labels += rng.normal(0, noise, labels.shape)
    predicted = labels + rng.normal(0, noise, labels.shape)
    nothing = np.full_like(labels, np.nan)
    return Cohort(
        cases=tuple(f"case{row}" for row in range(cases)),
        names=tuple(f"p{one}" for one in range(count)),
        labels=labels,
        status=np.full((cases, count), PRESENT),
        predicted=predicted if predictions else nothing,
        confidence=np.where(predictions, rng.normal(0.95, 0.01, (cases, count)), np.nan),
        basis=(basis if predictions else "points",) * cases,
        affines=tuple(affines),
        shapes=((100,) * dims,) * cases,
        pairs=tuple((one, one + 6) for one in range(6)) if dims == 3 else (),
    )


def _turn(degrees):
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.array([[cosine, -sine], [sine, cosine]])
