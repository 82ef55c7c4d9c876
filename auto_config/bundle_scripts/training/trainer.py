"""MONAI's trainer for patches of several stages: what it lacks in a step, in one place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from monai.engines import SupervisedTrainer
from monai.inferers import Inferer
from torch import nn

from ..methods.losses import StagesLoss
from ..points.instances import Instances
from .augmentation import IntensityAugmentation
from .batch import PrepareBatch, TrainingInferer
from .cpu_memory import keep_freed_memory
from .gradients import GradientClip
from .output import KeepLoss


class PatchTrainer(SupervisedTrainer):
    """`SupervisedTrainer` on patches of one or several stages.

    It adds to a step: a batch for each stage, with intensity augmentation on the device; bfloat16 on CPUs too, without
    scaled gradients (MONAI's ``amp`` knows CUDA only, and gives handlers gradients that are still scaled); the sum of
    the stages' losses; a largest norm of the gradient; and an output that is the loss alone, so that no logits live on
    while the next step computes, and MONAI's own handlers can read it.

    Args:
        network: A `LandmarkNetwork`, plain or wrapped for several processes.
        loss_function: The `scripts.methods.interfaces.Loss` of each stage by name, in the order of the stages.
        gradient_clip: Largest 2-norm of the whole gradient.
        inferer: Calls the network with ``{stage: (B, C, *size)}``.
        augmentation: Of intensities; None leaves them alone.
        instances: Where there are many of a landmark, or exchangeable pairs: which rows of points a channel shows.
        amp: Use bfloat16 where the device is made for it.
        train_handlers: Come after those that the step needs.
        **engine: See `SupervisedTrainer`.
    """

    def __init__(
        self,
        *,
        network: nn.Module,
        loss_function: Mapping[str, nn.Module],
        gradient_clip: float,
        inferer: Inferer | None = None,
        augmentation: IntensityAugmentation | None = None,
        instances: Instances | None = None,
        amp: bool = True,
        train_handlers: Sequence[Any] = (),
        **engine: Any,
    ) -> None:
        keep_freed_memory()
        super().__init__(
            network=network,
            loss_function=StagesLoss(loss_function, instances),
            inferer=TrainingInferer(amp, inferer),
            prepare_batch=PrepareBatch(list(loss_function), augmentation),
            train_handlers=[KeepLoss(), GradientClip(network, gradient_clip), *train_handlers],
            decollate=False,
            **engine,
        )
