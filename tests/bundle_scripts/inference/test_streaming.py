"""Peaks from slabs of a sliding window are those of the map of the whole image."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.inferers import SlidingWindowInferer
from stage_networks import Staged
from torch import nn

from auto_config.bundle_scripts.inference import dense
from auto_config.bundle_scripts.inference.dense import DenseInferer
from auto_config.bundle_scripts.inference.streaming.peaks import saves_memory
from auto_config.bundle_scripts.inference.streaming.slabs import slabs
from auto_config.bundle_scripts.inference.streaming.window_grid import slab_axis
from auto_config.bundle_scripts.inference.streaming.windows import plain_window, windows_of
from auto_config.bundle_scripts.inference.strided_window import StridedWindowInferer
from auto_config.bundle_scripts.methods.decoders import ArgmaxDecoder
from auto_config.bundle_scripts.methods.ensemble import EnsembleNetwork
from auto_config.bundle_scripts.methods.gaussians.decoder import LearntPeakDecoder, PeakDecoder
from auto_config.bundle_scripts.methods.networks.value_decoders import TopCentroidDecoder
from auto_config.bundle_scripts.points.shape import ShapeModel

DECODERS = {
    "softmax": lambda: ArgmaxDecoder(radius=2),
    "sigmoid": lambda: ArgmaxDecoder("sigmoid", sharpness=3.0, radius=3),
    "top": lambda: TopCentroidDecoder(voxels=9, radius=2),
    "parabola": lambda: PeakDecoder(height=2.0, radius=2),
}


def network(dims, members, seed, coarse=False):
    """Convolutions with random weights; with `coarse` their values are few, so that many voxels tie."""
    torch.manual_seed(seed)
    layer = [nn.Conv2d, nn.Conv3d][dims - 2]

    class Rounded(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Sequential(layer(1, 4, 3, padding=1), nn.Tanh(), layer(4, 3, 3, padding=1))

        def forward(self, image):
            found = self.inner(image)
            return found.mul(2).round() if coarse else found

    return EnsembleNetwork([Staged(Rounded()) for _ in range(members)]) if members > 1 else Staged(Rounded())


def both(inferer, image, net, monkeypatch, always=True):
    """Packed peaks in slabs, and of the whole map."""
    with monkeypatch.context() as patched, torch.inference_mode():
        if always:
            patched.setattr(dense, "saves_memory", lambda *_: True)
        streamed = inferer(image[None], net)[0]
        return streamed, inferer.heatmaps(image, net).peaks.pack()


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_bit_for_bit_along_the_first_axis(data):
    """Shapes, windows, overlaps, decoders, flips and ensembles; voxels that tie too."""
    dims = data.draw(st.sampled_from([2, 3]))
    edges = data.draw(st.tuples(*[st.integers(4, 9)] * dims))
    # Never much longer along another axis than along the first one.
    ratio = data.draw(st.floats(0.6, 3.0))
    size = [max(3, int(edge * ratio) - data.draw(st.integers(0, 2)) * (axis > 0)) for axis, edge in enumerate(edges)]
    batch = data.draw(st.integers(1, 3))
    window = SlidingWindowInferer(
        edges,
        sw_batch_size=batch,
        overlap=data.draw(st.sampled_from([0.0, 0.25, 0.5, 0.7])),
        mode=data.draw(st.sampled_from(["gaussian", "constant"])),
        padding_mode="constant",
        cval=-1.0,
    )
    flips = data.draw(st.sampled_from([None, [1, 0, 2]]))
    decoder = DECODERS[data.draw(st.sampled_from(sorted(DECODERS)))]()
    net = network(dims, data.draw(st.integers(1, 3)), data.draw(st.integers(0, 9)), data.draw(st.booleans()))
    inferer = DenseInferer(window=window, decoder=decoder, spacing=[0.7, 1.0, 1.3][:dims], flip_pairs=flips)
    image = torch.randn(1, *size, generator=torch.Generator().manual_seed(data.draw(st.integers(0, 99))))
    streamed, whole = both(inferer, image, net, pytest.MonkeyPatch())
    # A convolution of more windows at once may round otherwise; bundles look at one after the other.
    if batch == 1 and slab_axis(windows_of(window, size)) == 0:
        torch.testing.assert_close(streamed, whole, rtol=0, atol=0, equal_nan=True)
    else:
        torch.testing.assert_close(streamed, whole, rtol=1e-4, atol=1e-4, equal_nan=True)


@pytest.mark.parametrize("axis", [1, 2])
def test_along_the_longest_axis(axis, monkeypatch):
    """The order of sums is another one there, so they are equal to rounding."""
    size = [9, 10, 8]
    size[axis] = 40
    window = SlidingWindowInferer((8, 8, 8), overlap=0.5, mode="gaussian")
    inferer = DenseInferer(window=window, decoder=ArgmaxDecoder(radius=2), spacing=[1, 1, 1], flip_pairs=[0, 2, 1])
    assert slab_axis(windows_of(window, size)) == axis
    streamed, whole = both(inferer, torch.randn(1, *size), network(3, 2, 1), monkeypatch)
    torch.testing.assert_close(streamed, whole, rtol=1e-4, atol=1e-4, equal_nan=True)


def test_slabs_hold_a_window_and_a_margin_of_planes():
    """Each plane comes final once, and no more than the window and the margin are held."""
    window = SlidingWindowInferer((8, 8), overlap=0.5, mode="gaussian")
    image = torch.randn(1, 50, 12)
    whole = window(image[None], lambda x: x * 2)[0]
    seen = 0
    for slab in slabs(window, image, [lambda x: {"logits": x * 2}], 0, 4):
        (planes,) = slab.maps
        assert planes.untyped_storage().nbytes() == 4 * (8 + 4) * 12
        torch.testing.assert_close(planes, whole[:, slab.first : slab.first + planes.shape[1]], rtol=0, atol=0)
        assert slab.first <= seen < slab.first + planes.shape[1]
        seen = slab.first + planes.shape[1]
    assert seen == 50


def test_slabs_only_where_they_take_less_memory():
    window = SlidingWindowInferer((96, 96, 96), overlap=0.5)
    assert saves_memory(window, (300, 300, 300), 1, 5)
    assert saves_memory(window, (300, 300, 300), 4, 5)
    assert not saves_memory(window, (300, 300, 300), 10, 5)
    assert not saves_memory(window, (96, 96, 96), 1, 5) and not saves_memory(window, (100, 90, 100), 1, 5)


def test_other_windows_and_whole_maps_stay_with_whole_maps(monkeypatch):
    def never(*_):
        raise AssertionError("slabs")

    monkeypatch.setattr(dense, "stream_peaks", never)
    image, net = torch.randn(1, 40, 12), network(2, 1, 0)

    class OffByOne(ArgmaxDecoder):
        """Somebody's own, which reads nothing in slabs."""

        def decode(self, output, log_prior=None):
            found = super().decode(output, log_prior)
            return replace(found, points=found.points + 1)

    own = SlidingWindowInferer((8, 8), overlap=0.5)
    shape = ShapeModel(3, 2)
    for arguments in (
        {"window": StridedWindowInferer((8, 8), stride=1)},
        {"window": SlidingWindowInferer((8, 8), device="cpu")},
        {"window": own, "shape": shape},
        {"window": own, "decoder": OffByOne(radius=2)},
    ):
        inferer = DenseInferer(**{"decoder": ArgmaxDecoder(radius=2), "spacing": [1, 1], **arguments})
        with torch.inference_mode():
            assert len(inferer(image[None], net)[0]) == 3
    assert plain_window(own) is own
    with pytest.raises(AssertionError, match="slabs"), torch.inference_mode():
        DenseInferer(window=own, decoder=ArgmaxDecoder(radius=2), spacing=[1, 1])(image[None], net)


