"""Small networks of each method learn one picture by heart: no part of them is dead."""

import pytest
import torch

from auto_config.bundle_scripts.methods.interfaces import PointBatch
from auto_config.bundle_scripts.methods.networks.anchor_balls import AnchorBallDecoder, AnchorBallLoss, heads_of
from auto_config.bundle_scripts.methods.networks.h3de import RoutingUNet
from auto_config.bundle_scripts.methods.networks.hourglass import StackedHourglass
from auto_config.bundle_scripts.methods.networks.super_resolution import SuperResolutionUNet
from auto_config.bundle_scripts.methods.networks.targets import BallHeatmap, GaussianHeatmap
from auto_config.bundle_scripts.methods.networks.value_decoders import TaylorDecoder, TopCentroidDecoder
from auto_config.bundle_scripts.methods.networks.value_losses import HardNegativeL1Loss, MeanSquaredLoss

SIZE, POINTS = (40, 36), torch.tensor([[12.3, 20.6], [27.7, 14.4]])
SMALL = {"filters": (8, 8, 16, 16), "depths": (1, 1, 1, 1)}
LEVELS = {"logits": 1.0, "half": 0.5}
CASES = {
    "h3de": (
        lambda: RoutingUNet(2, 1, 2, **SMALL),
        {"logits": 2},
        HardNegativeL1Loss(BallHeatmap([8.0, 8.0])),
        TopCentroidDecoder(voxels=21),
    ),
    "sr_unet": (
        lambda: SuperResolutionUNet(2, 1, 4, filters=(8, 8, 16)),
        dict.fromkeys(LEVELS, 2),
        MeanSquaredLoss(GaussianHeatmap([2.0, 2.0]), LEVELS),
        TaylorDecoder(),
    ),
    "anchor_ball": (
        lambda: RoutingUNet(2, 1, sum(heads_of(2, 2).values()), **SMALL, stride=4),
        heads_of(2, 2),
        AnchorBallLoss(8.0),
        AnchorBallDecoder(8.0),
    ),
    "hourglass": (
        lambda: StackedHourglass(2, 1, 2, channels=16, depth=2),
        {"logits": 2},
        MeanSquaredLoss(GaussianHeatmap([2.0, 2.0])),
        TaylorDecoder(),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_small_network_learns_one_picture_by_heart(name):
    make, heads, loss, decoder = CASES[name]
    torch.manual_seed(0)
    grid = torch.stack(torch.meshgrid(*[torch.arange(float(n)) for n in SIZE], indexing="ij"), -1)
    image = sum(
        height * torch.exp(-(grid - point).square().sum(-1) / 8)
        for height, point in zip((1.0, 2.0), POINTS, strict=True)
    )
    batch = image[None, None].repeat(2, 1, 1, 1) + 0.01 * torch.randn(2, 1, *SIZE)
    truth = PointBatch(POINTS[None, :, None].repeat(2, 1, 1, 1), torch.ones(2, 2, dtype=torch.int64))
    network = make()
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    for _ in range(80):
        optimizer.zero_grad()
        channels = network(batch).split(list(heads.values()), dim=1)
        loss(dict(zip(heads, channels, strict=True)), truth, SIZE).backward()
        optimizer.step()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())
    with torch.no_grad():
        channels = network.eval()(batch[:1]).split(list(heads.values()), dim=1)
    found = decoder.decode({head: x[0] for head, x in zip(heads, channels, strict=True)})
    assert float(torch.linalg.vector_norm(found.points - POINTS, dim=1).max()) < 1.5
