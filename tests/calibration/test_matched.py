"""Rows of predictions matched with the truth: pairs that may change places, landmarks of which there are many."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from auto_config.bundle_scripts.inference.heatmaps import Heatmaps
from auto_config.bundle_scripts.methods.decoders import ArgmaxDecoder
from auto_config.bundle_scripts.methods.instances import InstanceDecoder
from auto_config.bundle_scripts.points.instances import Instances
from auto_config.bundle_scripts.points.landmarks import ABSENT, PRESENT, UNKNOWN, LandmarkSet
from auto_config.bundle_scripts.points.peaks import make_peaks
from auto_config.calibration.conformal import ball_scores, exact_coverage, quantiles
from auto_config.calibration.matched import matched
from auto_config.prediction.densities import densities

PAIR = Instances(("end 1", "end 2"), (1, 1), (False, False), ((0, 1),), (4.0, 4.0), (0.5, 0.5))
BUDS = Instances(("bud", "tip"), (4, 1), (True, False), (), (5.0, 0.0), (0.5, 0.5))
A, B = [0.0, 0, 0], [10.0, 0, 0]


def rows_of(points, label, instances=PAIR, confidence=None):
    given = LandmarkSet.from_inline(label, instances.names, spatial_dims=3)
    points = np.array(points, dtype=np.float64)
    return matched(points, np.full(len(points), 0.9) if confidence is None else np.array(confidence), given, instances)


def test_truth_and_status_of_a_pair_change_places_together():
    found = rows_of([B, A], {"end 1": A, "end 2": B})
    np.testing.assert_array_equal(found.truth, [B, A])
    found = rows_of([B, A], {"end 1": A, "end 2": "absent"})
    np.testing.assert_array_equal(found.truth, [[np.nan] * 3, A])
    assert found.status.tolist() == [ABSENT, PRESENT]
    found = rows_of([B, A], {"end 1": "unknown", "end 2": [9, 0, 0]})
    assert found.status.tolist() == [PRESENT, UNKNOWN]
    found = rows_of([B, A], {"end 1": "absent", "end 2": "unknown"})
    assert found.status.tolist() == [ABSENT, UNKNOWN]
    assert not found.missed.any()


def test_candidates_are_matched_one_to_one_within_the_distance():
    nothing = [np.nan] * 3
    # Rows: first bud, tip, further buds.
    points = [[1, 0, 0], [50, 0, 0], [20, 0, 0], [41, 0, 0], nothing]
    label = {"bud": [[40, 0, 0], A, [80, 0, 0]], "tip": [52, 0, 0]}
    found = rows_of(points, label, BUDS, [0.9, 0.9, 0.8, 0.06, 0.0])
    assert found.status.tolist() == [PRESENT, PRESENT, ABSENT, PRESENT, UNKNOWN]
    np.testing.assert_array_equal(found.truth, [A, [52, 0, 0], nothing, [40, 0, 0], nothing])
    assert found.missed.tolist() == [1, 0]
    # Of two within reach of one true point the nearer one is the instance, and below the floor there is no candidate.
    found = rows_of([[3, 0, 0], B, [2, 0, 0], nothing, [0, 1, 0]], {"bud": [A]}, BUDS, [0.9, 0.9, 0.8, 0.0, 0.04])
    assert found.status[[0, 2, 4]].tolist() == [ABSENT, PRESENT, UNKNOWN]


@pytest.mark.parametrize(("value", "status"), [("absent", ABSENT), ([], ABSENT), ("unknown", UNKNOWN)])
def test_without_a_true_point_candidates_are_invented_or_nobody_knows(value, status):
    found = rows_of([A, B, B, B, B], {"bud": value, "tip": B}, BUDS)
    assert found.status.tolist() == [status, PRESENT, status, status, status]
    assert np.isnan(found.truth[[0, 2, 3, 4]]).all() and not found.missed.any()


def test_a_case_without_instance_and_candidate_adds_nothing():
    found = rows_of([A, B, *[[np.nan] * 3] * 3], {"bud": [], "tip": B}, BUDS, [0.01, 0.9, 0, 0, 0])
    assert found.status.tolist() == [UNKNOWN, PRESENT, UNKNOWN, UNKNOWN, UNKNOWN]


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_ends_lie_in_the_regions_of_those_they_are_matched_with_as_often_as_promised(level):
    """300 data sets: names in random order, the first row is the surer end, and errors reach the other end at times."""
    random = np.random.default_rng(round(level * 10))
    sets, n, more = 300, 15, 15
    truth = np.array([A, [3.0, 0, 0]])
    # The surer end errs less, so regions of both rows differ.
    errors = random.standard_t(4, (sets, n + more, 2, 3)) * np.array([0.4, 1.0])[:, None]
    scores = np.empty((sets, n + more, 2))
    for i, j in np.ndindex(sets, n + more):
        ends = random.permutation(2)
        found = rows_of(truth[ends] + errors[i, j], dict(zip(PAIR.names, truth[random.permutation(2)], strict=True)))
        scores[i, j] = ball_scores(truth[ends] + errors[i, j], found.truth)
    bounds = np.stack([quantiles(one[:n], (level,))[0] for one in scores])
    inside = (scores[:, n:] <= bounds[:, None]).mean(axis=(0, 1))
    assert inside == pytest.approx([exact_coverage(n, level)] * 2, abs=0.02)
    # In the order of the names they lie 3 mm away half of the time, and regions would reach that far.
    assert np.median(bounds[:, 0]) < 2.5


def test_regions_of_found_instances_hold_for_one_drawn_at_random():
    random = np.random.default_rng(4)
    inside = []
    for _ in range(200):
        count = random.integers(0, 5, 40)  # of each image
        radius = np.abs(random.normal(size=(40, 4))) * 2
        scores = np.where((np.arange(4) < count[:, None]) & (radius <= 5.0), radius, np.nan)
        bound = quantiles(scores[:20], (0.9,), channels=np.zeros(4, dtype=int))[0, 0]
        new = scores[20:][~np.isnan(scores[20:])]
        inside.append((new <= bound).mean())
    assert np.mean(inside) == pytest.approx(0.9, abs=0.02)


def test_rows_of_a_landmark_count_together():
    scores = np.array([[1.0, 10.0, 3.0], [2.0, 20.0, np.nan]])
    found = quantiles(scores, (0.5, 0.75), channels=np.array([0, 1, 0]))
    np.testing.assert_array_equal(found, [[2.0, 20.0], [3.0, np.inf]])


def blobs(size, *centres):
    """Logits of the Gaussians at some centres, whichever is higher."""
    steps = np.stack(np.meshgrid(*[np.arange(n) for n in size], indexing="ij"), -1)
    return torch.from_numpy(np.max([-((steps - c) ** 2).sum(-1) / 4 + h for c, h in centres], axis=0)).float()


def heatmaps_of(decoder, logits, points, origins):
    confidence, covariance = torch.ones(len(points)), torch.eye(2).repeat(len(points), 1, 1)
    peaks = make_peaks(torch.tensor(points, dtype=torch.float32), confidence, covariance)
    opened = SimpleNamespace(decoder=decoder)
    return opened, Heatmaps({"logits": logits}, torch.tensor(origins, dtype=torch.float32), peaks)


def test_the_heatmap_of_an_end_is_the_part_that_is_nearer_to_it():
    logits = torch.stack([blobs((20, 12), ([4, 6], 1.0), ([15, 6], 3.0)), blobs((20, 12), ([4, 6], 3.0))])
    decoder = InstanceDecoder(ArgmaxDecoder(), PAIR, [1.0, 1.0], reach_mm=6.0)
    found = densities(*heatmaps_of(decoder, logits, [[4, 6], [15, 6]], np.zeros((2, 2))), PAIR, np.ones(2))
    assert found.sum(axis=(1, 2)) == pytest.approx([1, 1], abs=1e-5)
    assert not found[0, 10:].any() and not found[1, :10].any()
    # Both ends are peaks of the mean of both channels.
    mean = torch.softmax(logits.mean(0).flatten(), 0).reshape(20, 12).numpy()
    np.testing.assert_allclose(found[0, :10], mean[:10] / mean[:10].sum(), rtol=1e-4)
    np.testing.assert_allclose(found[1, 10:], mean[10:] / mean[10:].sum(), rtol=1e-4)


def test_ends_in_crops_of_their_own_are_divided_in_mm_too():
    """Two crops that both show both ends; voxels are longer along the second axis, which moves the border."""
    logits = torch.stack(
        [blobs((20, 12), ([4, 2], 1.0), ([14, 8], 2.0)), blobs((20, 12), ([1, 0], 1.0), ([11, 6], 2.0))]
    )
    points, spacing = np.array([[4.0, 2], [14, 8]]), np.array([1.0, 3.0])
    given = heatmaps_of(ArgmaxDecoder(), logits, points.tolist(), [[0.0, 0.0], [3.0, 2.0]])
    found = densities(*given, PAIR, spacing)
    for end, origin in enumerate(given[1].origins.numpy()):
        voxels = np.stack(np.meshgrid(np.arange(20), np.arange(12), indexing="ij"), -1) + origin
        distance = np.linalg.norm((voxels[:, :, None] - points) * spacing, axis=-1)
        own = distance[..., end] <= distance[..., 1 - end] + (1e-9 if end == 0 else -1e-9)
        np.testing.assert_array_equal(found[end] > 0, own & (found[end] > 0))
        alone = ArgmaxDecoder().probability(logits)[end].numpy() * own
        np.testing.assert_allclose(found[end], alone / alone.sum(), rtol=1e-4, atol=1e-9)


def test_landmarks_with_fixed_names_keep_their_heatmaps():
    alone = Instances.single(["a", "b"])
    logits = torch.stack([blobs((20, 12), ([4, 6], 1.0)), blobs((20, 12), ([9, 6], 3.0))])
    found = densities(*heatmaps_of(ArgmaxDecoder(), logits, [[4, 6], [9, 6]], np.zeros((2, 2))), alone, np.ones(2))
    np.testing.assert_array_equal(found, ArgmaxDecoder().probability(logits).numpy())
