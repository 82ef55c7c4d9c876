"""Shared targets of many instances and exchangeable pairs: closed forms, gradients, and what a plain target does."""

import json
import math
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from stage_networks import OnLogits

from auto_config.bundle_scripts.methods.decoders import ArgmaxDecoder
from auto_config.bundle_scripts.methods.heatmap import EDTHeatmap, GaussianTarget
from auto_config.bundle_scripts.methods.instances import InstanceDecoder
from auto_config.bundle_scripts.methods.losses import SpatialCrossEntropyLoss, StagesLoss, TopKBCELoss, WeightedLoss
from auto_config.bundle_scripts.points.instances import Instances, read_instances, read_row_mirror
from auto_config.bundle_scripts.points.landmarks import LandmarkFileError, LandmarkSet
from auto_config.bundle_scripts.points.nms import find_peaks, local_maxima, suppress

NAN = float("nan")


def instances(many: int = 0, pair: bool = False, rows: int = 3, distance: float = 3.0) -> Instances:
    """`many` landmarks with several instances, then an exchangeable pair, then a plain landmark."""
    count = many + 2 * pair + 1
    return Instances(
        names=tuple(f"p{index}" for index in range(count)),
        most=tuple(rows if index < many else 1 for index in range(count)),
        many=tuple(index < many for index in range(count)),
        exchangeable=((many, many + 1),) if pair else (),
        min_distance_mm=(distance,) * count,
        thresholds=(0.5,) * count,
    )


def staged(loss: StagesLoss, logits: torch.Tensor, points: torch.Tensor, status: torch.Tensor) -> torch.Tensor:
    """The loss of one stage."""
    targets = {"points": points, "status": status, "size": tuple(logits.shape[2:])}
    return loss({"fine": {"logits": logits}}, {"fine": targets})


def fused(radius: float = 4.0) -> WeightedLoss:
    parts = [TopKBCELoss(EDTHeatmap([radius] * 2), 0.3), SpatialCrossEntropyLoss(GaussianTarget(1.0))]
    return WeightedLoss(parts, [1.0, 0.5])


def test_rows_and_members():
    known = instances(many=1, pair=True)
    assert known.channels == (0, 1, 2, 3, 0, 0)
    assert known.members == ((0, 4, 5), (1, 2), (1, 2), (3,))


def test_labels_become_rows():
    known = instances(many=1, pair=False)
    found = LandmarkSet.from_inline({"p0": [[1, 1], [2, 2]], "p1": "unknown"}, spatial_dims=2)
    points, status = known.label_rows(found.ordered(known.names))
    np.testing.assert_array_equal(points, [[1, 1], [NAN, NAN], [2, 2], [NAN, NAN]])
    assert status.tolist() == [1, -1, 1, 0]
    unknown = LandmarkSet.from_inline({"p0": "unknown", "p1": [3, 3]}, spatial_dims=2)
    assert known.label_rows(unknown)[1].tolist() == [-1, 1, -1, -1]
    with pytest.raises(LandmarkFileError, match="most_instances"):
        known.label_rows(LandmarkSet.from_inline({"p0": [[1, 1]] * 4, "p1": "absent"}, spatial_dims=2))


@pytest.mark.parametrize(("first", "second"), list(product(["here", "outside", "unknown", "absent"], repeat=2)))
def test_a_pair_is_the_same_in_both_orders(first: str, second: str):
    known = instances(pair=True)
    point = {"here": [2.0, 2.0], "outside": [90.0, 90.0]}
    status = {"here": 1, "outside": -1, "unknown": -1, "absent": 0}

    def reduced(*words: str) -> tuple[torch.Tensor, torch.Tensor]:
        points = torch.tensor([[point.get(word, [NAN, NAN]) for word in (*words, "absent")]])
        return known.reduce(points, torch.tensor([[status[word] for word in (*words, "absent")]]))

    (points, states), (_, changed) = reduced(first, second), reduced(second, first)
    assert torch.equal(states, changed)
    assert states[0, 0] == states[0, 1]
    words = {first, second}
    expected = -1 if "unknown" in words else 1 if "here" in words else 0 if words == {"absent"} else -1
    assert states[0, 0] == expected
    assert int(torch.isfinite(points[0, 0]).all(-1).sum()) == (
        0 if "unknown" in words else (first, second).count("here")
    )


def test_the_target_is_the_maximum_of_the_cones():
    cone = EDTHeatmap([4.0, 4.0])
    points = torch.tensor([[[[3.0, 3.0], [9.0, 8.0], [NAN, NAN]]]])
    logits = torch.full((1, 1, 14, 14), 40.0)
    loss = OnLogits(TopKBCELoss(cone, 1.0))(logits, points, torch.ones(1, 1, dtype=torch.long))
    heatmap = torch.maximum(cone(points[:, 0, :1], (14, 14)), cone(points[:, 0, 1:2], (14, 14)))
    # For a large logit x the cross-entropy is x (1 - target).
    assert float(loss) == pytest.approx(float((40.0 * (1 - heatmap)).mean()), rel=1e-5)


