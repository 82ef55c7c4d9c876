"""A trainer of two convolutions, for what a step does around a network."""

import torch
from torch import nn

from auto_config.bundle_scripts.methods.interfaces import LOGITS
from auto_config.bundle_scripts.training.trainer import PatchTrainer

STAGES = ("coarse", "fine")


class Net(nn.Module):
    """A convolution for each stage."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleDict({name: nn.Conv2d(1, 2, 1) for name in STAGES})

    def forward(self, images):
        return {name: {LOGITS: self.layers[name](image)} for name, image in images.items()}


class Distance(nn.Module):
    """Of the logits from 3."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, output, truth, size):
        return self.factor * (output[LOGITS] - 3).square().mean()


def batch():
    random = torch.Generator().manual_seed(0)
    stage = {
        "image": torch.randn((2, 1, 1, 4, 4), generator=random),
        "points": torch.zeros(2, 1, 2, 2),
        "status": torch.tensor([[[1, 0]], [[1, -1]]]),
    }
    return {**dict.fromkeys(STAGES, stage), "seed": torch.zeros(2).long(), "index": torch.arange(2)}


def trainer(network, gradient_clip, *, loss=Distance, amp=False, **options):
    return PatchTrainer(
        network=network,
        loss_function={"coarse": loss(2.0), "fine": loss(1.0)},
        gradient_clip=gradient_clip,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.1),
        device=torch.device("cpu"),
        max_epochs=1,
        train_data_loader=[batch()],
        amp=amp,
        **options,
    )
