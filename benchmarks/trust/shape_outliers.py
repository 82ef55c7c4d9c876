"""How often the check of impossible points is wrong, and what it finds: false alarms and simulated mistakes.

``python benchmarks/trust/shape_outliers.py DATA_SET [--trials 400]`` reads the points of a data set, counts what is
told of them as they are (of all cases, and of each half of them alone), then moves a random point of a random case by a
distance, or exchanges two points, and counts how often just that is told.
"""

from __future__ import annotations

import argparse

import numpy as np

from auto_config.datasets import read_dataset
from auto_config.datasets.checks.shape_outliers import (
    align_all,
    distance_limits,
    find_outliers,
    median_shape,
    neighbour_offsets,
    predict_points,
    shape_size,
)
from auto_config.datasets.model.dataset import present_points


def main() -> None:
    """Print the table of docs/checks.md."""
    parser = argparse.ArgumentParser()
    parser.add_argument("source")
    parser.add_argument("--trials", type=int, default=400)
    options = parser.parse_args()
    dataset, _ = read_dataset(options.source)
    shapes = np.stack([present_points(case, dataset.names, dataset.spatial_dims) for case in dataset.cases])
    report(shapes, options.trials)


def report(shapes: np.ndarray, trials: int) -> None:
    """False alarms, then sensitivity; shapes (N, L, D) mm without missing points."""
    half = len(shapes) // 2
    for title, part in (("all cases", shapes), ("first half", shapes[:half]), ("second half", shapes[half:])):
        found = find_outliers(part)
        print(f"{title}: {len(part)} cases, {part.shape[1]} points each, {len(found)} told")
    offsets, _ = neighbour_offsets(shapes)
    size = float(np.median([shape_size(shape) for shape in shapes]))
    limits = distance_limits(np.linalg.norm(offsets, axis=-1), size)
    print(f"size {size:.2f} mm, limits {np.percentile(limits, [0, 50, 100]).round(2).tolist()} mm")
    aligned, rng = align_all(shapes), np.random.default_rng(0)
    for share in (0.1, 0.2, 0.3, 0.5, 1.0):
        hits = exact = 0
        for _ in range(trials):
            case, landmark = rng.integers(len(shapes)), rng.integers(shapes.shape[1])
            direction = rng.normal(size=shapes.shape[2])
            changed = shapes[case].copy()
            changed[landmark] += share * size * direction / np.linalg.norm(direction)
            told = told_of(aligned, case, changed, limits)
            hits, exact = hits + (landmark in told), exact + (told == {landmark})
        print(
            f"moved by {share * size:.2f} mm: told {100 * hits / trials:.0f} %, it alone {100 * exact / trials:.0f} %"
        )
    for least in (0.2, 0.5, 1.0):
        hits = count = 0
        while count < trials:
            case = rng.integers(len(shapes))
            pair = rng.choice(shapes.shape[1], 2, replace=False)
            if np.linalg.norm(np.subtract(*shapes[case][pair])) < least * size:
                continue
            changed = shapes[case].copy()
            changed[pair] = changed[pair[::-1]]
            told = told_of(aligned, case, changed, limits)
            hits, count = hits + bool(set(pair.tolist()) & told), count + 1
        print(f"two points at least {least * size:.2f} mm apart exchanged: told {100 * hits / trials:.0f} %")


def told_of(aligned: np.ndarray, case: int, changed: np.ndarray, limits: np.ndarray) -> set[int]:
    """Landmarks of a changed case that are told of; one case hardly moves the medians that make the limits."""
    predicted = predict_points(median_shape(np.delete(aligned, case, axis=0)), changed)
    return set(np.flatnonzero(np.linalg.norm(changed - predicted, axis=-1) > limits).tolist())


if __name__ == "__main__":
    main()
