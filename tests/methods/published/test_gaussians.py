"""Gaussians with learnt widths and rotation: maps, losses, gradients, fit and decoder against closed forms."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peak_memory import PeakMemory
from scipy.spatial.transform import Rotation
from scipy.stats import multivariate_normal

from auto_config.bundle_scripts.methods.gaussians.decoder import LearntPeakDecoder, PeakDecoder
from auto_config.bundle_scripts.methods.gaussians.fit import NARROWEST, fitted_covariance
from auto_config.bundle_scripts.methods.gaussians.learnt import LearntCovarianceLoss, LearntSigmaLoss
from auto_config.bundle_scripts.methods.gaussians.maps import (
    GaussianHeatmap,
    LaplacianHeatmap,
    peak_height,
    precision_of,
    rotation_matrix,
    squared_distance,
)
from auto_config.bundle_scripts.methods.interfaces import LOGITS, PointBatch
from auto_config.methods import METHODS

SIZES = {2: (15, 18), 3: (13, 15, 11)}
ASPECT = {2: [1.0, 1.25], 3: [1.0, 1.25, 3.0]}
ANGLES = {2: 1, 3: 3}
GAMMA = {2: 100.0, 3: 1000.0}
NAN = float("nan")


def grid(size):
    return torch.stack(torch.meshgrid(*[torch.arange(float(n)) for n in size], indexing="ij"), -1)


def dense(point, covariance, size, gamma):
    """gamma times the density of a normal distribution at each voxel, by scipy; covariance in voxel^2."""
    return torch.from_numpy(
        gamma * multivariate_normal(np.asarray(point), np.asarray(covariance)).pdf(grid(size).numpy())
    )


def truth(points, status):
    return PointBatch(torch.as_tensor(points, dtype=torch.float32)[:, :, None], torch.as_tensor(status))


def covariance_of(log_sigma, angles, aspect):
    """R diag(sigma^2) R^T in voxels of the grid, with scipy's rotations."""
    sigma = np.exp(np.asarray(log_sigma))
    if len(sigma) == 2:
        turn = np.array([[np.cos(angles[0]), -np.sin(angles[0])], [np.sin(angles[0]), np.cos(angles[0])]])
    else:
        turn = Rotation.from_rotvec(angles).as_matrix()
    return turn @ np.diag(sigma**2) @ turn.T / np.outer(aspect, aspect)


CASES = {
    2: ([0.7, 1.2], [0.6]),
    3: ([0.7, 1.2, 1.0], [0.4, -0.7, 0.9]),
}
"""Logarithms of widths and angles."""


@pytest.mark.parametrize("dims", [2, 3])
@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_rotations_are_those_of_scipy(dims, data):
    angles = [data.draw(st.floats(-3, 3, width=32)) for _ in range(ANGLES[dims])]
    found = rotation_matrix(torch.tensor([angles]))[0]
    if dims == 3:
        expected = Rotation.from_rotvec(angles).as_matrix()
    else:
        expected = Rotation.from_euler("z", angles[0]).as_matrix()[:2, :2]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("dims", [2, 3])
