"""Crops of a mirror image: merged in the mirror, and turned back as one crop for each landmark."""

import numpy as np
import pytest
import torch
from monai.inferers import SlidingWindowInferer
from torch import nn

from auto_config.bundle_scripts.inference.coarse_to_fine import CoarseToFineInferer
from auto_config.bundle_scripts.inference.flip import MirroredNetwork
from auto_config.bundle_scripts.methods import half_precision
from auto_config.bundle_scripts.methods.decoders import ArgmaxDecoder
from auto_config.bundle_scripts.methods.gaussians.decoder import LearntPeakDecoder
from auto_config.bundle_scripts.methods.grid_votes import CLASS, OFFSET, GridVoteDecoder
from auto_config.bundle_scripts.methods.interfaces import LOGITS
from auto_config.bundle_scripts.points.shape import ShapeModel

PAIRS = [1, 0, 2, 4, 3]


class Random(nn.Module):
    """Convolutions with random weights, and widths of their own."""

    flipped = False

    def __init__(self, dims, heads, stride=1, scalars=None, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        conv = nn.Conv2d if dims == 2 else nn.Conv3d
        self.coarse = conv(1, len(PAIRS), 3, padding=1)
        self.layers = nn.ModuleDict(
            {
                head: nn.Sequential(conv(1, 4, 3, padding=1), nn.Tanh(), conv(4, channels, stride, stride=stride))
                for head, channels in heads.items()
            }
        )
        self.scalars, self.shape = scalars or {}, ShapeModel(len(PAIRS), dims)

    def views(self):
        return [self]

    def forward(self, images):
        stages = {"coarse": lambda x: {LOGITS: self.coarse(x)}, "fine": self.fine}
        return {name: stages[name](image) for name, image in images.items()}

    def fine(self, image):
        return {head: layer(image) for head, layer in self.layers.items()} | self.scalars


def inferer(dims, decoder, **arguments):
    window = SlidingWindowInferer([8] * dims, overlap=0.5, mode="gaussian", padding_mode="constant")
    return CoarseToFineInferer(
        window=window,
        factor=[2] * dims,
        crop_size=[12, 8, 16][:dims],
        spacing=[1.0, 1.25, 0.75][:dims],
        coarse_decoder=ArgmaxDecoder(),
        fine_decoder=decoder,
        reach=6.0,
        plausibility=False,
        batch_size=2,
        flip_pairs=PAIRS,
        **arguments,
    )


def kinds(dims):
    count = len(PAIRS)
    widths = {"log_sigma": torch.linspace(-0.5, 0.5, count)}
    return {
        "logits": (ArgmaxDecoder(), {LOGITS: count}, 1, None),
        "votes": (GridVoteDecoder(stride=2), {CLASS: count, OFFSET: count * dims}, 2, None),
        "widths": (LearntPeakDecoder(1.0), {LOGITS: count}, 1, widths),
    }


@torch.no_grad()
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("kind", ["logits", "votes", "widths"])
def test_the_output_is_that_of_crops_that_are_turned_back_one_by_one(dims, kind):
    decoder, heads, stride, scalars = kinds(dims)[kind]
    own, network = inferer(dims, decoder), Random(dims, heads, stride, scalars)
    image = torch.randn(1, *[30, 26, 28][:dims], generator=torch.Generator().manual_seed(1))
    mirrored = MirroredNetwork(network, PAIRS, own.decoders)
    # Of different distances along the axis that is mirrored, so that crops overlap on one side or the other.
    points = np.array([[8.0, 9.0, 9.0], [12.0, 11.0, 12.0], [15.0, 8.0, 14.0], [19.0, 12.0, 12.0], [9.0, 10.0, 15.0]])
    crops = own._crops(image, points[:, :dims])
    found = [look() for look in own._fine_views(crops, mirrored)]
    wanted = [own._fine_output(crops, view) for view in mirrored.views()]
    assert len(found) == 2
    for seen, expected in zip(found, wanted, strict=True):
        assert seen.keys() == expected.keys()
        for head, value in expected.items():
            torch.testing.assert_close(seen[head], value, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(found[0][decoder.heads[0]], found[1][decoder.heads[0]])


@torch.no_grad()
def test_members_of_an_ensemble_come_first_as_they_are_then_mirrored():
    decoder, heads, *_ = kinds(2)["logits"]
    own, members = inferer(2, decoder), [Random(2, heads, seed=seed) for seed in (0, 1)]
    network = Random(2, heads)
    network.views = lambda: members
    crops = own._crops(torch.randn(1, 30, 26), [[5.0, 5.0], [9.0, 8.0], [20.0, 20.0]] + [[3, 3]] * 2)
    mirrored = MirroredNetwork(network, PAIRS, own.decoders)
    wanted = [own._fine_output(crops, view) for view in mirrored.views()]
    for look, expected in zip(own._fine_views(crops, mirrored), wanted, strict=True):
        torch.testing.assert_close(look()[LOGITS], expected[LOGITS], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_network_without_a_mirror_image_is_looked_at_once():
    decoder, heads, *_ = kinds(2)["logits"]
    own = inferer(2, decoder)
    crops = own._crops(torch.randn(1, 30, 26), [[5.0, 5.0]] * len(PAIRS))
    assert len(own._fine_views(crops, Random(2, heads))) == 1


@torch.no_grad()
def test_crops_in_half_precision_are_averaged_in_float32(monkeypatch):
    """A crop of a constant output, seen by all landmarks: a mean in bfloat16 would be rounded at each addition."""
    monkeypatch.setattr(half_precision, "half_type_of", lambda _: torch.bfloat16)
    decoder, heads, *_ = kinds(2)["logits"]
    own, network = inferer(2, decoder, amp=True), Random(2, heads)
    image = torch.randn(1, 30, 26, generator=torch.Generator().manual_seed(1))
    whole = inferer(2, decoder).heatmaps(image, network).output[LOGITS]
    half = own.heatmaps(image, network).output[LOGITS]
    assert half.dtype == torch.float32
    assert not torch.equal(half, half.bfloat16().float())
    torch.testing.assert_close(half, whole, atol=0.05, rtol=0)
