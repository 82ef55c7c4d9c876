"""H3DE-Net's network: its size against the specification, patches of any size, routing attention in closed form."""

import itertools

import pytest
import torch
from contract_parts import plan_of
from torch import nn

from auto_config.bundle_scripts.methods.networks.h3de import RoutingAttention, RoutingUNet, _Halving
from auto_config.bundle_scripts.methods.stages import LandmarkNetwork
from auto_config.methods import BACKBONES, METHODS

SMALL = {"filters": (4, 8, 8, 16), "depths": (1, 1, 1, 1)}


def counted(dims, landmarks):
    """Parameters as the specification has them: weights and biases of convolutions, two numbers of each norm."""

    def convolution(k, n, m, groups=1, bias=1):
        return k**dims * n * m // groups + bias * m

    def block(c):
        attention = convolution(1, c, 3 * c) + convolution(5, c, c, c) + convolution(1, c, c)
        layers = convolution(1, c, 4 * c) + convolution(1, 4 * c, c)
        return convolution(3, c, c, c) + attention + layers + 4 * c

    def up(c, skip, m):
        return convolution(3, c + skip, m, bias=0) + convolution(3, m, m, bias=0) + 4 * m

    total = convolution(3, 1, 32) + 2 * 32 + convolution(3, 32, 64) + 2 * 64
    for c, depth in ((64, 2), (128, 2), (256, 4), (512, 2)):
        total += depth * block(c) + (convolution(3, c // 2, c) + 2 * c if c > 64 else 0)
    total += up(512, 256, 256) + up(256, 128, 128) + up(128, 64, 64) + up(64, 32, 32) + up(32, 16, 16)
    total += sum(convolution(3, 1, c, bias=0) + 2 * c for c in (32, 16))
    return total + convolution(1, 16, landmarks)


def test_the_network_is_that_of_the_specification():
    """24.5 million parameters in 3D; the publication has no 2D."""
    for dims in (2, 3):
        with torch.device("meta"):
            number = sum(p.numel() for p in RoutingUNet(dims, 1, 14).parameters())
        assert number == counted(dims, 14)
    assert number / 1e6 == pytest.approx(24.5, abs=0.05)


@pytest.mark.parametrize(
    "size", [(64, 64, 64), (96, 96, 96), (192, 192, 96), (128, 128, 96), (41, 50, 37), (36, 4, 4), (64, 61), (33, 9)]
)
@pytest.mark.parametrize("stride", [1, 4])
def test_patches_of_any_size(size, stride):
    """Published code crashes on the first four of these: it pads to whole windows in the wrong order."""
    with torch.device("meta"):
        network = RoutingUNet(len(size), 2, 5, **SMALL, stride=stride)
        found = network(torch.zeros(1, 2, *size))
    assert found.shape == (1, 5, *(-(-edge // stride) for edge in size))


@pytest.mark.parametrize(("size", "windows"), [((8, 8, 4), (4, 4, 2)), ((5, 7, 3), (4, 4, 2)), ((9, 6), (4, 4))])
def test_attention_to_all_windows_is_that_to_all_voxels(size, windows):
    """Also where a map is no whole number of windows: padding is attended to by nobody."""
    torch.manual_seed(0)
    dims, channels, heads = len(size), 8, 2
    attention = RoutingAttention(dims, channels, heads, windows, top=99)
    image = torch.randn(2, channels, *size)
    q, k, v = (x.flatten(2).reshape(2, heads, channels // heads, -1) for x in attention.qkv(image).chunk(3, 1))
    share = torch.softmax(torch.einsum("bhcn,bhcm->bhnm", q, k) / (channels // heads) ** 0.5, dim=-1)
    whole = torch.einsum("bhnm,bhcm->bhcn", share, v).reshape(image.shape)
    expected = attention.output(whole + attention.local(attention.qkv(image).chunk(3, 1)[2]))
    torch.testing.assert_close(attention(image), expected, atol=1e-5, rtol=1e-4)


def test_a_window_sees_the_windows_that_are_most_like_it_and_no_other():
    """Four windows along a line; the query of each is one of two vectors, and each attends to one window."""
    attention = RoutingAttention(2, 2, 1, (4, 1), top=1)
    with torch.no_grad():
        for layer in (attention.qkv, attention.local):
            layer.weight.zero_()
            layer.bias.zero_()
        # Keys and values are the image, queries the image with channels exchanged.
        for row, column in enumerate((1, 0, 0, 1, 0, 1)):
            attention.qkv.weight[row, column] = 1.0
        attention.output.weight.copy_(torch.eye(2)[..., None, None])
        attention.output.bias.zero_()
    image = torch.zeros(1, 2, 8, 1)
    image[0, 0, :2], image[0, 1, 2:4], image[0, 0, 4:6], image[0, 1, 6:] = 3.0, 5.0, 1.0, 2.0
    image.requires_grad_()
    found = attention(image)
    # The first and third window look at the second, whose key is the largest in their direction; the others at the
    # first.
    expected = torch.zeros(2, 8)
    expected[1, :2] = expected[1, 4:6] = 5.0
    expected[0, 2:4] = expected[0, 6:] = 3.0
    torch.testing.assert_close(found.detach()[0, :, :, 0], expected)
    found[0, :, 0].sum().backward()
    assert not image.grad[0, 1, 6:].any()


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("stride", [1, 4])
def test_the_network_is_scripted_for_other_sizes_too(dims, stride):
    torch.manual_seed(0)
    network = LandmarkNetwork({"fine": RoutingUNet(dims, 1, 3, **SMALL, stride=stride)}, 3, dims).eval()
    scripted = torch.jit.script(network)
    for size in ((40, 36, 20), (48, 37, 33)):
        image = torch.randn(1, 1, *size[:dims])
        with torch.no_grad():
            torch.testing.assert_close(scripted(image), network(image), atol=1e-5, rtol=1e-4)


def test_another_stride_is_refused():
    with pytest.raises(ValueError, match="allowed are 1 and 4"):
        RoutingUNet(2, 1, 3, **SMALL, stride=2)


@pytest.mark.parametrize("name", ["h3de", "h3de_cells"])
@pytest.mark.parametrize("dims", [2, 3])
def test_planned_memory_is_what_the_convolutions_give(name, dims):
    row = BACKBONES[name]
    with torch.device("meta"):
        network = RoutingUNet(dims, 1, 5, stride=row.stride)
        counts = []
        for module in network.modules():
            if isinstance(module, (nn.Conv2d, nn.Conv3d)):
                module.register_forward_hook(lambda module, given, found: counts.append(found.numel()))
        network(torch.zeros(1, 1, *(128,) * dims))
    topology = row.topology((1.0,) * dims, (128,) * dims)
    assert row.values(topology, 5) == pytest.approx(sum(counts), rel=1e-3)


@pytest.mark.parametrize("dims", [2, 3])
def test_patches_are_whole_cells_and_never_a_single_voxel_of_the_last_stage(dims):
    row = BACKBONES["h3de"]
    assert row.topology((1.0,) * dims, (45, 17, 40)[:dims]).patch_size == (48, 20, 40)[:dims]
    assert row.topology((1.0,) * dims, (20, 32, 12)[:dims]).patch_size == (20, 36, 12)[:dims]


def test_nnlandmark_with_this_network_differs_in_the_network_alone():
    ours, theirs = plan_of("nnlandmark_h3de", 3), plan_of("nnlandmark", 3)
    changed = {name for name in ours.decisions if ours.value(name) != theirs.value(name)}
    assert changed <= {"network", "method", "stages", "gpu_memory_gb", "workers", "sampling", "memory"}
    one, other = (METHODS[name].parts(ours, ours.stage("fine")) for name in ("nnlandmark_h3de", "nnlandmark"))
    assert (one.target, one.loss, one.decoder) == (other.target, other.loss, other.decoder)


@torch.no_grad()
@pytest.mark.parametrize("dims", [2, 3])
def test_a_halving_is_the_convolution_of_stride_2_at_any_size(dims):
    """Maps with one or two voxels along the last axis get further zeros, and what comes of them is cut off."""
    torch.manual_seed(0)
    halving = torch.jit.script(_Halving(dims, 3, 4))
    for size in itertools.product((1, 2, 3, 4), repeat=dims):
        x = torch.randn(2, 3, *size)
        torch.testing.assert_close(halving(x), halving.layer(x), atol=1e-6, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("size", [(2, 4, 2), (1, 3, 1), (5, 6, 2)])
def test_a_halving_in_bfloat16_reads_no_memory_that_nobody_wrote(size):
    """oneDNN's convolution gave NaN on CPUs with AMX wherever freed memory held some."""
    torch.manual_seed(0)
    halving = _Halving(3, 256, 512)
    for _ in range(3):
        # Freed at once, so that what is made next lies in it.
        for _ in range(4):
            [torch.full((2**power,), torch.nan) for power in range(8, 20)]
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.isfinite(halving(torch.randn(1, 256, *size))).all()
