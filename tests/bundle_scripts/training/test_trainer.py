"""The trainer of patches: what it adds to a step of MONAI's, against a step by hand."""

import copy

import pytest
import small_trainer
import torch
from ignite.engine import Events
from monai.engines import IterationEvents
from small_trainer import STAGES, Net, batch
from torch import nn

from auto_config.bundle_scripts.methods.interfaces import LOGITS
from auto_config.bundle_scripts.training.augmentation import IntensityAugmentation


class Loss(nn.Module):
    """Of the logits and of the number of known landmarks."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, output, truth, size):
        assert size == (4, 4) and truth.points.shape == (2, 2, 1, 2)
        return self.factor * (output[LOGITS] - 3).square().mean() * (truth.status >= 0).sum()


def trainer(network, gradient_clip, **options):
    return small_trainer.trainer(network, gradient_clip, loss=Loss, **options)


@pytest.mark.parametrize("gradient_clip", [0.5, 1e6])
def test_a_step_is_the_sum_of_the_stages_with_a_clipped_gradient(gradient_clip):
    torch.manual_seed(0)
    ours = Net()
    theirs = copy.deepcopy(ours)
    trainer(ours, gradient_clip).run()
    image = batch()["fine"]["image"].flatten(0, 1)
    out = theirs(dict.fromkeys(STAGES, image))
    sum(
        factor * 3 * (out[name][LOGITS] - 3).square().mean() for name, factor in (("coarse", 2), ("fine", 1))
    ).backward()
    norm = torch.cat([x.grad.flatten() for x in theirs.parameters()]).norm()
    scale = min(1.0, gradient_clip / float(norm))
    assert (scale < 1) == (gradient_clip < 1)
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other - 0.1 * scale * other.grad)


def test_the_output_of_a_step_is_its_loss_alone_for_the_handlers_that_follow():
    seen = []

    class Look:
        def attach(self, engine):
            engine.add_event_handler(IterationEvents.MODEL_COMPLETED, lambda e: seen.append(e.state.output))
            engine.add_event_handler(Events.ITERATION_COMPLETED, lambda e: seen.append(e.state.output))

    trainer(Net(), 1.0, train_handlers=[Look()]).run()
    for output in seen:
        ((name, loss),) = output[0].items()
        assert (len(output), name, loss.ndim, loss.requires_grad) == (1, "loss", 0, False)
    assert len(seen) == 2


def test_intensities_are_augmented_for_each_patch_and_stage():
    images = []

    def keep(inputs, network):
        images.append(inputs)
        return network(inputs)

    trainer(Net(), 1.0, inferer=keep, augmentation=IntensityAugmentation(brightness=(1.0, 2.0, 3.0))).run()
    ratio = torch.stack([images[0][name] / batch()[name]["image"].flatten(0, 1) for name in STAGES]).flatten(2)
    torch.testing.assert_close(ratio, ratio[..., :1].expand_as(ratio))
    factors = ratio[..., 0].flatten()
    assert ((factors > 2) & (factors < 3)).all() and len(factors.unique()) == 4
