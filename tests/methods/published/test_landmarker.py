"""One-hot heatmaps: shares of voxels, likelihood, local soft-argmax and the network, against closed forms."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ignite.engine import Engine
from monai.networks.nets import EfficientNetBN

from auto_config.bundle_scripts.methods.flexible_unet import LogProbabilityUNet
from auto_config.bundle_scripts.methods.interfaces import LOGITS, PointBatch
from auto_config.bundle_scripts.methods.one_hot import LocalSoftArgmaxDecoder, OneHotLoss, splat
from auto_config.bundle_scripts.methods.stages import LandmarkNetwork
from auto_config.bundle_scripts.training.pretrained import LoadPretrained
from auto_config.methods import BACKBONES

SIZES = {2: (7, 9), 3: (6, 7, 5)}


def dense(points, size):
    """The splat as a map ``(*size)``, by the product of triangles, for one point inside of the voxel centres."""
    maps = [(1 - (torch.arange(float(n)) - p).abs()).clamp(min=0) for n, p in zip(size, points, strict=True)]
    out = maps[0]
    for one in maps[1:]:
        out = out[..., None] * one
    return out


def gaussian(point, size, sigma):
    """Logits ``(1, *size)`` whose softmax is a Gaussian with its own width along each axis, in voxels."""
    grid = torch.stack(torch.meshgrid(*[torch.arange(float(n)) for n in size], indexing="ij"), -1)
    return -(((grid - point) / torch.tensor(sigma)) ** 2).sum(-1)[None] / 2


def truth(points, status):
    return PointBatch(torch.as_tensor(points, dtype=torch.float32), torch.as_tensor(status))


@pytest.mark.parametrize("dims", [2, 3])
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_a_point_is_shared_by_the_voxels_around_it(dims, data):
    size = SIZES[dims]
    point = [data.draw(st.floats(0, n - 1, width=32)) for n in size]
    index, share = splat(torch.tensor([point]), size)
    made = torch.zeros(int(np.prod(size))).scatter_add_(0, index[0], share[0]).reshape(size)
    torch.testing.assert_close(made, dense(point, size), atol=1e-5, rtol=0)
    # Its centre of mass is the point.
    grid = torch.stack(torch.meshgrid(*[torch.arange(float(n)) for n in size], indexing="ij"))
    torch.testing.assert_close((grid * made).flatten(1).sum(1), torch.tensor(point), atol=1e-4, rtol=0)


@pytest.mark.parametrize("dims", [2, 3])
def test_border_and_outside(dims):
    size = SIZES[dims]
    middle = [n / 2 for n in size]
    for axis, (place, inside) in itertools.product(
        range(dims), [(-0.5, True), (-0.51, False), ("high", True), ("above", False), (float("nan"), False)]
    ):
        point = list(middle)
        point[axis] = {"high": size[axis] - 0.51, "above": size[axis] - 0.5}.get(place, place)
        index, share = splat(torch.tensor([point]), size)
        assert float(share.sum()) == pytest.approx(float(inside))
        assert 0 <= int(index.min()) <= int(index.max()) < np.prod(size)


@pytest.mark.parametrize("dims", [2, 3])
def test_the_loss_is_the_dense_cross_entropy_and_its_gradient_softmax_less_target(dims):
    size = SIZES[dims]
    generator = torch.Generator().manual_seed(dims)
    logits = torch.randn((2, 3, *size), generator=generator, requires_grad=True)
    points = torch.rand((2, 3, 1, dims), generator=generator) * (torch.tensor(size) - 1)
    loss = OneHotLoss()({LOGITS: logits}, truth(points, torch.ones(2, 3, dtype=torch.int64)), size)
    target = torch.stack([torch.stack([dense(points[b, k, 0].tolist(), size) for k in range(3)]) for b in range(2)])
    expected = -(target * torch.log_softmax(logits.flatten(2), 2).reshape(logits.shape)).flatten(2).sum(2).mean()
    torch.testing.assert_close(loss, expected)
    (gradient,) = torch.autograd.grad(loss, logits)
    softmax = torch.softmax(logits.detach().flatten(2), 2).reshape(logits.shape)
    torch.testing.assert_close(gradient, (softmax - target) / 6, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("dims", [2, 3])
def test_absent_and_outside_are_flat_and_unknown_has_no_gradient(dims):
    size = SIZES[dims]
    inside, outside = [2.0] * dims, [-3.0] * dims
    points = torch.tensor([[[inside], [outside], [[float("nan")] * dims], [inside]]])
    logits = torch.randn((1, 4, *size), generator=torch.Generator().manual_seed(0), requires_grad=True)
    loss = OneHotLoss()({LOGITS: logits}, truth(points, [[1, 1, 0, -1]]), size)
    (gradient,) = torch.autograd.grad(loss, logits)
    softmax = torch.softmax(logits.detach().flatten(2), 2).reshape(logits.shape)
    flat = torch.full(size, 1 / np.prod(size))
    for k in (1, 2):
        torch.testing.assert_close(gradient[0, k], (softmax[0, k] - flat) / 3, atol=1e-6, rtol=1e-4)
    assert not gradient[0, 3].any()
    nothing = OneHotLoss()({LOGITS: logits}, truth(points, [[-1] * 4]), size)
    assert float(nothing) == 0.0
    assert not torch.autograd.grad(nothing, logits)[0].any()


def test_several_points_share_a_channel():
    size = (9, 9)
    logits = torch.zeros((1, 1, *size), requires_grad=True)
    points = torch.tensor([[[[1.0, 1.0], [7.0, 6.0], [float("nan")] * 2]]])
    (gradient,) = torch.autograd.grad(OneHotLoss()({LOGITS: logits}, truth(points, [[1]]), size), logits)
    expected = torch.full(size, 1 / 81)
    expected[1, 1] -= 0.5
    expected[7, 6] -= 0.5
    torch.testing.assert_close(gradient[0, 0], expected)


@pytest.mark.parametrize("dims", [2, 3])
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_what_minimises_the_loss_decodes_to_the_point(dims, data):
    """Exactly, also within the outermost voxels, where a box filled with zeros would pull it inwards."""
    size = SIZES[dims]
    point = [data.draw(st.floats(0, n - 1, width=32)) for n in size]
    logits = dense(point, size).clamp(min=1e-12).log()[None]
    peaks = LocalSoftArgmaxDecoder().decode({LOGITS: logits})
    torch.testing.assert_close(peaks.points, torch.tensor([point]), atol=1e-3, rtol=0)
    assert float(peaks.confidence[0]) == pytest.approx(1.0, abs=1e-4)
    argmax = LocalSoftArgmaxDecoder(radius=0).decode({LOGITS: logits}).points
    assert float((argmax - torch.tensor([point])).abs().max()) <= 0.5 + 1e-5
    assert argmax.eq(argmax.round()).all()


def test_large_logits_stay_finite_and_confidence_is_the_mass_of_the_box():
    logits = torch.zeros(2, 8, 8)
    logits[0, 4, 4] = 1e4
    peaks = LocalSoftArgmaxDecoder().decode({LOGITS: logits})
    assert torch.isfinite(peaks.pack()[:, :3]).all()
    assert peaks.points[0].tolist() == [4.0, 4.0]
    # The highest of equal voxels is the first, in the corner: 3 x 3 of 64 voxels are in its box.
    assert peaks.confidence.tolist() == pytest.approx([1.0, 9 / 64])
    hot = LocalSoftArgmaxDecoder(temperature=2.0)
    two = torch.zeros(1, 8, 8)
    two[0, 4, 4] = 4.0
    assert float(hot.decode({LOGITS: two}).confidence[0]) == pytest.approx((np.exp(2) + 24) / (np.exp(2) + 63))
    torch.testing.assert_close(hot.density({LOGITS: two}).sum((1, 2)), torch.ones(1))


def test_covariance_is_that_of_the_distribution_and_a_prior_chooses_only():
    logits = torch.full((1, 11, 11), -30.0)
    logits[0, 5, 4] = logits[0, 5, 6] = 0.0
    logits[0, 5, 5] = 0.0
    peaks = LocalSoftArgmaxDecoder().decode({LOGITS: logits})
    torch.testing.assert_close(peaks.points, torch.tensor([[5.0, 5.0]]), atol=1e-4, rtol=0)
    expected = torch.tensor([[[0.0, 0.0], [0.0, 2 / 3]]]) + torch.eye(2) / 12
    torch.testing.assert_close(peaks.covariance, expected, atol=1e-4, rtol=0)
    far = torch.full((1, 11, 11), -5.0)
    far[0, 1, 1], far[0, 9, 9] = 0.0, 0.1
    prior = torch.zeros(1, 11, 11)
    prior[0, 1, 1] = 1.0
    assert LocalSoftArgmaxDecoder().decode({LOGITS: far}, prior).points[0].round().tolist() == [1.0, 1.0]
    assert LocalSoftArgmaxDecoder().decode({LOGITS: far}).points[0].round().tolist() == [9.0, 9.0]


def test_a_mirror_image_back_in_place():
    logits = torch.randn((1, 3, 6, 5), generator=torch.Generator().manual_seed(0))
    back = LocalSoftArgmaxDecoder().unflip({LOGITS: logits.flip(2)[:, [1, 0, 2]]}, [1, 0, 2])
    torch.testing.assert_close(back[LOGITS], logits)


@pytest.mark.parametrize(
    ("options", "words"), [({"radius": -1}, "radius is -1"), ({"temperature": 0}, "temperature is 0")]
)
def test_options_that_make_no_sense_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        LocalSoftArgmaxDecoder(**options)


@pytest.mark.parametrize(("dims", "channels", "millions"), [(2, 1, 7.06), (3, 1, 11.09), (2, 3, 7.06)])
def test_the_network_has_the_published_size_and_gives_logarithms_of_probabilities(dims, channels, millions):
    torch.manual_seed(0)
    network = LogProbabilityUNet(dims, channels, 5).eval()
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(millions, abs=0.01)
    norms = [m for m in network.modules() if isinstance(m, (torch.nn.BatchNorm2d, torch.nn.BatchNorm3d))]
    assert {m.momentum for m in norms} == {0.1}
    size = (64,) * dims if dims == 2 else (64, 32, 32)
    image = torch.randn(1, channels, *size)
    with torch.no_grad():
        found = network(image)
        whole = LandmarkNetwork({"fine": network}, 5, dims).eval()
        scripted = torch.jit.script(whole)(image)
    assert found.shape == (1, 5, *size)
    torch.testing.assert_close(found.exp().flatten(2).sum(2), torch.ones(1, 5))
    torch.testing.assert_close(scripted, found, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("dims", [2, 3])
def test_patches_are_multiples_of_32_and_large_enough_for_batch_normalisation(dims):
    backbone = BACKBONES["flexible_unet"]
    topology = backbone.topology((1.0,) * dims, (40, 70, 97)[:dims])
    assert topology.patch_size == (64, 96, 128)[:dims]
    assert backbone.topology((1.0,) * dims, topology.patch_size) == topology


@pytest.mark.parametrize("dims", [2, 3])
def test_planned_memory_counts_what_the_convolutions_give(dims):
    network = LogProbabilityUNet(dims, 1, 5).eval()
    counted = []
    layers = (torch.nn.Conv2d, torch.nn.Conv3d, torch.nn.ConvTranspose2d, torch.nn.ConvTranspose3d)
    for module in network.modules():
        if isinstance(module, layers):
            module.register_forward_hook(lambda module, given, found: counted.append(found.numel()))
    size = (64,) * dims
    with torch.no_grad():
        network(torch.zeros(1, 1, *size))
    backbone = BACKBONES["flexible_unet"]
    topology = backbone.topology((1.0,) * dims, size)
    assert backbone.values(topology, 5) == pytest.approx(sum(counted), rel=0.01)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize(
    ("sigma", "radius", "tolerance"), [(0.75, 2, 0.01), (1.0, 2, 0.05), (1.0, 3, 0.01), (1.5, 2, 0.2), (1.5, 5, 0.01)]
)
def test_a_gaussian_decodes_to_its_centre_as_far_as_the_box_holds_it(dims, sigma, radius, tolerance):
    """A box that cuts a wide distribution pulls the point towards the highest voxel, and never past it."""
    generator = torch.Generator().manual_seed(0)
    size, worst = (20,) * dims, 0.0
    for _ in range(20):
        point = torch.rand(dims, generator=generator) * 8 + 6
        logits = gaussian(point, size, [sigma] * dims)
        found = LocalSoftArgmaxDecoder(radius=radius).decode({LOGITS: logits}).points[0]
        highest = LocalSoftArgmaxDecoder(radius=0).decode({LOGITS: logits}).points[0]
        assert float((found - point).abs().max()) <= tolerance
        assert ((found - highest) * (point - highest) >= -1e-4).all()
        worst = max(worst, float((highest - point).abs().max()))
    assert worst > 0.4


@pytest.mark.parametrize("dims", [2, 3])
def test_axes_have_widths_of_their_own(dims):
    """A narrow axis is decoded as well as if the others were narrow too: the box is cut along each by itself."""
    point, sigma = torch.tensor([6.3, 5.8, 7.4])[:dims], [1.0, 0.6, 0.75][:dims]
    peaks = LocalSoftArgmaxDecoder(radius=5).decode({LOGITS: gaussian(point, (14,) * dims, sigma)})
    torch.testing.assert_close(peaks.points[0], point, atol=0.01, rtol=0)
    expected = torch.diag(torch.tensor(sigma) ** 2 + 1 / 12)
    torch.testing.assert_close(peaks.covariance[0], expected, atol=0.02, rtol=0)


@pytest.mark.parametrize(("channels", "missing"), [(3, set()), (1, {"stages.fine.unet.encoder._conv_stem.weight"})])
def test_a_file_of_an_efficientnet_fills_the_whole_encoder(tmp_path, channels, missing):
    """All but the first convolution where the image has not the file's number of channels."""
    encoder = EfficientNetBN("efficientnet-b0", pretrained=False, spatial_dims=2, in_channels=3, num_classes=1000)
    path = tmp_path / "encoder.pt"
    torch.save({name: torch.full_like(tensor, 7) for name, tensor in encoder.state_dict().items()}, path)
    network = LandmarkNetwork({"fine": LogProbabilityUNet(2, channels, 5)}, 5, 2)
    LoadPretrained(network, str(path)).attach(Engine(lambda *_: None))
    filled = {name for name, tensor in network.state_dict().items() if bool((tensor == 7).all())}
    assert filled == {name for name in network.state_dict() if ".encoder." in name} - missing
