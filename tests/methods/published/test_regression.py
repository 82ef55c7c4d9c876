"""Mean squared error, adaptive wing loss and the check of sides, against closed forms."""

import json
import math

import pytest
import torch
from contract_parts import LANDMARKS, SPACING, parts_of, plan_of
from peak_memory import PeakMemory

from auto_config.bundle import configs
from auto_config.bundle_scripts.methods.decoders import ArgmaxDecoder
from auto_config.bundle_scripts.methods.gaussians.losses import AdaptiveWingLoss, HeatmapMSELoss
from auto_config.bundle_scripts.methods.gaussians.maps import GaussianHeatmap, LaplacianHeatmap
from auto_config.bundle_scripts.methods.gaussians.sides import SideCheckDecoder, read_sides, sides_of
from auto_config.bundle_scripts.methods.heatmap import EDTHeatmap
from auto_config.bundle_scripts.methods.interfaces import LOGITS, PointBatch
from auto_config.methods import METHODS

SIZES = {2: (9, 11), 3: (9, 8, 7)}
NAN = float("nan")
TARGETS = {
    "gaussian": lambda dims: GaussianHeatmap([1.5, 1.0, 2.0][:dims]),
    "laplacian": lambda dims: LaplacianHeatmap([1.5, 1.0, 2.0][:dims]),
    "cone": lambda dims: EDTHeatmap([3.0] * dims),
}
LOSSES = {"mse": HeatmapMSELoss, "wing": AdaptiveWingLoss}


def truth(points, status):
    return PointBatch(torch.as_tensor(points, dtype=torch.float32)[:, :, None], torch.as_tensor(status))


def of_voxel(name, logit, target, foreground):
    """The loss of one voxel by the formula of its publication, in plain Python."""
    if name == "mse":
        return (1 / (1 + math.exp(-logit)) - target) ** 2
    omega, epsilon, alpha, theta = 14.0, 1.0, 2.1, 0.5
    error, power = abs(logit - target), alpha - target
    slope = omega / (1 + (theta / epsilon) ** power) * power * (theta / epsilon) ** (power - 1) / epsilon
    constant = theta * slope - omega * math.log(1 + (theta / epsilon) ** power)
    loss = omega * math.log(1 + (error / epsilon) ** power) if error < theta else slope * error - constant
    return loss * (11 if foreground else 1)


def mean_loss(name, logits, target):
    """Mean over the voxels of a channel; foreground is what has a neighbour, or is itself, 0.2 or more."""
    near = torch.zeros_like(target, dtype=torch.bool)
    for index in (target >= 0.2).nonzero():
        near[tuple(slice(max(0, i - 1), i + 2) for i in index.tolist())] = True
    values = zip(logits.flatten().tolist(), target.flatten().tolist(), near.flatten().tolist(), strict=True)
    found = [of_voxel(name, *value) for value in values]
    return sum(found) / len(found)


EVERY = pytest.mark.parametrize(
    ("name", "target", "dims"), [(name, target, dims) for name in LOSSES for target in TARGETS for dims in (2, 3)]
)


@EVERY
def test_a_loss_is_that_of_its_voxels(name, target, dims):
    size, made = SIZES[dims], TARGETS[target](dims)
    logits = torch.randn((1, 3, *size), generator=torch.Generator().manual_seed(dims))
    points = torch.tensor([[[4.3] * dims, [-0.8] * dims, [NAN] * dims]])
    found = LOSSES[name](made)({LOGITS: logits}, truth(points, [[1, 1, 0]]), size)
    maps = made(points, size)[0]
    assert not maps[2].any()
    expected = sum(mean_loss(name, one, target) for one, target in zip(logits[0], maps, strict=True)) / 3
    assert float(found) == pytest.approx(expected, rel=1e-4)


@EVERY
def test_gradients_are_those_of_finite_differences_and_unknown_has_none(name, target, dims):
    size = SIZES[dims]
    logits = torch.randn((1, 3, *size), generator=torch.Generator().manual_seed(9)).requires_grad_()
    points = truth([[[4.3] * dims, [NAN] * dims, [300.0] * dims]], [[1, -1, 1]])
    loss = LOSSES[name](TARGETS[target](dims))
    value = loss({LOGITS: logits}, points, size)
    (gradient,) = torch.autograd.grad(value, logits)
    assert torch.isfinite(value) and torch.isfinite(gradient).all()
    assert not gradient[0, 1].any()
    direction = torch.randn(logits.shape, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        high, low = (loss({LOGITS: logits + side * 1e-3 * direction}, points, size) for side in (1, -1))
    assert float(high - low) / 2e-3 == pytest.approx(float((gradient * direction).sum()), rel=2e-2, abs=5e-3)
    nothing = loss({LOGITS: logits}, truth([[[NAN] * dims] * 3], [[-1] * 3]), size)
    assert float(nothing) == 0.0
    assert not torch.autograd.grad(nothing, logits)[0].any()


def test_adaptive_wing_is_smooth_where_the_straight_line_begins():
    loss = AdaptiveWingLoss(GaussianHeatmap([1.0, 1.0]))
    target = torch.tensor([0.0, 0.4, 1.0])
    for side in (-1e-4, 1e-4):
        error = torch.full((3,), 0.5 + side, requires_grad=True)
        value = loss.of(error, target)
        (slope,) = torch.autograd.grad(value.sum(), error)
        if side < 0:
            below, slope_below = value, slope
    torch.testing.assert_close(value, below, atol=5e-3, rtol=0)
    torch.testing.assert_close(slope, slope_below, atol=5e-3, rtol=1e-3)
    # At no error at all there is no slope, whatever the exponent.
    error = torch.zeros(3, requires_grad=True)
    assert torch.autograd.grad(loss.of(error, target).sum(), error)[0].tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("eye left", "eye right", "nose"), ((0, 1),)),
        (("eye_R", "eye_L", "nose"), ((1, 0),)),
        (("RightEye", "LeftEye", "nose"), ()),
        (("Left 1", "Right 1", "Left 2"), ((0, 1),)),
        (("lens", "rib", "nose"), ()),
    ],
)
def test_names_say_which_of_a_pair_is_left(names, expected):
    assert sides_of(names, [1, 0, 2]) == expected