def test_a_rotated_gaussian_is_that_of_scipy_on_an_anisotropic_grid(dims):
    size, aspect, (log_sigma, angles) = SIZES[dims], ASPECT[dims], CASES[dims]
    point = [n / 2 + 0.3 for n in size]
    sigma = torch.tensor([log_sigma]).exp()
    precision = precision_of(sigma, rotation_matrix(torch.tensor([angles])), aspect)
    made = torch.exp(-0.5 * squared_distance(torch.tensor([point]), precision, size))[0] * peak_height(
        GAMMA[dims], sigma
    )
    # In voxels of the finest axis the integral is gamma, so on the grid it is gamma over the volume of a voxel.
    expected = dense(point, covariance_of(log_sigma, angles, aspect), size, GAMMA[dims] / np.prod(aspect))
    torch.testing.assert_close(made.double(), expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("heatmap", [GaussianHeatmap, LaplacianHeatmap])
def test_fixed_heatmaps_fall_as_they_say(dims, heatmap):
    size, sigma = SIZES[dims], [2.0, 1.5, 1.0][:dims]
    point = torch.tensor([n / 2 - 0.2 for n in size])
    distance = ((grid(size) - point) / torch.tensor(sigma)).norm(dim=-1)
    expected = torch.exp(-0.5 * distance**2) if heatmap is GaussianHeatmap else torch.exp(-math.sqrt(3) * distance)
    points = torch.stack([point, torch.full((dims,), NAN), torch.full((dims,), -2.0), torch.full((dims,), 500.0)])[None]
    made = heatmap(sigma)(points, size)[0]
    torch.testing.assert_close(made[0], expected, atol=1e-5, rtol=1e-4)
    assert not made[1].any() and not made[3].any()
    # Outside, but near: what reaches in is there, highest in the corner.
    assert 0 < float(made[2].max()) == float(made[2].flatten()[0]) < 1
    with pytest.raises(ValueError, match="every axis needs a positive number"):
        heatmap([1.0, 0.0])


def parts(dims, rotated):
    """A loss, its scalars for two landmarks, and the covariance of the first in voxel^2."""
    log_sigma, angles = CASES[dims]
    if rotated:
        loss = LearntCovarianceLoss(GAMMA[dims], 5.0, ASPECT[dims])
        scalars = {"log_sigma": torch.tensor(log_sigma * 2), "rotation": torch.tensor(angles * 2)}
        return loss, scalars, covariance_of(log_sigma, angles, ASPECT[dims]), 5.0 * math.exp(2 * sum(log_sigma))
    loss = LearntSigmaLoss(GAMMA[dims], 20.0, ASPECT[dims])
    covariance = np.diag(np.exp(2 * log_sigma[0]) / np.square(ASPECT[dims]))
    return loss, {"log_sigma": torch.tensor([log_sigma[0]] * 2)}, covariance, 10.0 * math.exp(2 * log_sigma[0])


EVERY = pytest.mark.parametrize(("dims", "rotated"), [(dims, rotated) for dims in (2, 3) for rotated in (False, True)])


@EVERY
def test_the_loss_is_half_the_squared_distance_and_the_penalty(dims, rotated):
    loss, scalars, covariance, penalty = parts(dims, rotated)
    size = SIZES[dims]
    heatmaps = torch.randn((1, 2, *size), generator=torch.Generator().manual_seed(0))
    point = [n / 2 + 0.3 for n in size]
    outside = [-1.0, *point[1:]]
    gamma = GAMMA[dims] / np.prod(ASPECT[dims])
    targets = [dense(where, covariance, size, gamma) for where in (point, outside)]
    distance = [
        0.5 * float((heatmap - target).square().sum()) for heatmap, target in zip(heatmaps[0], targets, strict=True)
    ]
    found = loss({LOGITS: heatmaps, **scalars}, truth([[point, outside]], [[1, 1]]), size)
    # What lies outside has the part that reaches in, and no penalty.
    assert float(found) == pytest.approx((sum(distance) + penalty) / 2, rel=1e-3)
    # Absent: an empty target; unknown: no part.
    found = loss({LOGITS: heatmaps, **scalars}, truth([[[NAN] * dims, point]], [[0, -1]]), size)
    assert float(found) == pytest.approx(0.5 * float(heatmaps[0, 0].square().sum()), rel=1e-4)


@EVERY
def test_gradients_of_maps_and_scalars_are_those_of_finite_differences(dims, rotated):
    loss, scalars, _, _ = parts(dims, rotated)
    size = (6, 7, 5)[:dims]
    points = truth([[[2.3] * dims, [-0.7] * dims]], [[1, 1]])
    values = {LOGITS: torch.randn((1, 2, *size), generator=torch.Generator().manual_seed(1)), **scalars}
    values = {name: value.double().requires_grad_() for name, value in values.items()}
    # In single precision within; the difference is therefore coarse.
    gradients = dict(zip(values, torch.autograd.grad(loss(values, points, size), list(values.values())), strict=True))
    assert all(torch.isfinite(gradient).all() for gradient in gradients.values())
    for name, value in values.items():
        direction = torch.randn(value.shape, generator=torch.Generator().manual_seed(2)).double()
        step = 1e-2
        with torch.no_grad():
            high, low = (loss({**values, name: value + side * step * direction}, points, size) for side in (1, -1))
        expected = float((gradients[name] * direction).sum())
        assert float(high - low) / (2 * step) == pytest.approx(expected, rel=2e-2, abs=2e-2), name


@EVERY
def test_unknown_landmarks_teach_no_width_and_points_far_outside_stay_finite(dims, rotated):
    loss, scalars, _, _ = parts(dims, rotated)
    size = SIZES[dims]
    scalars = {name: value.clone().requires_grad_() for name, value in scalars.items()}
    heatmaps = torch.randn((1, 2, *size), requires_grad=True)
    value = loss({LOGITS: heatmaps, **scalars}, truth([[[NAN] * dims, [1e4] * dims]], [[-1, 1]]), size)
    gradients = torch.autograd.grad(value, [heatmaps, *scalars.values()])
    assert torch.isfinite(value) and all(torch.isfinite(gradient).all() for gradient in gradients)
    assert not gradients[0][0, 0].any()
    # Far outside nothing holds the width, so it does not move.
    assert not any(gradient.any() for gradient in gradients[1:])


@EVERY
def test_the_width_is_where_noise_of_the_point_and_penalty_are_even(dims, rotated):
    """With points that scatter, the best width grows with them: the sense of a learnt width."""
    loss, scalars, _, _ = parts(dims, rotated)
    size = SIZES[dims]
    gamma, aspect = GAMMA[dims], ASPECT[dims]
    widths = []
    for scatter in (0.2, 1.0):
        centre = torch.tensor([n / 2 for n in size])
        draws = centre + scatter * torch.randn(
            (24, 2, dims), generator=torch.Generator().manual_seed(3)
        ) / torch.tensor(aspect)
        log_sigma = torch.zeros_like(scalars["log_sigma"], requires_grad=True)
        fixed = {name: value for name, value in scalars.items() if name != "log_sigma"}
        optimizer = torch.optim.Adam([log_sigma], lr=0.1)
        for _ in range(40):
            optimizer.zero_grad()
            with torch.no_grad():
                sigma = log_sigma.exp().reshape(2, -1).expand(2, dims)
                turn = rotation_matrix(fixed["rotation"].reshape(2, -1)) if rotated else None
                target = torch.exp(-0.5 * squared_distance(draws, precision_of(sigma, turn, aspect), size))
                # The best network that sees nothing of the scatter gives the mean of the targets.
                best = (
                    (target * peak_height(gamma, sigma).reshape(-1, *[1] * dims))
                    .mean(0, keepdim=True)
                    .expand(24, -1, *size)
                )
            loss({LOGITS: best, "log_sigma": log_sigma, **fixed}, truth(draws, [[1, 1]] * 24), size).backward()
            optimizer.step()
        widths.append(float(log_sigma.detach().exp().mean()))
    assert widths[1] > 1.2 * widths[0]


@pytest.mark.parametrize("dims", [2, 3])
@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_the_fit_of_a_gaussian_is_its_covariance_wherever_it_lies(dims, data):
    sigma = [data.draw(st.floats(-0.125, 1.0, width=32)) for _ in range(dims)]
    angles = [data.draw(st.floats(-1.5, 1.5, width=32)) for _ in range(ANGLES[dims])]
    expected = covariance_of(sigma, angles, [1.0] * dims)
    size = (15,) * dims
    point = [7 + data.draw(st.floats(-0.5, 0.5, width=32)) for _ in range(dims)]
    heatmap = 3.0 * dense(point, expected, size, 1.0).float()[None]
    found = PeakDecoder(float(heatmap.max()), radius=5).decode({LOGITS: heatmap})
    np.testing.assert_allclose(found.covariance[0].numpy(), expected, rtol=0.02, atol=0.02)
    # Parabolas along the axes do not see the slant of a turned Gaussian: half a voxel, and a little more where it is
    # narrow and its middle lies between voxels on two axes.
    limit = 0.05 if np.allclose(expected, np.diag(np.diag(expected)), atol=1e-3) else 0.75
    assert float((found.points[0] - torch.tensor(point)).abs().max()) < limit


@pytest.mark.parametrize("dims", [2, 3])
def test_the_fit_of_what_has_no_peak_is_as_wide_as_the_box(dims):
    offsets = (grid((5,) * dims) - 2).reshape(1, -1, dims)
    valid = torch.ones(offsets.shape[:2], dtype=torch.bool)
    for values in (torch.zeros(offsets.shape[:2]), torch.ones(offsets.shape[:2]), offsets.square().sum(-1)):
        found = fitted_covariance(values, offsets, valid, widest=3.0)
        torch.testing.assert_close(found[0], 9.0 * torch.eye(dims), atol=1e-3, rtol=0)
    one = torch.zeros(offsets.shape[:2])
    one[0, one.shape[1] // 2] = 1.0
    assert (torch.linalg.eigvalsh(fitted_covariance(one, offsets, valid, widest=3.0)) >= NARROWEST - 1e-4).all()


@pytest.mark.parametrize("dims", [2, 3])
def test_the_confidence_is_the_height_of_the_top_over_that_of_the_learnt_width(dims):
    size, sigma = (17,) * dims, 2.0
    height = GAMMA[dims] / (2 * math.pi * sigma**2) ** (dims / 2)
    point = torch.tensor([8.4] * dims)
    round_one = height * torch.exp(-0.5 * ((grid(size) - point) / sigma).square().sum(-1))
    heatmaps = torch.stack([round_one, 0.25 * round_one, torch.zeros(size)])
    for widths in ([math.log(sigma)] * 3, [math.log(sigma)] * (3 * dims)):
        found = LearntPeakDecoder(GAMMA[dims]).decode({LOGITS: heatmaps, "log_sigma": torch.tensor(widths)})
        assert found.confidence.tolist() == pytest.approx([1.0, 0.25, 0.0], abs=1e-4)
        torch.testing.assert_close(found.points[:2], point.expand(2, -1), atol=1e-3, rtol=0)
    assert torch.isfinite(found.pack()[:, :dims]).all()


@pytest.mark.parametrize("dims", [2, 3])
def test_peaks_on_the_border_stay_in_the_image(dims):
    heatmap = torch.exp(-0.5 * (grid((9,) * dims) / 1.5).square().sum(-1))[None]
    found = PeakDecoder().decode({LOGITS: heatmap})
    assert found.points.tolist() == [[0.0] * dims]
    assert (torch.linalg.eigvalsh(found.covariance) > 0).all()


def test_widths_change_places_with_their_landmarks():
    decoder = LearntPeakDecoder(100.0)
    for widths, expected in (
        ([1.0, 2.0, 3.0], [2.0, 1.0, 3.0]),
        ([1.0, 1.5, 2.0, 2.5, 3.0, 3.5], [2.0, 2.5, 1.0, 1.5, 3.0, 3.5]),
    ):
        output = {LOGITS: torch.zeros(1, 3, 4, 4), "log_sigma": torch.tensor(widths)}
        assert decoder.unflip(output, [1, 0, 2])["log_sigma"].tolist() == expected


def test_a_prior_chooses_among_two_peaks_and_moves_none():
    heatmap = sum(
        h * torch.exp(-0.5 * ((grid((25, 25)) - torch.tensor(p)) / 1.5).square().sum(-1))
        for h, p in ((1.0, [6.2, 6.0]), (0.8, [18.3, 18.0]))
    )[None]
    prior = -0.5 * ((grid((25, 25)) - 18) / 3).square().sum(-1)[None]
    decoder = PeakDecoder()
    torch.testing.assert_close(decoder.decode({LOGITS: heatmap}).points, torch.tensor([[6.2, 6.0]]), atol=0.01, rtol=0)
    found = decoder.decode({LOGITS: heatmap}, prior)
    torch.testing.assert_close(found.points, torch.tensor([[18.3, 18.0]]), atol=0.01, rtol=0)


@pytest.mark.parametrize(("height", "radius"), [(0.0, 5), (-1.0, 5), (1.0, 0)])
def test_wrong_numbers_of_a_decoder_are_refused(height, radius):
    with pytest.raises(ValueError, match="must be above 0 and 1 or more"):
        PeakDecoder(height, radius)


@pytest.mark.parametrize(("method", "rotated"), [("scn", False), ("scn_adaptive", True)])
def test_bytes_that_the_losses_of_learnt_widths_hold(method, rotated):
    loss, scalars, _, _ = parts(3, rotated)
    size = (24, 24, 24)
    half = torch.randn((2, 2, *size), generator=torch.Generator().manual_seed(0)).bfloat16().requires_grad_()
    points = truth(torch.full((2, 2, 3), 11.3), [[1, 1]] * 2)
    leaves = {name: value.clone().requires_grad_() for name, value in scalars.items()}
    with PeakMemory() as memory:
        loss({LOGITS: half.float(), **leaves}, points, size).backward()
    assert memory.peak / half.numel() <= METHODS[method].loss_bytes_per_voxel