def test_the_cross_entropy_is_against_the_mixture():
    gaussian = GaussianTarget(1.0)
    points = torch.tensor([[[[3.0, 3.0], [9.0, 8.0], [50.0, 2.0]]]])
    logits = torch.randn(1, 1, 14, 14, generator=torch.Generator().manual_seed(0), dtype=torch.float64).float()
    loss = OnLogits(SpatialCrossEntropyLoss(gaussian))(logits, points, torch.ones(1, 1, dtype=torch.long))
    maps = [torch.outer(*[factor[0, 0] for factor in gaussian.factors(points[:, :, k], (14, 14))]) for k in range(2)]
    expected = torch.logsumexp(logits.flatten(), 0) - ((maps[0] + maps[1]) / 2 * logits[0, 0]).sum()
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("size", [(9, 8), (6, 5, 7)])
def test_gradients_against_differences(size: tuple[int, ...]):
    known, dims = instances(many=1, pair=True), len(size)
    rng = torch.Generator().manual_seed(1)
    rows = len(known.channels)
    points = torch.rand(2, rows, dims, generator=rng) * (torch.tensor(size) - 1)
    status = torch.tensor([[1, 1, 1, 1, 1, 0], [1, 1, 0, -1, 0, 0]])
    points[status != 1] = NAN
    parts = [TopKBCELoss(EDTHeatmap([4.0] * dims), 0.3), SpatialCrossEntropyLoss(GaussianTarget(1.0))]
    loss = StagesLoss({"fine": WeightedLoss(parts, [1.0, 0.5])}, instances=known)
    logits = torch.randn(2, 4, *size, generator=rng).requires_grad_()

    def value(at: torch.Tensor) -> torch.Tensor:
        return staged(loss, at, points, status)

    value(logits).backward()
    for _ in range(3):
        direction = torch.randn(logits.shape, generator=rng)
        step = 2e-3
        with torch.no_grad():
            slope = (value(logits + step * direction) - value(logits - step * direction)) / (2 * step)
        assert float(slope) == pytest.approx(float((logits.grad * direction).sum()), rel=0.02, abs=1e-3)


def test_one_instance_is_the_plain_loss():
    known = instances(many=1)
    logits = torch.randn(2, 2, 10, 10, generator=torch.Generator().manual_seed(2))
    points = torch.tensor([[[3.0, 4.0], [7.0, 7.0]], [[2.0, 2.0], [5.0, 5.0]]])
    status = torch.tensor([[1, 1], [1, 0]])
    empty = torch.full((2, 2, 2), NAN)
    rows = {"points": torch.cat([points, empty], 1), "status": torch.cat([status, torch.zeros(2, 2, dtype=int)], 1)}
    several = staged(StagesLoss({"fine": fused()}, instances=known), logits, **rows)
    plain = staged(StagesLoss({"fine": fused()}), logits, points, status)
    assert float(several) == pytest.approx(float(plain), rel=1e-6)


def brute_force(heatmap: np.ndarray, distance: float, most: int, floor: float) -> list[tuple[int, ...]]:
    """Local maxima by looking at every neighbour, then greedy."""
    peaks = []
    for voxel in np.ndindex(heatmap.shape):
        around = tuple(slice(max(0, v - 1), v + 2) for v in voxel)
        if heatmap[voxel] >= floor and heatmap[voxel] >= heatmap[around].max():
            peaks.append(voxel)
    kept: list[tuple[int, ...]] = []
    for voxel in sorted(peaks, key=lambda v: -heatmap[v]):
        if len(kept) < most and all(math.dist(voxel, other) >= distance for other in kept):
            kept.append(voxel)
    return kept


@pytest.mark.parametrize("size", [(17, 13), (9, 11, 8)])
@pytest.mark.parametrize("seed", range(4))
def test_suppression_against_brute_force(size: tuple[int, ...], seed: int):
    heatmap = torch.randn(*size, generator=torch.Generator().manual_seed(seed))
    found = find_peaks(heatmap, [1.0] * len(size), 3.5, 6, 0.1)
    voxels = [tuple(map(int, np.unravel_index(int(index), size))) for index in found]
    assert voxels == brute_force(heatmap.numpy(), 3.5, 6, 0.1)


def test_suppression_counts_millimetres_and_stops():
    points = torch.tensor([[0.0, 0], [0, 2], [0, 4.0]])
    assert suppress(points, 3.0, 9) == [0, 2]
    assert suppress(points, 1.0, 2) == [0, 1]
    assert local_maxima(torch.zeros(4, 4), 0.5).tolist() == []
    assert len(find_peaks(torch.zeros(4, 4), [1.0, 1.0], 99.0, 9, -1.0)) == 1


