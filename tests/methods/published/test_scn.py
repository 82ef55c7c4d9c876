"""The spatial configuration network: as many weights as published, its product of two parts, and its first weights."""

import math

import pytest
import torch
from contract_parts import LANDMARKS, SPACING, parts_of, plan_of
from torch import nn

from auto_config.bundle import configs
from auto_config.bundle_scripts.methods.scn import SpatialConfigurationNetwork
from auto_config.methods import BACKBONES

PUBLISHED = {2: {"features": 128, "kernel": 11, "factor": 16}, 3: {"features": 64, "kernel": 7, "factor": 8}}


def config(dims, landmarks=3, **changes):
    row = BACKBONES["spatial_configuration"]
    written = row.config({"patch_size": [64] * dims}, dims, 1, landmarks)
    return {**{name: value for name, value in written.items() if name != "_target_"}, **changes}


def network(dims, **changes):
    torch.manual_seed(dims)
    return SpatialConfigurationNetwork(**config(dims, **changes)).eval()


def specified(dims, landmarks, channels=1):
    """Weights and biases, counted by hand from the publication's table: 4 levels of 3 convolutions of 3, and so on."""
    features, kernel = PUBLISHED[dims]["features"], PUBLISHED[dims]["kernel"] ** dims
    small = 3**dims
    local = (channels * small + 1) * features + 4 * 3 * (features * small + 1) * features
    local += (features * small + 1) * landmarks
    configuration = (landmarks * kernel + 1) * features + 2 * (features * kernel + 1) * features
    return local + configuration + (features * kernel + 1) * landmarks


@pytest.mark.parametrize(("dims", "landmarks", "millions"), [(2, 19, 6.35), (3, 32, 5.6)])
def test_as_many_weights_as_published(dims, landmarks, millions):
    with torch.device("meta"):
        found = sum(x.numel() for x in SpatialConfigurationNetwork(**config(dims, landmarks)).parameters())
    assert found == specified(dims, landmarks)
    assert found / 1e6 == pytest.approx(millions, rel=0.01)


@pytest.mark.parametrize(("dims", "size"), [(2, (48, 64)), (3, (32, 40, 48))])
def test_the_output_has_the_size_of_the_image_and_any_multiple_of_the_factor_will_do(dims, size):
    small = network(dims, features=4)
    with torch.inference_mode():
        assert small(torch.randn(2, 1, *size)).shape == (2, 3, *size)
    topology = BACKBONES["spatial_configuration"].topology((1.0,) * dims, [edge - 3 for edge in size])
    assert topology.patch_size == size
    assert topology.divisor == (PUBLISHED[dims]["factor"],) * dims


@pytest.mark.parametrize("dims", [2, 3])
def test_the_output_is_the_product_of_both_parts(dims):
    small = network(dims, features=4)
    for layer in (small.local_heatmaps, small.configuration[-2]):
        nn.init.normal_(layer.weight, std=0.1)
    image = torch.randn(1, 1, *(32,) * dims)
    with torch.inference_mode():
        local = small.local(image)
        factor = small(image) / local
        # Tanh bounds the second part; cubic up-sampling may pass it by a little.
        assert float(factor.abs().max()) < 1.5
        assert float(factor.std()) > 1e-4
        # It sees the local heatmaps alone: none of them, and only its biases speak.
        small.local_heatmaps.weight.zero_()
        assert not small(image).any()


@pytest.mark.parametrize("dims", [2, 3])
def test_up_sampling_is_cubic_along_every_axis(dims):
    """A ramp stays one, with half-voxel centres: the middle of coarse voxel c is (c + 1/2) s - 1/2.

    Torch's cubic kernel (a = -0.75) bends it by a twentieth of a coarse voxel; a shift of half a voxel would be 0.5.
    """
    small, factor = network(dims, features=4), PUBLISHED[dims]["factor"]
    coarse = torch.arange(7.0)
    for axis in range(dims):
        shape = [1, 1, *(7 if d == axis else 2 for d in range(dims))]
        ramp = coarse.reshape([7 if n == 7 else 1 for n in shape]).expand(shape)
        fine = small._finer(ramp).movedim(2 + axis, -1).flatten(0, -2)[0]
        expected = (torch.arange(7.0 * factor) + 0.5) / factor - 0.5
        torch.testing.assert_close(
            fine[2 * factor : -2 * factor], expected[2 * factor : -2 * factor], atol=0.05, rtol=0
        )


def keys(distance):
    """Keys' cubic convolution kernel with torch's a = -0.75, which is 1 at 0 and 0 at all other whole numbers."""
    a, x = -0.75, abs(distance)
    if x < 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0


def cubic(value, factor):
    """Each axis of ``(B, C, *size)`` made finer by the kernel; beyond the border is its last voxel again."""
    for axis in range(2, value.ndim):
        edge = value.shape[axis]
        weights = torch.zeros(edge * factor, edge)
        for fine in range(edge * factor):
            place = (fine + 0.5) / factor - 0.5
            for coarse in range(-3, edge + 3):
                weights[fine, min(max(coarse, 0), edge - 1)] += keys(place - coarse)
        value = torch.tensordot(value, weights, dims=([axis], [1])).movedim(-1, axis)
    return value


