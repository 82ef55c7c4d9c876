"""Instance normalisation without a change of layout is torch's own."""

import pytest
import torch
from torch import nn

from auto_config.bundle_scripts.methods.networks import instance_norm
from auto_config.bundle_scripts.methods.networks.instance_norm import ChannelsLastInstanceNorm, keep_channels_last
from auto_config.bundle_scripts.methods.stages import LandmarkNetwork

LAYOUT = {2: torch.channels_last, 3: torch.channels_last_3d}


def norm(dims, channels):
    torch.manual_seed(0)
    made = (nn.InstanceNorm2d, nn.InstanceNorm3d)[dims - 2](channels, affine=True, eps=1e-4)
    with torch.no_grad():
        made.weight.uniform_(0.5, 2.0)
        made.bias.normal_()
    return made


def image(channels, size, dtype=torch.float32):
    made = 3 + 2 * torch.randn(2, channels, *size, generator=torch.Generator().manual_seed(1))
    return made.to(dtype).contiguous(memory_format=LAYOUT[len(size)])


@pytest.fixture
def called(monkeypatch):
    """Which of torch's functions are called."""
    names = []
    for where, name in ((instance_norm.functional, "instance_norm"), (torch, "native_group_norm")):
        real = getattr(where, name)
        monkeypatch.setattr(where, name, lambda *given, name=name, real=real: (names.append(name), real(*given))[1])
    return names


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("channels", "size", "faster"),
    [
        (16, (32, 32), True),
        (40, (16, 9, 8), True),
        (16, (31, 33), False),
        (64, (8, 8, 8), False),
        (15, (40, 40), False),
    ],
)
def test_predictions_are_those_of_torch_and_keep_the_layout(called, channels, size, faster, dtype):
    plain, given = norm(len(size), channels), image(channels, size, dtype)
    with torch.inference_mode():
        wanted, found = plain(given), ChannelsLastInstanceNorm(plain)(given)
    assert called == ["instance_norm", "native_group_norm" if faster else "instance_norm"]
    assert found.dtype == dtype
    torch.testing.assert_close(found, wanted, atol=1e-4 if dtype == torch.float32 else 0.04, rtol=0)
    if faster:
        assert found.is_contiguous(memory_format=LAYOUT[len(size)])


@pytest.mark.parametrize("mean", [10.0, -1000.0])
def test_a_large_mean_does_not_cancel(called, mean):
    """Sums of squares would be off by more than the variance at a mean of 1000."""
    plain, given = norm(3, 16), mean + image(16, (12, 12, 12))
    exact = norm(3, 16).double()(given.double())
    with torch.inference_mode():
        found = ChannelsLastInstanceNorm(plain)(given)
    assert called[-2:] == ["native_group_norm", "instance_norm"]
    torch.testing.assert_close(found, exact.float(), atol=1e-4, rtol=0)


def test_a_training_has_torchs_instance_norm(called):
    plain, given = norm(2, 16), image(16, (40, 40)).requires_grad_()
    found = ChannelsLastInstanceNorm(plain)(given)
    assert called == ["instance_norm"]
    (gradient,) = torch.autograd.grad(found.square().sum(), given)
    (wanted,) = torch.autograd.grad(plain(given).square().sum(), given)
    assert torch.equal(gradient, wanted)


def test_an_exported_network_has_torchs_instance_norm():
    plain, given = norm(2, 16), image(16, (40, 40))
    own = nn.Sequential(plain)
    keep_channels_last(own)
    with torch.no_grad():
        scripted, traced = torch.jit.script(own), torch.jit.trace(own, given)
        program = torch.export.export(own, (given,))
        for exported in (scripted, traced):
            torch.testing.assert_close(exported(given), plain(given))
        torch.testing.assert_close(program.module()(given), plain(given))
    assert "group_norm" not in str(scripted.inlined_graph) + str(traced.inlined_graph) + str(program.graph)
    assert "instance_norm" in str(scripted.inlined_graph)


class Own(nn.InstanceNorm2d):
    """A norm that does something else."""

    def forward(self, image):
        return super().forward(image) + 7


def test_weights_keep_their_names_and_other_norms_stay():
    network = nn.Sequential(
        norm(2, 4), nn.InstanceNorm2d(4), nn.InstanceNorm2d(4, affine=True, track_running_stats=True)
    )
    network.append(Own(2, affine=True))
    before = dict(network.state_dict())
    kinds = [type(layer) for layer in network][1:]
    keep_channels_last(network)
    assert network.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert [type(layer) for layer in network] == [ChannelsLastInstanceNorm, *kinds]


def test_every_stage_of_a_network_has_it():
    stages = {name: nn.Sequential(nn.Conv2d(1, 2, 1), norm(2, 2)) for name in ("coarse", "fine")}
    network = LandmarkNetwork(stages, landmarks=2, spatial_dims=2)
    assert sum(isinstance(layer, ChannelsLastInstanceNorm) for layer in network.modules()) == 2
    assert not any(isinstance(layer, nn.InstanceNorm2d) for layer in network.modules())
