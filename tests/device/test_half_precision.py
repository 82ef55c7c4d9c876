"""Half precision by what a GPU can, with a scaled loss where it needs one, and what of a GPU goes into files."""

import copy

import pytest
import torch
from emulated_gpu import GPU, emulated_gpu
from small_trainer import Net, trainer

from auto_config.bundle_scripts.methods.half_precision import half_type
from auto_config.bundle_scripts.training import batch as batches
from auto_config.bundle_scripts.training import trainer as trainers
from auto_config.bundle_scripts.training.run.resume_state import weights_of
from auto_config.bundle_scripts.training.trainer import old_cudnn


@pytest.mark.parametrize(
    ("capability", "expected"),
    [
        ((6, 1), None),
        ((7, 0), torch.float16),  # V100
        ((7, 5), torch.float16),  # T4
        ((8, 0), torch.bfloat16),
        ((9, 0), torch.bfloat16),
        ((12, 0), torch.bfloat16),
    ],
)
def test_a_gpu_computes_in_what_it_has_units_for(capability, expected):
    assert half_type("cuda", capability) == expected


def test_other_devices_compute_in_bfloat16_where_they_have_units_for_it():
    assert [half_type(kind, units=True) for kind in ("cpu", "cuda", "mps")] == [torch.bfloat16, torch.bfloat16, None]
    assert half_type("cpu") is None


@pytest.fixture
def old_gpu(monkeypatch):
    """A CPU that is taken for a T4: float16, and a scaler that works on a CPU."""
    for module in (batches, trainers):
        monkeypatch.setattr(module, "half_type_of", lambda _: torch.float16)
    monkeypatch.setattr(torch.cuda.amp, "GradScaler", lambda: torch.amp.GradScaler("cpu", init_scale=1024.0))


def test_the_gradient_of_a_scaled_loss_is_clipped_as_it_is(old_gpu):
    torch.manual_seed(0)
    scaled = Net()
    plain = copy.deepcopy(scaled)
    one, other = trainer(scaled, 0.5, amp=True), trainer(plain, 0.5, amp=False)
    one.run()
    other.run()
    assert one.scaler is not None and one.scaler.get_scale() == 1024 and other.scaler is None
    for mine, theirs in zip(scaled.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=5e-3, atol=5e-4)


def test_the_loss_of_half_precision_is_in_single_precision(old_gpu):
    network, seen = Net(), []
    engine = trainer(network, 1.0, amp=True)
    loss = engine.loss_function.forward
    engine.loss_function.forward = lambda outputs, targets: (seen.append(outputs), loss(outputs, targets))[1]
    network.layers["fine"].register_forward_hook(lambda *given: seen.append(given[2]))
    engine.run()
    assert seen[0].dtype == torch.float16
    assert all(x.dtype == torch.float32 for output in seen[1].values() for x in output.values())
    assert engine.state.output[0]["loss"].dtype == torch.float32


def test_a_step_with_an_infinite_gradient_is_left_out_and_the_scale_is_halved(old_gpu):
    network = Net()
    before = copy.deepcopy(network.state_dict())
    engine = trainer(network, 1.0, amp=True)
    engine.loss_function.stages["fine"].factor = float("inf")
    engine.run()
    assert all(torch.equal(x, before[name]) for name, x in network.state_dict().items())
    assert engine.scaler.get_scale() == 512


def test_the_scale_is_in_the_state_of_a_training(old_gpu):
    engine = trainer(Net(), 1.0, amp=True)
    engine.run()
    state = engine.scaler.state_dict()
    other = torch.amp.GradScaler("cpu", init_scale=2.0)
    other.load_state_dict(state)
    assert state["scale"] == other.get_scale() == 1024


@pytest.mark.parametrize(
    ("version", "named"), [(91002, True), (90100, True), (91500, False), (91900, False), (None, False)]
)
def test_an_old_cudnn_is_named(version, named):
    assert (old_cudnn(version) is not None) == named
    assert old_cudnn(91002) is not None and "cuDNN 9.10 " in str(old_cudnn(91002))


def test_weights_with_several_names_are_copied_once():
    class Twice(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = torch.nn.Linear(4, 4)
            self.again = self.encoder

    network = Twice()
    with emulated_gpu() as gpu:
        weights = weights_of(network.to(GPU))
        assert not any(gpu.holds(x) for x in weights.values())
    assert len(weights) == 4 and len({x.data_ptr() for x in weights.values()}) == 2
