"""A tiny network learns blobs of one kind from the shared target, and its threshold is chosen on other images."""

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from auto_config.bundle_scripts.methods.decoders import ArgmaxDecoder
from auto_config.bundle_scripts.methods.heatmap import EDTHeatmap, GaussianTarget
from auto_config.bundle_scripts.methods.instances import InstanceDecoder
from auto_config.bundle_scripts.methods.losses import SpatialCrossEntropyLoss, StagesLoss, TopKBCELoss, WeightedLoss
from auto_config.bundle_scripts.points.instance_errors import instance_errors, instance_hits
from auto_config.bundle_scripts.points.instances import Instances
from auto_config.bundle_scripts.training.run.instance_thresholds import best_threshold, f1_score

SIZE, MOST, NEAREST = (20, 20, 20), 6, 6.0
KNOWN = Instances(("bud",), (MOST,), (True,), (), (NEAREST / 2,), (0.5,))


def image(rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Image (1, *SIZE), rows of points (R, 3) in voxels, status (R,), of three to six blobs."""
    points = np.zeros((0, 3))
    count = int(rng.integers(3, MOST + 1))
    while len(points) < count:
        point = rng.uniform(2, 17, (1, 3))
        if (np.linalg.norm(points - point, axis=1) > NEAREST).all():
            points = np.concatenate([points, point])
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in SIZE], indexing="ij"), -1)
    voxels = sum(np.exp(-((grid - point) ** 2).sum(-1) / (2 * 1.5**2)) for point in points)
    voxels = voxels + rng.normal(0, 0.1, SIZE)
    rows = np.full((MOST, 3), np.nan)
    rows[:count] = points
    status = (np.arange(MOST) < count).astype(int)
    return torch.from_numpy(voxels).float()[None], torch.from_numpy(rows).float(), torch.from_numpy(status)


def test_blobs_of_one_kind_are_found():
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    layers = [nn.Conv3d(1, 8, 5, padding=2), nn.ReLU(), nn.Conv3d(8, 8, 3, padding=1), nn.ReLU(), nn.Conv3d(8, 1, 1)]
    network = nn.Sequential(*layers)
    nn.init.constant_(network[-1].bias, -4.0)
    parts = [TopKBCELoss(EDTHeatmap([4.0] * 3), 0.2), SpatialCrossEntropyLoss(GaussianTarget(1.0))]
    loss = StagesLoss({"fine": WeightedLoss(parts, [1.0, 0.1])}, instances=KNOWN)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(100):
        batch = [torch.stack(one) for one in zip(*[image(rng) for _ in range(2)], strict=True)]
        optimizer.zero_grad()
        target = {"points": batch[1], "status": batch[2], "size": SIZE}
        loss({"fine": {"logits": network(batch[0])}}, {"fine": target}).backward()
        optimizer.step()
    decoder = InstanceDecoder(ArgmaxDecoder(), KNOWN, [1.0] * 3, reach_mm=6.0)

    def candidates(count: int) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        found = []
        for _ in range(count):
            voxels, truth, _ = image(rng)
            with torch.no_grad():
                points, confidence, _ = decoder(network(voxels[None])[0])
            there = torch.isfinite(points).all(1)
            found.append(
                (points[there].numpy(), confidence[there].numpy(), truth[torch.isfinite(truth).all(1)].numpy())
            )
        return found

    threshold, f1 = best_threshold(candidates(6), NEAREST / 2)
    assert f1 is not None and f1 > 0.9
    assert f1_score(candidates(8), threshold, NEAREST / 2) > 0.9


def test_the_threshold_lies_between_right_and_wrong():
    truth = np.array([[0.0, 0, 0], [10, 0, 0]])
    points = np.array([[0.0, 0, 1], [10, 1, 0], [30, 0, 0]])
    images = [(points, np.array([0.9, 0.7, 0.3]), truth), (points[:1], np.array([0.8]), truth)]
    threshold, f1 = best_threshold(images, 2.0)
    assert threshold == 0.5
    assert f1 == 2 * 3 / (3 + 4)
    assert best_threshold([(points, np.array([0.9, 0.7, 0.3]), truth[:0])], 2.0) == (0.5, None)
    assert best_threshold([], 2.0) == (0.5, None)


def test_errors_of_an_image():
    known = Instances(
        ("bud", "a", "b", "tip"), (3, 1, 1, 1), (True, False, False, False), ((1, 2),), (4.0,) * 4, (0.5,) * 4
    )
    nan = [np.nan] * 3
    truth = np.array([[0.0, 0, 0], [10, 0, 0], [20, 0, 0], nan, [0, 9, 0], nan])
    predicted = np.array([[0.0, 9, 1], [20, 0, 3], [10, 0, 0], [7, 7, 7], [0, 0, 0], [50, 50, 50]])
    confidence = np.array([0.9, 0.9, 0.9, 0.9, 0.6, 0.2])
    errors = instance_errors(predicted, confidence, truth, known)
    np.testing.assert_allclose(errors, [0.5, 0.0, 3.0, np.nan])
    np.testing.assert_allclose(instance_hits(predicted, confidence, truth, known, 2.0), [100, 100, 0, np.nan])
    # A confident third instance is one too many.
    confidence[5] = 0.8
    assert instance_errors(predicted, confidence, truth, known)[0] == (0 + 1 + 4) / 3
    # Where instances may be nearer to each other than they usually are, what counts is the usual distance.
    usual = replace(known, match_mm=(7.0, 0.0, 0.0, 0.0))
    assert instance_errors(predicted, confidence, truth, usual)[0] == (0 + 1 + 7) / 3
    predicted[3] = predicted[1] = np.nan
    assert np.isinf(instance_errors(predicted, confidence, truth, known)[1:3]).any()
