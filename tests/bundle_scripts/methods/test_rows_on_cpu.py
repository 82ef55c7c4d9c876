"""The losses of a CPU, channel by channel, against the same losses of whole batches."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peak_memory import PeakMemory

from auto_config.bundle_scripts.methods import losses
from auto_config.bundle_scripts.methods.heatmap import EDTHeatmap, GaussianTarget
from auto_config.bundle_scripts.methods.interfaces import LOGITS, PointBatch
from auto_config.bundle_scripts.methods.large_channels.rows_on_cpu import channels_first
from auto_config.methods import METHODS

NAN = float("nan")


@pytest.fixture(autouse=True)
def _small_channels_too(monkeypatch):
    monkeypatch.setattr(losses, "by_channels", lambda _logits: True)


def value_and_gradient(loss, logits, truth, by_channels, monkeypatch):
    monkeypatch.setattr(losses, "by_channels", lambda _logits: by_channels)
    logits = logits.clone().requires_grad_()
    value = loss({LOGITS: logits}, truth, tuple(logits.shape[2:]))
    return value.detach(), torch.autograd.grad(2.5 * value, logits)[0]


def test_large_channels_on_a_cpu_go_one_after_the_other(monkeypatch):
    monkeypatch.undo()
    assert losses.by_channels(torch.empty(2, 3, 64, 64, 64))
    assert losses.by_channels(torch.empty(1, 1, 512, 512))
    assert not losses.by_channels(torch.empty(8, 51, 63, 64, 64))
    assert not losses.by_channels(torch.empty(1, 1, 64, 64, 64, device="meta"))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_both_ways_give_the_same_value_and_gradient(data):
    """Any size, landmarks absent, unknown, outside of the patch or of several points, channels first or last."""
    size = tuple(data.draw(st.lists(st.integers(2, 9), min_size=2, max_size=3)))
    batch, landmarks, several = (data.draw(st.integers(1, most)) for most in (3, 6, 3))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 10_000)))
    logits = 3 * torch.randn((batch, landmarks, *size), generator=generator)
    if data.draw(st.booleans()) and len(size) == 3:
        logits = logits.contiguous(memory_format=torch.channels_last_3d)
    points = (torch.rand((batch, landmarks, several, len(size)), generator=generator) * 1.6 - 0.3) * torch.tensor(size)
    points[torch.rand((batch, landmarks, several), generator=generator) < 0.2] = NAN
    truth = PointBatch(points, torch.randint(-1, 2, (batch, landmarks), generator=generator))
    parts = [
        losses.TopKBCELoss(
            EDTHeatmap([data.draw(st.floats(1, 6)) for _ in size]), data.draw(st.sampled_from([0.01, 0.2, 0.7, 1.0]))
        ),
        losses.SpatialCrossEntropyLoss(GaussianTarget(data.draw(st.floats(0.5, 2.0)))),
    ]
    loss = losses.WeightedLoss(parts, [1.0, 0.3])
    with pytest.MonkeyPatch.context() as patch:
        ours, gradient = value_and_gradient(loss, logits, truth, True, patch)
        whole, expected = value_and_gradient(loss, logits, truth, False, patch)
    torch.testing.assert_close(ours, whole, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("method", "whole"), [("nnlandmark", 15.9), ("default", 19.9)])
def test_no_map_is_held_beside_the_gradients(method, whole, monkeypatch):
    """Bytes a voxel with the logits: these and a gradient of each part; a map of a channel is a 48th of one."""
    logits = torch.randn((2, 24, 40, 40, 40), generator=torch.Generator().manual_seed(0)).requires_grad_()
    truth = PointBatch(torch.full((2, 24, 1, 3), 17.3), torch.ones((2, 24), dtype=torch.int64))
    parts, held = [losses.TopKBCELoss(EDTHeatmap([15] * 3))], {}
    if method == "default":
        parts.append(losses.SpatialCrossEntropyLoss(GaussianTarget(1.0)))
    loss = losses.WeightedLoss(parts, [1.0] * len(parts))
    for by_channels in (False, True):
        monkeypatch.setattr(losses, "by_channels", lambda _logits, ours=by_channels: ours)
        with PeakMemory() as memory:
            torch.autograd.grad(loss({LOGITS: logits}, truth, (40, 40, 40)), logits)
        held[by_channels] = memory.peak / logits.numel()
    assert held[False] > whole
    stated = METHODS[method].cpu_loss_bytes_per_voxel
    assert held[True] == pytest.approx(stated, abs=0.6)


@pytest.mark.parametrize("fraction", [0.05, 0.2])
def test_voxels_that_tie_for_the_last_place_share_it(fraction):
    size, keep = (8, 8, 8), round(fraction * 512)
    logits = (2 * torch.randn((1, 2, *size), generator=torch.Generator().manual_seed(3))).round().requires_grad_()
    truth = PointBatch(torch.full((1, 2, 1, 3), NAN), torch.zeros(1, 2))
    losses.TopKBCELoss(EDTHeatmap([3] * 3), fraction)({LOGITS: logits}, truth, size).backward()
    for values, gradient in zip(logits.detach()[0].flatten(1), logits.grad[0].flatten(1), strict=True):
        last = values.sort(descending=True).values[keep - 1]
        tied, above = values == last, values > last
        assert tied.sum() > keep - above.sum()
        share = above + tied * (keep - above.sum()) / tied.sum()
        torch.testing.assert_close(gradient, values.sigmoid() * share / keep / 2, rtol=1e-5, atol=1e-9)


def test_a_way_back_is_gone_once_only():
    """The gradient is scaled where it lies, and is given away."""
    logits = torch.randn(1, 2, 6, 6, 6).requires_grad_()
    truth = PointBatch(torch.full((1, 2, 1, 3), 2.0), torch.ones(1, 2))
    value = losses.TopKBCELoss(EDTHeatmap([3] * 3))({LOGITS: logits}, truth, (6, 6, 6))
    value.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="compute the loss anew"):
        value.backward()


@pytest.mark.parametrize("shape", [(2, 5, 4, 6, 7), (3, 4, 6, 7), (1, 1, 5, 5)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_channels_come_first_whatever_order_they_had(shape, dtype):
    last = torch.channels_last_3d if len(shape) == 5 else torch.channels_last
    maps = torch.randn(shape).to(dtype)
    for given_maps in (maps, maps.contiguous(memory_format=last), maps.transpose(0, 1).contiguous().transpose(0, 1)):
        first = channels_first(given_maps)
        assert first.is_contiguous()
        assert first.dtype == torch.float32
        assert torch.equal(first, maps.float())
    contiguous = torch.randn(shape)
    assert channels_first(contiguous) is contiguous


def test_a_cone_is_made_where_it_reaches_and_nothing_is_elsewhere():
    """Against the distance itself, for points inside, outside and far from the patch, and for none."""
    size, radius = (12, 9, 30), [4.0, 3.0, 2.0]
    points = torch.tensor(
        [[[3.2, 4.1, 7.9], [-2.0, 4.0, 4.0], [11.6, 8.4, 29.4]], [[500.0] * 3, [NAN] * 3, [-3.9] * 3]]
    )
    grid = torch.stack(torch.meshgrid(*[torch.arange(float(n)) for n in size], indexing="ij"), -1)
    scale = 4.0 / torch.tensor(radius)
    for some in (points, points[:1, :1], points[1:, 1:2], points[1:, :1]):
        cones = EDTHeatmap(radius)(some, size)
        distance = ((grid - some[:, :, None, None, None].nan_to_num(nan=1e4)) * scale).norm(dim=-1)
        torch.testing.assert_close(cones, (1 - distance / 17**0.5).clamp(min=0), rtol=0, atol=2e-6)


def test_logits_that_are_not_numbers_make_the_loss_not_a_number():
    """So that a training that has broken down is seen, as with whole batches."""
    logits = torch.zeros(1, 2, 6, 6, 6)
    logits[0, 1, 2, 2, 2] = NAN
    truth = PointBatch(torch.full((1, 2, 1, 3), 2.0), torch.ones(1, 2))
    for part in (losses.TopKBCELoss(EDTHeatmap([3] * 3)), losses.SpatialCrossEntropyLoss()):
        assert np.isnan(float(part({LOGITS: logits}, truth, (6, 6, 6))))