@pytest.mark.parametrize("dims", [2, 3])
def test_up_sampling_bends_parabolas_and_steps_as_cubic_convolution_does(dims):
    """Linear interpolation has corners in a parabola, and stays between 0 and 1 in a step."""
    small, factor = network(dims, features=4), PUBLISHED[dims]["factor"]
    for axis in range(dims):
        along = torch.arange(7.0).reshape([7 if d == axis else 1 for d in range(dims)])
        shape = [1, 1, *(7 if d == axis else 2 for d in range(dims))]
        for values in ((along - 3).square(), (along > 2).float()):
            fine = small._finer(values.expand(shape))
            torch.testing.assert_close(fine, cubic(values.expand(shape), factor), atol=1e-5, rtol=1e-5)
        # Half a fine voxel beside the middle of the step; up to 0.1 below and above it.
        assert -0.15 < float(fine.min()) < -0.05
        assert 1.05 < float(fine.max()) < 1.15
    anything = torch.randn(2, 3, *(4, 5, 6)[:dims])
    torch.testing.assert_close(small._finer(anything), cubic(anything, factor), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dims", [2, 3])
def test_tanh_comes_before_the_up_sampling(dims):
    """Between saturated coarse voxels cubic up-sampling passes 1, as a tanh of what is already fine never would."""
    small, factor = network(dims, features=4), PUBLISHED[dims]["factor"]
    nn.init.normal_(small.local_heatmaps.weight, std=0.1)
    nn.init.normal_(small.configuration[-2].weight, std=5.0)
    seen = []
    small.configuration[-2].register_forward_hook(lambda module, given, found: seen.append(found))
    image = torch.randn(1, 1, *(factor * 5,) * dims)
    with torch.inference_mode():
        found, local = small(image), small.local(image)
    expected = local * cubic(seen[0].tanh(), factor)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    assert float(cubic(seen[0].tanh(), factor).abs().max()) > 1.05
    assert not torch.allclose(found, local * cubic(seen[0], factor).tanh(), atol=0.05 * float(local.abs().max()))


@pytest.mark.parametrize(("dims", "padding"), [(2, "zeros"), (3, "reflect")])
def test_beyond_the_border_are_zeros_in_2d_and_mirror_images_in_3d(dims, padding):
    """Each layer as the row of networks has it, with weights of 1: the sum at the border of the image 1, 2, 3, ..."""
    assert config(dims)["padding"] == padding
    small = network(dims, features=4)
    for layer in small.modules():
        if isinstance(layer, (nn.Conv2d, nn.Conv3d)):
            nn.init.ones_(layer.weight)
            width, channels = layer.kernel_size[0], layer.in_channels
            half = width // 2
            # The border's own voxels are 1, 2, 3; its mirror image, which leaves the border out, is 2, 3.
            total = sum(range(1, half + 2)) + (sum(range(2, half + 2)) if padding == "reflect" else 0)
            for axis in range(dims):
                along = torch.arange(1.0, width + 1).reshape([width if d == axis else 1 for d in range(dims)])
                expected = torch.full([layer.out_channels], float(channels * width ** (dims - 1) * total))
                with torch.inference_mode():
                    for image, border in ((along, 0), (along.flip(axis), -1)):
                        found = layer(image.expand(1, channels, *[width] * dims))[0]
                        voxel = found[(slice(None), *[border if d == axis else half for d in range(dims)])]
                        torch.testing.assert_close(voxel, expected)


@pytest.mark.parametrize(
    ("method", "dims", "gamma", "alpha", "sigma"),
    [
        ("scn", 2, 100.0, 20.0, 2.5),
        ("scn", 3, 1000.0, 100.0, 4.0),
        ("scn_adaptive", 2, 100.0, 5.0, math.sqrt(3)),
        ("scn_adaptive", 3, 1000.0, 25.0, math.sqrt(3)),
    ],
)
def test_a_bundle_has_the_published_heights_penalties_and_first_widths(method, dims, gamma, alpha, sigma):
    plan = plan_of(method, dims)
    written = configs.train_config(plan, LANDMARKS, "/nowhere", 0)
    (part,) = parts_of(plan)
    ratios = [step / min(SPACING[:dims]) for step in SPACING[:dims]]
    for loss in (written["loss"], vars(part.loss)):
        assert (loss["gamma"], loss["alpha"]) == (gamma, alpha)
        assert loss["aspect"] == pytest.approx(ratios)
    assert written["decoder"]["gamma"] == gamma
    axes = dims if method == "scn_adaptive" else 1
    widths = written["network_def"]["scalars"]["fine"]["log_sigma"]
    assert [math.exp(width) for width in widths] == pytest.approx([sigma] * (LANDMARKS * axes), rel=1e-5)


@pytest.mark.parametrize("dims", [2, 3])
def test_first_weights_are_the_published_ones(dims):
    full = network(dims, features=16)
    spread = {2: 1e-4, 3: 1e-3}[dims]
    heatmaps = [full.local_heatmaps, full.configuration[-2]]
    for layer in full.modules():
        if isinstance(layer, (nn.Conv2d, nn.Conv3d)):
            assert not layer.bias.any()
            # Normal, cut at two standard deviations: 0.88 of it are left. He for a slope of 0.1.
            fan_in = layer.weight[0].numel()
            expected = 0.88 * spread if layer in heatmaps else math.sqrt(2 / (1 + 0.1**2) / fan_in)
            assert float(layer.weight.detach().std()) == pytest.approx(expected, rel=0.15)
            assert layer not in heatmaps or float(layer.weight.detach().abs().max()) <= 2 * spread


def test_dropout_works_in_training_alone():
    small = network(2, features=4)
    nn.init.normal_(small.local_heatmaps.weight, std=0.1)
    image = torch.randn(1, 1, 32, 32)
    assert torch.equal(small.local(image), small.local(image))
    small.train()
    assert not torch.equal(small.local(image), small.local(image))


@pytest.mark.parametrize("dims", [2, 3])
def test_it_can_be_scripted(dims):
    small = network(dims, features=4)
    image = torch.randn(1, 1, *(32,) * dims)
    with torch.inference_mode():
        torch.testing.assert_close(torch.jit.script(small)(image), small(image), atol=1e-9, rtol=1e-4)