def test_instances_are_decoded_below_a_voxel():
    truth = torch.tensor([[4.3, 5.8, 6.0], [14.6, 5.1, 6.4], [10.2, 14.5, 6.7]])
    cones = EDTHeatmap([4.0] * 3)(truth[None], (20, 20, 14))[0]
    logits = torch.logit(cones.amax(0) * 0.98 + 0.01)[None]
    logits = torch.cat([logits, torch.logit(cones[:1] * 0.98 + 0.01)])
    decoder = InstanceDecoder(ArgmaxDecoder("sigmoid", 4.0), instances(many=1, rows=5), [1.0] * 3, reach_mm=6.0)
    points, confidence, covariance = decoder(logits)
    assert points.shape == (6, 3) and covariance.shape == (6, 3, 3)
    found = points[[0, 2, 3]]
    for point in truth:
        assert torch.linalg.vector_norm(found - point, dim=1).min() < 0.1
    assert torch.isnan(points[4:]).all()
    assert (confidence[[0, 2, 3]] > 0.7).all()
    assert torch.linalg.vector_norm(points[1] - truth[0]) < 0.1


def test_a_pair_always_gets_two_points():
    decoder = InstanceDecoder(ArgmaxDecoder(), instances(pair=True), [1.0, 1.0], reach_mm=6.0)
    single = -((torch.stack(torch.meshgrid(*[torch.arange(16.0)] * 2, indexing="ij"), -1) - 8.0) ** 2).sum(-1)
    points, _, _ = decoder(single.expand(3, 16, 16))
    assert torch.linalg.vector_norm(points[0] - points[1]) >= 2.5
    assert torch.linalg.vector_norm(points[0] - 8.0) < 0.1


def trained_logits(loss: StagesLoss, orders: list[bool], ends: torch.Tensor) -> torch.Tensor:
    """Free logits (2, 20, 20) that one image gets when its two equal ends are named in a random order each time."""
    logits = torch.full((1, 2, 20, 20), -3.0, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.2)
    for order in orders:
        points = (ends.flip(0) if order else ends)[None]
        optimizer.zero_grad()
        staged(loss, logits, points, torch.ones(1, 2, dtype=torch.long)).backward()
        optimizer.step()
    return logits.detach()[0]


def test_a_plain_target_takes_one_end_twice_and_the_shared_one_never():
    ends = torch.tensor([[5.0, 5.0], [14.0, 13.0]])
    known = Instances(("a", "b"), (1, 1), (False, False), ((0, 1),), (4.0, 4.0), (0.5, 0.5))
    plain, shared, seeds = 0, 0, 12
    for seed in range(seeds):
        orders = (np.random.default_rng(seed).random(60) < 0.5).tolist()
        found = ArgmaxDecoder()(trained_logits(StagesLoss({"fine": fused()}), orders, ends))[0]
        # Each channel follows the last names that it saw, and where a test image has no such memory, by chance.
        image = trained_logits(StagesLoss({"fine": fused()}, instances=known), orders, ends)
        both = InstanceDecoder(ArgmaxDecoder(), known, [1.0, 1.0], reach_mm=6.0)(image)[0]
        plain += _wrong(found, ends, in_order=True)
        shared += _wrong(both, ends, in_order=False)
    assert plain >= seeds // 4
    assert shared == 0


def _wrong(found: torch.Tensor, ends: torch.Tensor, *, in_order: bool) -> bool:
    orders = [ends] if in_order else [ends, ends.flip(0)]
    return all(float(torch.linalg.vector_norm(found - order, dim=1).max()) > 1.0 for order in orders)


def test_the_table_is_read(tmp_path: Path):
    rows = [
        {
            "name": "bud left",
            "pair": "bud right",
            "instances": "many",
            "most_instances": 2,
            "min_distance_mm": 3.0,
            "match_mm": 6.0,
        },
        {"name": "bud right", "pair": "bud left", "instances": "many", "most_instances": 2, "min_distance_mm": 3.0},
        {"name": "a", "pair": None, "exchangeable": "b", "min_distance_mm": 5.0},
        {"name": "b", "pair": None, "exchangeable": "a", "min_distance_mm": 5.0},
        {"name": "old", "pair": None},
    ]
    table = tmp_path / "landmarks.json"
    table.write_text(json.dumps({"spatial_dims": 3, "landmarks": rows}))
    known = read_instances(table, tmp_path)
    assert known.exchangeable == ((2, 3),)
    assert known.many == (True, True, False, False, False)
    assert known.thresholds == (0.5,) * 5
    # A table of an earlier version has one distance for both.
    assert known.match_limits == (6.0, 3.0, 5.0, 5.0, 0.0)
    assert read_row_mirror(table) == (1, 0, 2, 3, 4, 6, 5)
    for fold, threshold in ((0, 0.2), (1, 0.4)):
        (tmp_path / f"fold_{fold}").mkdir()
        text = json.dumps({"thresholds": {"bud left": threshold}})
        (tmp_path / f"fold_{fold}" / "instances.json").write_text(text)
    (tmp_path / "ensemble.json").write_text(json.dumps({"files": ["fold_0/model.pt", "fold_1/model.pt"]}))
    assert read_instances(table, tmp_path).thresholds[:2] == pytest.approx((0.3, 0.5))