def test_learnt_scalars_are_averaged_as_maps_are(monkeypatch):
    class Learnt(nn.Module):
        def __init__(self, sigma):
            super().__init__()
            self.sigma = sigma

        def forward(self, images):
            (image,) = images.values()
            maps = torch.cat([image, image.flip(2)], 1)
            return {name: {"logits": maps, "log_sigma": torch.full((2,), self.sigma)} for name in images}

        def views(self):
            return [self]

        flipped, shape = False, None

    inferer = DenseInferer(
        window=SlidingWindowInferer((8, 8), overlap=0.5), decoder=LearntPeakDecoder(5.0, 2), spacing=[1, 1]
    )
    net = EnsembleNetwork([Learnt(0.5), Learnt(1.0), Learnt(0.2)])
    streamed, whole = both(inferer, torch.rand(1, 30, 12), net, monkeypatch)
    torch.testing.assert_close(streamed, whole, rtol=0, atol=0, equal_nan=True)
    assert (streamed[:, 2] > 0).all()


def test_a_network_that_diverged_is_said_in_slabs_too():
    def broken(image):
        out = image.clone()
        out[..., -1] = torch.nan
        return out

    inferer = DenseInferer(
        window=SlidingWindowInferer((8, 8), overlap=0.5), decoder=ArgmaxDecoder(radius=2), spacing=[1, 1]
    )
    with pytest.raises(ValueError, match="no finite coordinates"):
        inferer(torch.rand(1, 1, 40, 12), Staged(broken))
    assert np.isfinite(inferer(torch.rand(1, 1, 40, 12), Staged(lambda x: x)).numpy()[0, :, :2]).all()
