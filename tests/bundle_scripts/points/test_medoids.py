"""The two points that a heatmap of two points means: against every pair, and where the highest maxima fail."""

import numpy as np
import pytest
import torch

from auto_config.bundle_scripts.points.medoids import two_medoids
from auto_config.bundle_scripts.points.nms import find_peaks


def places(size):
    return np.stack(np.meshgrid(*[np.arange(n) for n in size], indexing="ij"), -1).reshape(-1, len(size))


def blobs(size, *centres):
    """Density of Gaussians ``(centre, deviation in voxels, mass)``."""
    steps = places(size)
    total = np.zeros(len(steps))
    for centre, deviation, mass in centres:
        one = np.exp(-0.5 * ((steps - centre) ** 2).sum(1) / deviation**2)
        total += mass * one / one.sum()
    return torch.from_numpy(total.reshape(size)).float()


def voxels(index, size):
    return np.stack(np.unravel_index(index.numpy(), size), -1)


def cost(density, pair, reach):
    distance = np.linalg.norm(places(density.shape)[:, None] - np.asarray(pair)[None], axis=-1).min(1)
    return float(np.minimum(distance, reach) @ density.numpy().ravel())


@pytest.mark.parametrize("size", [(40, 30), (30, 24, 20)])
def test_two_ends_apart_are_both_found_the_denser_one_first(size):
    first, second = np.array([8, 20, 9][: len(size)]), np.array([25, 7, 14][: len(size)])
    density = blobs(size, (first, 1.2, 0.3), (second, 1.2, 0.7))
    found = two_medoids(density, [1.0] * len(size), reach_mm=8.0, min_distance_mm=2.0)
    np.testing.assert_array_equal(voxels(found, size), [second, first])


def test_a_ridge_with_several_maxima_is_one_end():
    """What a network in doubt gives: three maxima in a row, all higher than the other end."""
    size = (48, 32)
    ridge = [(np.array([10 + 3 * i, 10]), 0.8, 0.2) for i in range(3)]
    density = blobs(size, *ridge, (np.array([36, 20]), 1.4, 0.4))
    highest = voxels(find_peaks(density, [1.0, 1.0], 2.0, 2, 0.0), size)
    assert np.linalg.norm(highest - [36, 20], axis=1).min() > 20, "otherwise the maxima would do"
    found = voxels(two_medoids(density, [1.0, 1.0], reach_mm=8.0, min_distance_mm=2.0), size)
    np.testing.assert_array_equal(found[np.argsort(found[:, 0])], [[13, 10], [36, 20]])


def test_ends_that_nearly_meet_are_told_apart():
    size = (32, 32)
    density = blobs(size, (np.array([14, 16]), 1.0, 0.5), (np.array([17, 16]), 1.0, 0.5))
    found = voxels(two_medoids(density, [1.0, 1.0], reach_mm=8.0, min_distance_mm=2.0), size)
    assert sorted(found[:, 0].tolist()) == [14, 17] and (found[:, 1] == 16).all()


def test_little_mass_far_away_leaves_both_ends():
    size = (64, 40)
    near = [(np.array([10, 10]), 1.5, 0.5), (np.array([18, 10]), 1.5, 0.45)]
    density = blobs(size, *near, (np.array([60, 35]), 0.5, 0.05))
    found = voxels(two_medoids(density, [1.0, 1.0], reach_mm=8.0, min_distance_mm=2.0), size)
    assert found[:, 0].max() < 22


def test_millimetres_count_and_not_voxels():
    """Along the second axis a voxel is four times as long, so its two blobs are the ends."""
    size = (24, 24)
    corners = [(np.array([8 + 4 * i, 8 + 4 * j]), 0.7, 0.25) for i in (0, 1) for j in (0, 1)]
    density = blobs(size, *corners)
    found = voxels(two_medoids(density, [1.0, 4.0], reach_mm=30.0, min_distance_mm=2.0), size)
    assert abs(found[0, 1] - found[1, 1]) == 4
    turned = voxels(two_medoids(density, [4.0, 1.0], reach_mm=30.0, min_distance_mm=2.0), size)
    assert abs(turned[0, 0] - turned[1, 0]) == 4


def test_no_pair_of_all_is_much_better():
    size, reach = (9, 8), 4.0
    every = places(size)
    for seed in range(25):
        values = np.random.default_rng(seed).normal(size=size) * 2
        density = torch.softmax(torch.from_numpy(values).float().flatten(), 0).reshape(size)
        best = min(cost(density, (a, b), reach) for i, a in enumerate(every) for b in every[:i])
        found = voxels(two_medoids(density, [1.0, 1.0], reach_mm=reach, min_distance_mm=1.0), size)
        assert cost(density, found, reach) <= 1.02 * best


def test_the_distance_is_kept_or_there_is_no_answer():
    density = blobs((20, 20), (np.array([10, 10]), 1.0, 1.0))
    found = voxels(two_medoids(density, [1.0, 1.0], reach_mm=8.0, min_distance_mm=5.0), (20, 20))
    assert np.linalg.norm(found[0] - found[1]) >= 5
    assert [10, 10] in found.tolist()
    assert two_medoids(torch.full((3, 3), 1 / 9), [1.0, 1.0], reach_mm=8.0, min_distance_mm=5.0) is None
