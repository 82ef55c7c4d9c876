"""Losses against dense references written down here, closed forms and finite differences."""

import math

import numpy as np
import pytest
import torch
from peak_memory import PeakMemory
from scipy import ndimage
from stage_networks import OnLogits

from auto_config.bundle_scripts.methods import losses
from auto_config.bundle_scripts.methods.heatmap import EDTHeatmap, GaussianTarget
from auto_config.bundle_scripts.methods.losses import StagesLoss, inside_patch
from auto_config.methods import METHODS

SIZE = (9, 10, 8)
NAN = float("nan")


def TopKBCELoss(*arguments):  # noqa: N802
    return OnLogits(losses.TopKBCELoss(*arguments))


def SpatialCrossEntropyLoss(*arguments):  # noqa: N802
    return OnLogits(losses.SpatialCrossEntropyLoss(*arguments))


def WeightedLoss(parts, weights):  # noqa: N802
    return OnLogits(losses.WeightedLoss([part.loss for part in parts], weights))


@pytest.fixture(autouse=True, params=["channels", "batch"])
def way(request, monkeypatch):
    """Losses go through the channels, as of large ones on a CPU, or take the whole batch."""
    monkeypatch.setattr(losses, "by_channels", lambda _logits: request.param == "channels")
    return request.param


def case(seed=0, landmarks=3, batch=2, size=SIZE):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn((batch, landmarks, *size), generator=generator)
    points = 2 + 4 * torch.rand((batch, landmarks, len(size)), generator=generator)
    return logits.requires_grad_(), points, torch.ones((batch, landmarks), dtype=torch.int64)


def dense_cone(point, size, radius):
    grid = torch.stack(torch.meshgrid(*[torch.arange(float(n)) for n in size], indexing="ij"), -1)
    return (1 - (grid - point).norm(dim=-1) / math.sqrt(radius**2 + 1)).clamp(min=0)


def bce(logits, target):
    return torch.nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none")


@pytest.mark.parametrize("fraction", [0.1, 0.2, 1.0])
def test_top_k_is_the_mean_of_the_hardest_voxels_of_each_channel(fraction):
    logits, points, status = case()
    loss = TopKBCELoss(EDTHeatmap([5, 5, 5]), fraction)(logits, points, status)
    keep = round(fraction * math.prod(SIZE))
    hardest = []
    for b in range(2):
        for k in range(3):
            dense = bce(logits[b, k], dense_cone(points[b, k], SIZE, 5)).flatten()
            hardest.append(dense.sort(descending=True).values[:keep])
    expected = torch.cat(hardest).mean()
    torch.testing.assert_close(loss, expected)
    ours = torch.autograd.grad(loss, logits)[0]
    torch.testing.assert_close(ours, torch.autograd.grad(expected, logits)[0], rtol=1e-4, atol=1e-8)


def reference_heatmap(size, center):
    """What nnLandmark pastes at a landmark: the distance transform of a ball of radius 15, divided by its maximum."""
    axis = np.arange(-16, 17)
    template = ndimage.distance_transform_edt(sum(np.meshgrid(*[axis**2] * 3, indexing="ij")) <= 15**2)[
        1:-1, 1:-1, 1:-1
    ]
    pasted = np.zeros(size, dtype=np.float32)
    pasted[tuple(slice(c - 15, c + 16) for c in center)] = template / template.max()
    return torch.from_numpy(pasted)


def reference_loss(logits, heatmap):
    """What nnLandmark trains on: binary cross-entropy, the hardest 20 % of the voxels of a channel."""
    return bce(logits, heatmap).flatten().topk(round(0.2 * heatmap.numel())).values.mean()


