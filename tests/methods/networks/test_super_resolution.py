"""SR-UNet's network: parts, parameters, memory and scripting, against closed forms."""

import pytest
import torch
from contract_parts import plan_of
from peak_memory import PeakMemory
from torch import nn
from torch.nn import functional

from auto_config.bundle_scripts.methods.interfaces import PointBatch
from auto_config.bundle_scripts.methods.networks.super_resolution import (
    PyramidPooling,
    SuperResolutionUNet,
    pixel_shuffle,
)
from auto_config.bundle_scripts.methods.networks.targets import BallHeatmap, GaussianHeatmap
from auto_config.bundle_scripts.methods.networks.value_losses import HardNegativeL1Loss, MeanSquaredLoss
from auto_config.bundle_scripts.methods.stages import LandmarkNetwork
from auto_config.methods import BACKBONES, METHODS
from auto_config.methods.combining.losses import LOSSES, SCALES

FILTERS = (64, 128, 256, 512, 1024)


def counted(dims, landmarks):
    """Parameters: weights of convolutions without biases, two numbers of each norm; heads and pools have biases."""

    def normed(n, m):
        return 3**dims * n * m + 2 * m

    total, before = 0, 1
    for c in FILTERS:
        total += normed(before, c) + normed(c, c)
        before = c
    total += 4 * (1024 * 512 + 512) + normed(1024 + 4 * 512, 512)
    before = 512
    for level in (3, 2, 1, 0):
        c = FILTERS[level]
        total += normed(before, c) + normed(2 * c, c) + normed(c, c)
        features, block = (4, 4, 8, 16)[level], 2 ** (level * dims)
        total += landmarks * features * (c + 1) + landmarks * block * (features * 3**dims + 1)
        before = c
    return total


@pytest.mark.parametrize("dims", [2, 3])
def test_the_network_is_that_of_the_specification(dims):
    with torch.device("meta"):
        network = SuperResolutionUNet(dims, 1, 4 * 6)
        assert sum(p.numel() for p in network.parameters()) == counted(dims, 6)
        assert network(torch.zeros(1, 1, *(64, 32, 48)[:dims])).shape == (1, 24, *(64, 32, 48)[:dims])


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("size", [(6, 7, 12), (3, 5, 2)])
def test_pyramid_pooling_is_adaptive_pooling(dims, size):
    torch.manual_seed(0)
    pooling = PyramidPooling(dims, 3, 2).eval()
    image = torch.randn(2, 3, *size[:dims])
    adaptive = (functional.adaptive_avg_pool2d, functional.adaptive_avg_pool3d)[dims - 2]
    mode = ("bilinear", "trilinear")[dims - 2]
    with torch.no_grad():
        maps = [
            functional.interpolate(layer(adaptive(image, n)), size=size[:dims], mode=mode)
            for layer, n in zip(pooling.pooled, (1, 2, 3, 6), strict=True)
        ]
        torch.testing.assert_close(pooling(image), pooling.output(torch.cat([image, *maps], 1)))


def test_voxels_of_a_cell_lie_where_it_does():
    image = torch.randn(2, 12, 3, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(pixel_shuffle(image, 2), functional.pixel_shuffle(image, 2))
    cells = torch.arange(8.0).reshape(1, 8, 1, 1, 1)
    assert pixel_shuffle(cells, 2)[0, 0].tolist() == [[[0, 1], [2, 3]], [[4, 5], [6, 7]]]


def test_a_landmark_has_features_of_its_own():
    """The voxels of a landmark come from its own features alone, so landmarks do not mix in a head."""
    torch.manual_seed(0)
    network = SuperResolutionUNet(2, 1, 8, filters=(4, 6, 8)).eval()
    head = network.heads[0]
    features = torch.randn(1, 4 * head.features.out_channels // 4, 4, 4, requires_grad=True)
    head.voxels(features)[:, : head.voxels.out_channels // 4].sum().backward()
    assert features.grad[0, : features.shape[1] // 4].any()
    assert not features.grad[0, features.shape[1] // 4 :].any()


@pytest.mark.parametrize("dims", [2, 3])
def test_the_first_head_is_exported_and_other_sizes_are_no_other_code(dims):
    torch.manual_seed(0)
    heads = {"fine": dict.fromkeys(SCALES, 3)}
    network = LandmarkNetwork(
        {"fine": SuperResolutionUNet(dims, 1, 12, filters=(4, 6, 8, 10, 12))}, 3, dims, heads=heads
    ).eval()
    scripted = torch.jit.script(network)
    for size in ((32, 32, 32), (48, 32, 64)):
        image = torch.randn(1, 1, *size[:dims])
        with torch.no_grad():
            torch.testing.assert_close(scripted(image), network({"fine": image})["fine"]["logits"])


@pytest.mark.parametrize("arguments", [{"out_channels": 10}, {"out_channels": 10, "filters": (4, 4, 4, 4, 4, 4)}])
def test_channels_that_are_not_shared_by_the_levels_are_refused(arguments):
    with pytest.raises(ValueError, match="each has the same number of channels"):
        SuperResolutionUNet(2, 1, **arguments)


@pytest.mark.parametrize("dims", [2, 3])
def test_memory_is_what_the_row_of_the_network_says(dims):
    row = BACKBONES["sr_unet"]
    with torch.device("meta"):
        network, counts = SuperResolutionUNet(dims, 1, 4 * 5), []
        for module in network.modules():
            if isinstance(module, (nn.Conv2d, nn.Conv3d)):
                module.register_forward_hook(lambda module, given, found: counts.append(found.numel()))
        network(torch.zeros(1, 1, *(96,) * dims))
    topology = row.topology((1.0,) * dims, (96,) * dims)
    assert row.values(topology, 5) == pytest.approx(sum(counts), rel=1e-3)
    assert row.topology((1.0,) * dims, (20, 33, 90)[:dims]).patch_size == (32, 48, 96)[:dims]


@pytest.mark.parametrize("name", ["mse", "multi_scale_mse", "hard_negatives"])
def test_the_memory_of_the_loss_is_what_its_row_says(name):
    size, landmarks = (24, 20, 16), 5
    heads = dict.fromkeys(LOSSES[name].heads(landmarks, 3), 1.0)
    half = {head: torch.zeros(2, landmarks, *size).bfloat16().requires_grad_() for head in heads}
    truth = PointBatch(torch.full((2, landmarks, 1, 3), 8.0), torch.ones(2, landmarks, dtype=torch.int64))
    with PeakMemory() as memory:
        output = {head: value.float() for head, value in half.items()}
        # A ball of half of the patch, which has the most negatives.
        made = HardNegativeL1Loss(BallHeatmap([10.0] * 3)) if name == "hard_negatives" else None
        loss = made or MeanSquaredLoss(GaussianHeatmap([2.0] * 3), heads)
        loss(output, truth, size).backward()
    used = memory.peak / half["logits"].numel()
    assert LOSSES[name].bytes_per_voxel == pytest.approx(used, abs=2.0)


@pytest.mark.parametrize("dims", [2, 3])
def test_each_further_level_has_half_the_weight(dims):
    plan = plan_of("sr_unet", dims)
    assert plan.value("parts") == {"target": "gaussian", "loss": "multi_scale_mse", "decoder": "taylor"}
    parts = METHODS["sr_unet"].parts(plan, plan.stage("fine"))
    assert parts.loss["heads"] == {"logits": 1.0, "half": 0.5, "quarter": 0.25, "eighth": 0.125}
    assert list(parts.heads) == list(parts.loss["heads"])
