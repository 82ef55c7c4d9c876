"""Prediction in half precision: the network alone, and where the points stay the same."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.inferers import SlidingWindowInferer
from stage_networks import Staged
from torch import nn

from auto_config.bundle_scripts.inference.dense import DenseInferer
from auto_config.bundle_scripts.methods import half_precision
from auto_config.bundle_scripts.methods.decoders import ArgmaxDecoder
from auto_config.bundle_scripts.methods.ensemble import EnsembleNetwork
from auto_config.bundle_scripts.methods.half_precision import HalfPrecisionNetwork
from auto_config.bundle_scripts.points.peaks import unpack_peaks


@pytest.fixture(params=[torch.bfloat16, None], ids=["units", "no units"])
def half(request, monkeypatch):
    monkeypatch.setattr(half_precision, "half_type_of", lambda _: request.param)
    return request.param


@torch.no_grad()
def layer(value=1.0):
    """A convolution that gives its image, rounded where it works in half precision."""
    conv = nn.Conv2d(1, 1, 1)
    conv.weight.fill_(value)
    conv.bias.zero_()
    return conv.requires_grad_(False)


def test_the_network_works_in_half_precision_where_there_are_units_and_gives_float32(half):
    image = torch.full((1, 1, 2, 2), 1 + 2**-12)
    found = HalfPrecisionNetwork(Staged(layer()))({"fine": image})["fine"]["logits"]
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, torch.ones(1, 1, 2, 2) if half else image, rtol=0, atol=0)


def test_stages_that_are_left_stay_in_half_precision(half):
    """For callers that turn what they keep of them to float32; in each view, too."""
    images = {name: torch.full((1, 1, 2, 2), 1 + 2**-12) for name in ("coarse", "fine")}
    network = HalfPrecisionNetwork(Staged(layer()), ("fine",))
    for view in (network, *network.views()):
        found = {name: output["logits"].dtype for name, output in view(images).items()}
        assert found == {"coarse": torch.float32, "fine": torch.bfloat16 if half else torch.float32}


def test_views_and_shape_are_those_of_the_network(half):
    network = EnsembleNetwork([Staged(layer(1.0), "shape"), Staged(layer(3.0))])
    wrapped = HalfPrecisionNetwork(network)
    image = {"fine": torch.full((1, 1, 2, 2), 2.0)}
    assert wrapped.shape == "shape"
    assert not wrapped.flipped
    assert [float(view(image)["fine"]["logits"].mean()) for view in wrapped.views()] == [2.0, 6.0]
    assert float(wrapped(image)["fine"]["logits"].mean()) == 4.0


def test_each_view_works_in_half_precision(half):
    image = torch.full((1, 1, 2, 2), 1 + 2**-12)
    (view,) = HalfPrecisionNetwork(Staged(layer())).views()
    found = view({"fine": image})["fine"]["logits"]
    torch.testing.assert_close(found, torch.ones(1, 1, 2, 2) if half else image, rtol=0, atol=0)


def test_the_mean_of_an_ensemble_is_not_rounded(half):
    network = EnsembleNetwork([Staged(layer(value)) for value in (10.0, 10.0625, 10.0625)])
    found = HalfPrecisionNetwork(network)({"fine": torch.ones(1, 1, 2, 2)})["fine"]["logits"]
    torch.testing.assert_close(found, torch.full((1, 1, 2, 2), 30.125 / 3), rtol=0, atol=1e-6)


def test_nothing_is_predicted_in_float16(monkeypatch):
    """As large as a weight of bfloat16 may make it."""
    monkeypatch.setattr(half_precision, "half_type_of", lambda _: torch.float16)
    found = HalfPrecisionNetwork(Staged(layer(1e6)))({"fine": torch.ones(1, 1, 2, 2)})["fine"]["logits"]
    torch.testing.assert_close(found, torch.full((1, 1, 2, 2), 1e6))


def inferer(**arguments):
    window = SlidingWindowInferer(roi_size=(16, 16), overlap=0.5, mode="gaussian")
    return DenseInferer(
        window=window, decoder=ArgmaxDecoder(link="softmax"), spacing=(1.0, 1.0), flip_pairs=[0], **arguments
    )


@given(st.tuples(*[st.floats(6.0, 22.0, width=32)] * 2))
@settings(max_examples=30, deadline=None)
def test_points_of_rounded_logits_are_those_of_exact_ones(point):
    """Logits of up to 12, whose steps are 1/16: a peak three voxels wide lies where it lay."""
    grid = np.stack(np.meshgrid(np.arange(28.0), np.arange(28.0), indexing="ij"), -1)
    square = ((grid - point) ** 2).sum(-1) / (2 * 3.0**2)
    image = torch.tensor(np.maximum(12.0 - 6.0 * square, -4.0), dtype=torch.float32)[None]
    network = Staged(layer())
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(half_precision, "half_type_of", lambda _: torch.bfloat16)
        rounded, exact = (unpack_peaks(inferer(amp=amp)(image[None], network)[0]).points[0] for amp in (True, False))
    assert float((rounded - exact).norm()) < 0.05
    assert float((exact - torch.tensor(point)).norm()) < 0.001
