"""Hourglasses, coordinates beside the image, a network for each landmark, and Noothout's variants."""

import pytest
import torch
from contract_parts import LANDMARKS, narrowed, parsed, parts_of, plan_of
from torch import nn

from auto_config.bundle.parts import network_def
from auto_config.bundle_scripts.methods.grid_network import LocalGridNetwork
from auto_config.bundle_scripts.methods.networks.hourglass import Hourglass, StackedHourglass
from auto_config.bundle_scripts.methods.networks.separate import SeparateNetworks
from auto_config.bundle_scripts.methods.stages import LandmarkNetwork
from auto_config.methods import BACKBONES


def counted(dims, channels, landmarks):
    """Parameters of two hourglasses of four levels: convolutions with biases, two numbers of each norm."""

    def convolution(k, n, m):
        return k**dims * n * m + m

    def residual(n, m):
        half = m // 2
        norms = 2 * (n + half + half)
        shortcut = convolution(1, n, m) if n != m else 0
        return norms + convolution(1, n, half) + convolution(3, half, half) + convolution(1, half, m) + shortcut

    one = (3 * 4 + 1 + 1) * residual(channels, channels) + convolution(1, channels, landmarks)
    between = convolution(1, channels, channels) + convolution(1, landmarks, channels)
    return convolution(7, 1, channels // 2) + residual(channels // 2, channels) + 2 * one + between


@pytest.mark.parametrize(("dims", "channels"), [(2, 128), (3, 64)])
def test_hourglasses_are_those_of_the_specification(dims, channels):
    row = BACKBONES["hourglass"]
    topology = row.topology((1.0,) * dims, (70, 96, 128)[:dims])
    assert topology.patch_size == (96, 96, 128)[:dims]
    stage = {"patch_size": list(topology.patch_size)}
    with torch.device("meta"):
        network = parsed({"network": row.config(stage, dims, 1, 5)}).get_parsed_content("network")
        counts = []
        for module in network.modules():
            if isinstance(module, (nn.Conv2d, nn.Conv3d)):
                module.register_forward_hook(lambda module, given, found: counts.append(found.numel()))
        found = network(torch.zeros(1, 1, *topology.patch_size))
    assert sum(p.numel() for p in network.parameters()) == counted(dims, channels, 5)
    assert found.shape == (1, 5, *topology.patch_size)
    assert row.values(topology, 5) == pytest.approx(sum(counts) + found.numel(), rel=2e-3)


def test_an_hourglass_sees_all_of_the_image_and_keeps_what_is_near():
    torch.manual_seed(0)
    network = Hourglass(2, 4, depth=3)
    image = torch.randn(1, 4, 16, 16, requires_grad=True)
    network(image)[0, :, 0, 0].sum().backward()
    # Maxima leave voxels out, but no part of the image.
    assert (nn.functional.max_pool2d(image.grad.abs().sum(1), 4) > 0).all()
    with pytest.raises(ValueError, match="at least one is needed"):
        StackedHourglass(2, 1, 3, stacks=0)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("kind", ["hourglass", "separate"])
def test_they_are_scripted_for_other_sizes_too(dims, kind):
    torch.manual_seed(0)
    if kind == "hourglass":
        stage, heads = StackedHourglass(dims, 1, 3, channels=4, depth=2, stacks=3), {"logits": 3}
    else:
        stage = SeparateNetworks(LocalGridNetwork(dims, 1, 1, (4, 6)), 3, [1, dims])
        heads = {"class": 3, "offset": 3 * dims}
    network = LandmarkNetwork({"fine": stage}, 3, dims, heads={"fine": heads}).eval()
    scripted = torch.jit.script(network)
    for size in ((16, 24, 16), (32, 16, 24)):
        image = torch.randn(1, 1, *size[:dims])
        with torch.no_grad():
            torch.testing.assert_close(scripted(image), network(image), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("dims", [2, 3])
def test_coordinates_stand_beside_the_image_and_the_bias_is_that_of_the_network_behind(dims):
    plan = plan_of("default", dims, network="coord_conv")
    made = network_def(plan, LANDMARKS)
    inner = made["stages"]["fine"]["network"]
    assert inner["in_channels"] == 1 + dims
    network = parsed({"network": narrowed(made)}).get_parsed_content("network").eval()
    image = torch.zeros(1, 1, *plan.stage("fine")["patch_size"])
    with torch.no_grad():
        found = network(image)
    assert found.shape == (1, LANDMARKS, *image.shape[2:])
    # An image without anything gives more than borders: the network sees where it is.
    middle = found[0, 0].flatten()
    assert float(middle.std()) > 0
    assert float(found.median()) < -2


@pytest.mark.parametrize("dims", [2, 3])
def test_each_landmark_has_a_network_of_its_own_in_the_order_of_the_heads(dims):
    torch.manual_seed(0)
    network = SeparateNetworks(LocalGridNetwork(dims, 1, 1, (4, 6)), 3, [1, dims], {"class_head.6": -6.0}).eval()
    image = torch.randn(2, 1, *(8,) * dims)
    with torch.no_grad():
        classes, offsets = network(image).split([3, 3 * dims], dim=1)
        for number, one in enumerate(network.networks):
            own = one(image)
            torch.testing.assert_close(classes[:, number], own[:, 0])
            torch.testing.assert_close(offsets[:, number * dims : (number + 1) * dims], own[:, 1:])
            assert float(one.class_head[6].bias) == -6.0
    first, second = (list(one.parameters()) for one in list(network.networks)[:2])
    assert not torch.equal(first[0], second[0])
    with pytest.raises(ValueError, match="at least one is needed"):
        SeparateNetworks(nn.Identity(), 0, [1])


@pytest.mark.parametrize("dims", [2, 3])
def test_the_single_landmark_variant_has_as_many_networks_as_landmarks(dims):
    plan = plan_of("global_to_local", dims, network="grid_single")
    assert [stage["name"] for stage in plan.value("stages")] == ["coarse", "fine"]
    made = network_def(plan, LANDMARKS)
    network = parsed({"network": narrowed(made)}).get_parsed_content("network").eval()
    images = {stage["name"]: torch.zeros(1, 1, *stage["patch_size"]) for stage in plan.value("stages")}
    with torch.inference_mode():
        outputs = network(images)
    for parts in parts_of(plan):
        assert len(network.stages[parts.name].networks) == LANDMARKS
        assert {head: x.shape[1] for head, x in outputs[parts.name].items()} == parts.json.heads
        # Cells start where nearly all of them are right.
        assert float(outputs[parts.name]["class"].median()) < -4
    row, single = BACKBONES["grid"], BACKBONES["grid_single"]
    topology = row.topology((1.0,) * dims, (64,) * dims)
    assert single.values(topology, 5) == 5 * row.values(topology, 1)


@pytest.mark.parametrize("dims", [2, 3])
def test_each_landmark_has_as_many_weights_as_a_network_of_the_specification(dims):
    """Counted for one landmark: convolutions without biases, two numbers of each norm, and outputs with biases."""

    def convolution(k, n, m):
        return k**dims * n * m + 2 * m

    def heads(width):
        return 2 * 2 * convolution(1, width, width) + (1 + dims) * (width + 1)

    cells, width = convolution(7, 1, 16), 16
    for filters, blocks in ((32, 3), (64, 4), (128, 6), (256, 3)):
        cells += convolution(3, width, filters) + (2 * blocks - 1) * convolution(3, filters, filters)
        cells += convolution(1, width, filters)
        width = filters
    crops = convolution(3, 1, 32) + convolution(3, 32, 32) + convolution(3, 32, 64) + convolution(3, 64, 64)
    row = BACKBONES["grid_single"]
    for one, body, width in ((row, cells, 256), (row.fine, crops, 64)):
        config = one.config({"patch_size": [64] * dims}, dims, 1, 5 * (1 + dims))
        with torch.device("meta"):
            network = parsed({"network": config}).get_parsed_content("network")
        assert sum(p.numel() for p in network.parameters()) == 5 * (body + heads(width))


@pytest.mark.parametrize("dims", [2, 3])
def test_the_global_network_alone_sees_the_whole_anatomy(dims):
    plan = plan_of("global_only", dims)
    (stage,) = plan.value("stages")
    extent = [40, 45, 60][:dims]
    held = [edge * step for edge, step in zip(stage["patch_size"], stage["spacing"], strict=True)]
    assert all(a >= b for a, b in zip(held, extent, strict=True))
    assert parts_of(plan)[0].stride == 8
    assert len(plan_of("global_only", dims, 2).value("stages")) == 2
