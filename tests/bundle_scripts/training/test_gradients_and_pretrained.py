"""Handlers of the trainer: the gradient's norm, and weights of another bundle."""

import pytest
import torch
from ignite.engine import Engine
from monai.engines import IterationEvents
from torch import nn

from auto_config.bundle_scripts.points.shape import ShapeModel
from auto_config.bundle_scripts.training.gradients import GradientClip
from auto_config.bundle_scripts.training.pretrained import LoadPretrained


def norm(network):
    return float(torch.cat([p.grad.flatten() for p in network.parameters()]).norm())


@pytest.mark.parametrize(("size", "expected"), [(100.0, 12.0), (0.1, None)])
def test_a_gradient_is_scaled_down_and_never_up(size, expected):
    network = nn.Linear(4, 3)
    for p in network.parameters():
        p.grad = torch.full_like(p, size)
    before = norm(network)
    engine = Engine(lambda engine, _: engine.fire_event(IterationEvents.BACKWARD_COMPLETED))
    engine.register_events(*IterationEvents)
    engine.scaler = None  # as a trainer of MONAI has it without scaled losses
    GradientClip(network, 12.0).attach(engine)
    engine.run([0])
    assert norm(network) == pytest.approx(before if expected is None else expected, rel=1e-4)


def test_a_norm_must_be_positive():
    with pytest.raises(ValueError, match="largest gradient norm is 0"):
        GradientClip(nn.Linear(1, 1), 0)


def network(landmarks):
    made = nn.Module()
    made.body, made.output = nn.Conv2d(1, 8, 3), nn.Conv2d(8, landmarks, 1)
    made.shape = ShapeModel(landmarks, 2)
    made.shape.mean.fill_(landmarks)
    return made


@pytest.mark.parametrize("landmarks", [3, 5])
def test_what_fits_is_loaded_and_the_shape_is_not(tmp_path, landmarks):
    source, target = network(5), network(landmarks)
    before = target.output.weight.clone()
    path = tmp_path / "pretrained.pt"
    source.shape.mean.fill_(-1)
    torch.save(source.state_dict(), path)
    assert not torch.equal(target.body.weight, source.body.weight)
    LoadPretrained(target, str(path)).attach(Engine(lambda *_: None))
    assert torch.equal(target.body.weight, source.body.weight)
    assert torch.equal(target.output.weight, source.output.weight if landmarks == 5 else before)
    assert (target.shape.mean == landmarks).all()


def test_weights_of_another_network_are_refused(tmp_path):
    path = tmp_path / "pretrained.pt"
    torch.save({"other": torch.ones(3)}, path)
    with pytest.raises(ValueError, match="no tensor fits this network"):
        LoadPretrained(network(3), str(path)).attach(Engine(lambda *_: None))


def test_a_file_of_an_encoder_alone_fits_by_the_ends_of_names(tmp_path):
    target = nn.Module()
    target.stages = nn.ModuleDict({"fine": nn.ModuleDict({"encoder": nn.ModuleDict({"conv": nn.Conv2d(1, 8, 3)})})})
    path = tmp_path / "encoder.pt"
    torch.save({"conv.weight": torch.ones(8, 1, 3, 3), "weight": torch.zeros(8, 1, 3, 3)}, path)
    bias = target.stages["fine"]["encoder"]["conv"].bias.detach().clone()
    LoadPretrained(target, str(path)).attach(Engine(lambda *_: None))
    assert (target.stages["fine"]["encoder"]["conv"].weight == 1).all()
    assert torch.equal(target.stages["fine"]["encoder"]["conv"].bias, bias)