@pytest.mark.parametrize(("size", "perfect", "constant"), [((48, 96, 56), 0.1355, 0.312), ((128,) * 3, 0.0167, 0.054)])
def test_numbers_of_the_reference(size, perfect, constant):
    """nnLandmark's own loss of a perfect prediction and of a constant logit of -4, as measured there."""
    center = [n // 2 for n in size]
    pasted = reference_heatmap(size, center)
    low = torch.full(size, -4.0)
    assert reference_loss(torch.logit(pasted.clamp(1e-7, 1 - 1e-7)), pasted) == pytest.approx(perfect, rel=0.01)
    assert reference_loss(low, pasted) == pytest.approx(constant, rel=0.01)

    target, point, status = EDTHeatmap([15, 15, 15]), torch.tensor([[center]]).float(), torch.ones(1, 1)
    heatmap, loss = target(point, size), TopKBCELoss(target, 0.2)
    # The outermost voxels of its template are 0.067, where our cone falls to 0: 4 to 7 % of what is measured here.
    ours = loss(torch.logit(heatmap.clamp(1e-7, 1 - 1e-7)), point, status)
    assert ours == pytest.approx(perfect, rel=0.08)
    assert loss(low[None, None], point, status) == pytest.approx(constant, rel=0.07)
    # On our own heatmap the two losses are one.
    same = reference_loss(torch.logit(heatmap[0, 0].clamp(1e-7, 1 - 1e-7)), heatmap[0, 0])
    assert ours == pytest.approx(float(same), rel=1e-4)


def test_on_a_voxel_centre_the_loss_is_that_of_the_reference():
    size, center = (40, 40, 40), (18, 22, 20)
    logits = torch.randn((1, 1, *size), generator=torch.Generator().manual_seed(1))
    ours = TopKBCELoss(EDTHeatmap([15, 15, 15]), 0.2)(logits, torch.tensor([[center]]).float(), torch.ones(1, 1))
    assert ours == pytest.approx(float(reference_loss(logits[0, 0], reference_heatmap(size, center))), rel=5e-3)


def test_a_landmark_outside_of_the_patch_has_its_part_of_the_cone_as_target():
    logits, points, status = case(landmarks=1, batch=1)
    points = torch.tensor([[[-2.5, 4.0, 4.0]]])
    loss = TopKBCELoss(EDTHeatmap([5, 5, 5]), 1.0)(logits, points, status)
    torch.testing.assert_close(loss, bce(logits[0, 0], dense_cone(points[0, 0], SIZE, 5)).mean())
    empty = bce(logits[0, 0], torch.zeros(SIZE)).mean()
    assert abs((loss - empty).item()) > 1e-4


def test_an_absent_landmark_is_pushed_to_an_empty_heatmap():
    logits, points, status = case(landmarks=1, batch=1)
    status[:] = 0
    for point in (points, torch.full_like(points, NAN)):
        loss = TopKBCELoss(EDTHeatmap([5, 5, 5]), 1.0)(logits, point, status)
        torch.testing.assert_close(loss, bce(logits[0, 0], torch.zeros(SIZE)).mean())
    assert (torch.autograd.grad(loss, logits)[0] > 0).all()


LOSSES = {
    "bce": TopKBCELoss(EDTHeatmap([5, 5, 5]), 0.2),
    "ce": SpatialCrossEntropyLoss(GaussianTarget(1.0)),
    "both": WeightedLoss(
        [TopKBCELoss(EDTHeatmap([5, 5, 5])), SpatialCrossEntropyLoss(GaussianTarget(1.0))], [1.0, 0.1]
    ),
}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_an_unknown_landmark_has_exactly_no_gradient_and_changes_nothing(loss):
    logits, points, status = case()
    status[0, 1] = -1
    points[0, 1] = NAN
    value = loss(logits, points, status)
    gradient = torch.autograd.grad(value, logits)[0]
    assert (gradient[0, 1] == 0).all()
    assert gradient.isfinite().all()
    assert (gradient[0, 0] != 0).any()
    other = logits.detach().clone()
    other[0, 1] = 1e3
    assert loss(other, points, status) == value


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_a_batch_without_any_known_landmark_gives_zero_that_can_be_trained_on(loss):
    logits, points, status = case()
    value = loss(logits, torch.full_like(points, NAN), torch.full_like(status, -1))
    assert value == 0
    assert (torch.autograd.grad(value, logits)[0] == 0).all()


def test_cross_entropy_against_a_dense_gaussian():
    logits, points, status = case()
    points[0, 0, 0] = -0.6  # just outside
    status[1, 2] = 0
    loss = SpatialCrossEntropyLoss(GaussianTarget(1.3))(logits, points, status)
    grid = torch.stack(torch.meshgrid(*[torch.arange(float(n)) for n in SIZE], indexing="ij"), -1)
    parts = []
    for b, k in [(0, 1), (0, 2), (1, 0), (1, 1)]:
        target = torch.softmax((-0.5 * (grid - points[b, k]).square().sum(-1) / 1.3**2).flatten(), 0)
        parts.append(-(target * torch.log_softmax(logits[b, k].flatten(), 0)).sum())
    expected = torch.stack(parts).mean()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(
        torch.autograd.grad(loss, logits)[0], torch.autograd.grad(expected, logits)[0], rtol=1e-4, atol=1e-7
    )


@pytest.mark.parametrize("value", [-4.0, 0.0, 50.0, 2e4])
def test_cross_entropy_of_constant_logits_is_the_logarithm_of_the_number_of_voxels(value):
    _, points, status = case()
    loss = SpatialCrossEntropyLoss(GaussianTarget(1.0))(torch.full((2, 3, *SIZE), value), points, status)
    assert loss == pytest.approx(math.log(math.prod(SIZE)), rel=1e-4, abs=abs(value) * 1e-6)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_gradients_by_finite_differences(loss):
    logits, points, status = case(seed=4)
    status[0, 0] = 0
    gradient = torch.autograd.grad(3.0 * loss(logits, points, status), logits)[0]
    direction = torch.randn(logits.shape, generator=torch.Generator().manual_seed(9))
    step = 1e-3
    with torch.no_grad():
        change = loss(logits + step * direction, points, status) - loss(logits - step * direction, points, status)
    assert 3.0 * float(change) / (2 * step) == pytest.approx(float((gradient * direction).sum()), rel=2e-2)


def test_gradients_that_tie_are_shared():
    """A constant map: every voxel of the background is as hard as every other, so all learn."""
    logits = torch.full((1, 1, 8, 8, 8), -4.0, requires_grad=True)
    loss = TopKBCELoss(EDTHeatmap([2, 2, 2]), 0.2)(logits, torch.full((1, 1, 3), NAN), torch.zeros(1, 1))
    assert loss.item() == pytest.approx(math.log1p(math.exp(-4.0)), rel=1e-5)
    gradient = torch.autograd.grad(loss, logits)[0]
    # Whichever voxels are taken, their sum is that of the mean.
    assert float(gradient.sum()) == pytest.approx(1 / (1 + math.exp(4.0)), rel=1e-4)


def masked_top_k(logits, target, keep):
    """Mean of the hardest voxels and its gradient, by masks: what is above the last place counts, ties share it."""
    loss = torch.nn.functional.softplus(logits) - logits * target
    hardest = loss.topk(keep, dim=1).values
    threshold = hardest.amin(1, keepdim=True)
    tied = loss == threshold
    share = (keep - (hardest > threshold).sum(1, keepdim=True)) / tied.sum(1, keepdim=True)
    counted = (loss > threshold).float() + tied * share
    return hardest.mean(), (logits.sigmoid() - target) * counted / (len(logits) * keep)


@pytest.mark.parametrize("levels", [0, 3])
def test_the_hardest_voxels_are_chosen_without_masks_and_ties_share_the_last_place(levels):
    generator = torch.Generator().manual_seed(levels)
    logits, target = torch.randn((4, 500), generator=generator), torch.rand((4, 500), generator=generator)
    if levels:  # few values, so that many voxels tie
        logits, target = (logits * levels).round() / levels, target.round()
    logits.requires_grad_()
    loss, gradient = masked_top_k(logits.detach(), target, 100)
    ours = losses._TopKBCE.apply(logits, target.clone(), 100)
    torch.testing.assert_close(ours, loss, rtol=1e-6, atol=0)
    torch.testing.assert_close(torch.autograd.grad(ours, logits)[0], gradient, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("method", "parts", "most"), [("nnlandmark", (1,), 16.1), ("default", (1, 1), 20.2)])
def test_bytes_that_the_losses_hold_for_each_voxel_and_landmark(method, parts, most, monkeypatch):
    """What the planner counts: with the logits in single precision and their gradient."""
    monkeypatch.setattr(losses, "by_channels", lambda _logits: False)
    size = (24, 24, 24)
    both = (losses.TopKBCELoss(EDTHeatmap([15] * 3)), losses.SpatialCrossEntropyLoss(GaussianTarget(1.0)))
    loss = OnLogits(losses.WeightedLoss(list(both[: len(parts)]), list(parts)))
    half = torch.randn((2, 4, *size), generator=torch.Generator().manual_seed(0)).bfloat16().requires_grad_()
    points, status = torch.full((2, 4, 3), 11.3), torch.ones((2, 4), dtype=torch.int64)
    with PeakMemory() as memory:
        loss(half.float(), points, status).backward()
    assert most - 0.2 < memory.peak / half.numel() < most
    assert most - 0.1 <= METHODS[method].loss_bytes_per_voxel


def test_weights_and_stages_add_up():
    logits, points, status = case()
    parts = [LOSSES["bce"], LOSSES["ce"]]
    values = [part(logits, points, status) for part in parts]
    both = WeightedLoss(parts, [1.0, 0.1])
    torch.testing.assert_close(both(logits, points, status), values[0] + 0.1 * values[1])
    stages = StagesLoss({"coarse": parts[0].loss, "fine": both.loss})
    targets = {"points": points, "status": status, "size": SIZE}
    output = {"logits": logits}
    total = stages({"coarse": output, "fine": output}, {"coarse": targets, "fine": targets})
    torch.testing.assert_close(total, 2 * values[0] + 0.1 * values[1])
    with pytest.raises(ValueError, match="as many weights"):
        WeightedLoss(parts, [1.0])


def test_half_precision_logits_are_judged_in_single_precision():
    logits, points, status = case()
    half = logits.detach().to(torch.bfloat16)
    for loss in LOSSES.values():
        assert loss(half, points, status) == loss(half.float(), points, status)


def test_inside_counts_the_half_voxel_at_the_border():
    points = torch.tensor([[-0.5, 0.0], [3.5, 1.5], [3.6, 0.0], [0.0, -0.51], [NAN, 1.0]])
    assert inside_patch(points, (4, 2)).tolist() == [True, True, False, False, False]


@pytest.mark.parametrize("fraction", [0.0, 1.1, -1.0])
def test_a_fraction_is_above_zero_and_at_most_one(fraction):
    with pytest.raises(ValueError, match="fraction of hardest voxels"):
        TopKBCELoss(EDTHeatmap([5, 5, 5]), fraction)