def heatmaps(places, peaks):
    """Logits ``(3, 12, 9, 9)`` with a cone at each place."""
    heat = EDTHeatmap([5, 5, 5])(torch.tensor([places]), (12, 9, 9))[0]
    height = torch.tensor(peaks)[:, None, None, None]
    return {LOGITS: heat * (height + 6) - 6}


def test_points_on_the_wrong_side_change_places_with_all_that_is_known_of_them(tmp_path):
    path = tmp_path / "landmarks.json"
    items = [
        {"name": "ear left", "pair": "ear right"},
        {"name": "ear right", "pair": "ear left"},
        {"name": "a", "pair": None},
    ]
    path.write_text(json.dumps({"landmarks": items}), encoding="utf-8")
    assert read_sides(path) == ((0, 1),)
    decoder = SideCheckDecoder(ArgmaxDecoder("sigmoid", 5.0), path)
    plain = ArgmaxDecoder("sigmoid", 5.0)
    right, left, middle = [9.0, 4.0, 4.0], [2.0, 3.0, 4.0], [5.0, 5.0, 5.0]
    crossed = heatmaps([right, left, middle], [4.0, 3.0, 4.0])
    found, before = decoder.decode(crossed), plain.decode(crossed)
    torch.testing.assert_close(found.points, torch.tensor([left, right, middle]), atol=0.05, rtol=0)
    torch.testing.assert_close(found.confidence, before.confidence[[1, 0, 2]])
    torch.testing.assert_close(found.covariance, before.covariance[[1, 0, 2]])
    torch.testing.assert_close(decoder.density(crossed), plain.density(crossed)[[1, 0, 2]])
    # In order already, or one of them not found: as they are.
    for output in (heatmaps([left, right, middle], [4.0] * 3), heatmaps([right, left, middle], [4.0, -3.0, 4.0])):
        torch.testing.assert_close(decoder.decode(output).points, plain.decode(output).points)
        torch.testing.assert_close(decoder.density(output), plain.density(output))


def test_sides_are_checked_in_whole_volumes_alone():
    """A point of a fine crop is in the voxels of its own crop, and a picture has no left."""
    method = METHODS["nnlandmark_v1"]

    def checked(dims, stages):
        plan = plan_of(method.name, dims, stages)
        return ["Side" in method.parts(plan, stage).decoder["_target_"] for stage in plan.value("stages")]

    assert checked(3, None) == [True]
    assert checked(3, 2) == [True, False]
    assert checked(2, None) == [False]


@pytest.mark.parametrize("finest", [1.0, 0.4])
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("stages", [1, 2])
def test_first_gaussians_of_nnlandmark_have_a_sigma_of_four_voxels_of_the_finest_axis(dims, stages, finest):
    """On the grid of each stage: as wide in millimetres along each axis, and exp(-1/2) high at one sigma."""
    plan = plan_of("nnlandmark_v1", dims, stages, spacing=tuple(finest * step for step in SPACING[:dims]))
    written = configs.train_config(plan, LANDMARKS, "/nowhere", 0)
    for part in parts_of(plan):
        spacing = part.stage["spacing"]
        width_mm = 4 * min(spacing)
        sigma = written["target" if part.name == "fine" else "coarse_target"]["sigma"]
        assert [width * step for width, step in zip(sigma, spacing, strict=True)] == pytest.approx(
            [width_mm] * dims, rel=1e-4
        )
        size = [17] * dims
        maps = part.loss.target(torch.tensor([[[8.0] * dims]]), size)[0, 0]
        assert float(maps[(8,) * dims]) == 1.0
        for axis, step in enumerate(spacing):
            line = maps[tuple(slice(None) if d == axis else 8 for d in range(dims))]
            distance = (torch.arange(17.0) - 8) * step
            torch.testing.assert_close(line, torch.exp(-0.5 * (distance / width_mm).square()), atol=1e-4, rtol=0)
        assert min(spacing) < max(spacing)


@pytest.mark.parametrize(("method", "name"), [("nnlandmark_v1", "mse"), ("adaptive_wing", "wing")])
def test_bytes_that_losses_on_heatmaps_hold(method, name):
    size = (24, 24, 24)
    half = torch.randn((2, 2, *size), generator=torch.Generator().manual_seed(0)).bfloat16().requires_grad_()
    points = truth(torch.full((2, 2, 3), 11.3), [[1, 1]] * 2)
    with PeakMemory() as memory:
        LOSSES[name](GaussianHeatmap([4.0] * 3))({LOGITS: half.float()}, points, size).backward()
    limit = METHODS[method].loss_bytes_per_voxel
    assert 0.8 * limit < memory.peak / half.numel() <= limit
