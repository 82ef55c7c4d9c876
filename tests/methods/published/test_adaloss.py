"""Widths that follow the losses: the rule by hand, the handler over epochs, and a training that goes on as it was."""

import pytest
import torch
from contract_parts import plan_of
from ignite.engine import Engine
from monai.engines import IterationEvents
from monai.utils.enums import CommonKeys
from peak_memory import PeakMemory
from torch import nn

from auto_config.bundle import configs
from auto_config.bundle_scripts.methods.gaussians.scheduled import ScheduledSigmaLoss
from auto_config.bundle_scripts.methods.interfaces import LOGITS, PointBatch
from auto_config.bundle_scripts.methods.stages import LandmarkNetwork
from auto_config.bundle_scripts.training.run.adaloss import Adaloss, narrower
from auto_config.methods import METHODS

NAN = float("nan")


def test_the_rule_by_hand():
    """Variances of three epochs: 2/3 of the steps' squares; a real variance, and not that of the last loss alone."""
    history = torch.tensor([[4.0, 1.0, -1.0, 3.0], [3.0, 2.0, 3.0, 3.0], [2.0, 3.0, 2.0, 3.0], [1.5, 6.0, 1.0, 3.0]])
    # First: (4, 3, 2) varies by 2/3, (3, 2, 1.5) by 7/18; second: 2/3, then (2, 3, 6) by 26/9.
    first = 5 + 0.9 * (1 - (2 / 3) / (7 / 18))
    found = narrower(torch.full((4,), 5.0), history, rho=0.9, least=1.0)
    # The second loss varies more than before, so its heatmap would get wider; the third has no epoch of four yet; the
    # fourth does not vary at all.
    assert found.tolist() == pytest.approx([first, 5.0, 5.0, 5.0], abs=1e-4)
    assert narrower(torch.tensor([1.2]), history[:, :1], rho=0.9, least=1.0).tolist() == [1.0]


def truth(points, status):
    return PointBatch(torch.as_tensor(points, dtype=torch.float32)[:, :, None], torch.as_tensor(status))


@pytest.mark.parametrize("dims", [2, 3])
def test_every_axis_gets_narrower(dims):
    """landmarker changes two of three axes."""
    size, aspect = (11, 12, 9)[:dims], [1.0, 1.25, 3.0][:dims]
    point = torch.tensor([5.2, 6.1, 4.3][:dims])
    grid = torch.stack(torch.meshgrid(*[torch.arange(float(n)) for n in size], indexing="ij"), -1)
    logits = torch.randn((1, 3, *size), requires_grad=True)
    for sigma in (5.0, 1.0):
        target = torch.exp(-0.5 * ((grid - point) * torch.tensor(aspect) / sigma).square().sum(-1))
        output = {LOGITS: logits, "sigma": torch.tensor([sigma] * 3, requires_grad=True)}
        batch = truth(torch.stack([point, point, torch.full((dims,), NAN)])[None], [[1, -1, 0]])
        loss = ScheduledSigmaLoss(aspect)
        lost, known = loss.each(output, batch, size)
        expected = [float((logits[0, 0] - target).square().mean()), float(logits[0, 2].square().mean())]
        assert lost[0, [0, 2]].tolist() == pytest.approx(expected, rel=1e-4)
        assert known.tolist() == [[True, False, True]]
        value = loss(output, batch, size)
        assert float(value) == pytest.approx(sum(expected) / 2, rel=1e-4)
        gradient, none = torch.autograd.grad(value, [logits, output["sigma"]], allow_unused=True)
        assert none is None
        assert not gradient[0, 1].any()


def network():
    scalars = {"fine": {"sigma": [5.0, 5.0], "losses": [-1.0] * 8}}
    return LandmarkNetwork({"fine": nn.Conv2d(1, 2, 1)}, 2, 2, scalars=scalars, scheduled=["sigma", "losses"])


def train(module, heights, loss):
    """Epochs of one step each, in which the heatmaps of the first landmark are of these heights."""

    def step(engine, height):
        target = {"points": torch.full((1, 2, 2), 4.0), "status": torch.tensor([[1, -1]]), "size": (9, 9)}
        outputs = {"fine": {LOGITS: torch.full((1, 2, 9, 9), height), **module.scalars["fine"]()}}
        engine.state.output = {CommonKeys.PRED: outputs, CommonKeys.LABEL: {"fine": target}}
        engine.fire_event(IterationEvents.LOSS_COMPLETED)
        return engine.state.output

    engine = Engine(step)
    engine.register_events(*IterationEvents)
    Adaloss(network=module, loss=loss).attach(engine)
    widths = []
    for height in heights:
        engine.run([height], max_epochs=1)
        widths.append(module.get_buffer("scalars.fine.sigma").clone())
    return torch.stack(widths)


def test_widths_follow_the_epochs_and_a_stopped_training_goes_on_as_it_was():
    heights = [0.9, 0.8, 0.7, 0.62, 0.6, 0.6, 0.6]
    whole, loss = network(), ScheduledSigmaLoss([1.0, 1.0])
    widths = train(whole, heights, loss)
    # Four epochs make two windows; then the loss comes to rest. A landmark that nobody knows keeps its width.
    assert widths[:3, 0].tolist() == [5.0] * 3
    assert (widths[3:, 0].diff() <= 0).all() and float(widths[-1, 0]) < 4.9
    assert float(widths.min()) >= 1.0
    assert widths[:, 1].tolist() == [5.0] * 7
    begun, gone_on = network(), network()
    train(begun, heights[:5], loss)
    gone_on.load_state_dict(begun.state_dict())
    torch.testing.assert_close(train(gone_on, heights[5:], loss), widths[5:])


def test_what_a_schedule_sets_is_no_parameter_but_part_of_the_state():
    module = network()
    assert not [name for name, _ in module.named_parameters() if name.startswith("scalars")]
    assert {"scalars.fine.sigma", "scalars.fine.losses"} <= set(module.state_dict())
    assert module({"fine": torch.zeros(1, 1, 4, 4)})["fine"]["sigma"].tolist() == [5.0, 5.0]
    torch.jit.script(module)


@pytest.mark.parametrize("stages", [1, 2])
def test_each_stage_has_its_schedule(stages):
    written = configs.train_config(plan_of("adaloss", 3, stages), 3, "/nowhere", 0)
    found = [one for one in written["train"]["handlers"] if one["_target_"].endswith("Adaloss")]
    assert [(one["stage"], one["loss"]) for one in found] == [("coarse", "@coarse_loss"), ("fine", "@loss")][-stages:]
    assert written["network_def"]["scheduled"] == ["losses", "sigma"]


def test_bytes_that_a_scheduled_loss_holds():
    half = torch.randn((2, 2, 24, 24, 24)).bfloat16().requires_grad_()
    with PeakMemory() as memory:
        output = {LOGITS: half.float(), "sigma": torch.full((2,), 3.0)}
        ScheduledSigmaLoss([1.0] * 3)(output, truth(torch.full((2, 2, 3), 11.3), [[1, 1]] * 2), (24, 24, 24)).backward()
    limit = METHODS["adaloss"].loss_bytes_per_voxel
    assert 0.8 * limit < memory.peak / half.numel() <= limit
