"""MONAI's trainer for patches of several stages: what it lacks in a step, in one place."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from monai.engines import SupervisedTrainer
from monai.inferers import Inferer
from torch import nn

from ..methods.half_precision import half_type_of
from ..methods.losses import StagesLoss
from ..points.instances import Instances
from .augmentation import IntensityAugmentation
from .batch import PrepareBatch, TrainingInferer
from .cpu_memory import keep_freed_memory
from .gradients import GradientClip
from .output import KeepLoss

NO_HALF_PRECISION = (
    "This GPU has no units for half precision, with which memory was planned: a step takes about half as much again. "
    "Where it does not fit, train with --batch_size 1 where it is more, or create the bundle with two thirds of the "
    "memory as --gpu_memory_gb."
)


CUDNN = 91500
"""cuDNN 9.15: before it, 3D convolutions in half precision are slow, or take many times the memory (pytorch#166643)."""


def old_cudnn(version: int | None) -> str | None:
    """One line where cuDNN is older than that; `version` is that of ``torch.backends.cudnn``."""
    if version is None or version >= CUDNN:
        return None
    have = f"{version // 10000}.{version // 100 % 100}"
    return f"cuDNN {have} is older than 9.15, with which 3D convolutions in half precision are fast: update torch."


class PatchTrainer(SupervisedTrainer):
    """`SupervisedTrainer` on patches of one or several stages.

    It adds to a step: a batch for each stage, with intensity augmentation on the device; bfloat16 on CPUs too (MONAI's
    ``amp`` knows CUDA only, and takes the loss into half precision as well); the sum of the stages' losses; a largest
    norm of the gradient; and an output that is the loss alone, so that no logits live on while the next step computes,
    and MONAI's own handlers can read it. On GPUs before Ampere, which have units for float16 alone, the loss is scaled
    by MONAI's `GradScaler`, and the gradient is scaled back before it is clipped.

    Args:
        network: A `LandmarkNetwork`, plain or wrapped for several processes.
        loss_function: The `scripts.methods.interfaces.Loss` of each stage by name, in the order of the stages.
        gradient_clip: Largest 2-norm of the whole gradient.
        inferer: Calls the network with ``{stage: (B, C, *size)}``.
        augmentation: Of intensities; None leaves them alone.
        instances: Where there are many of a landmark, or exchangeable pairs: which rows of points a channel shows.
        device: That of the network.
        amp: Use half precision where the device is made for it.
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
        device: torch.device | str,
        amp: bool = True,
        train_handlers: Sequence[Any] = (),
        **engine: Any,
    ) -> None:
        keep_freed_memory()
        half = half_type_of(torch.device(device))
        if amp and half is None and torch.device(device).type == "cuda" and torch.cuda.is_available():
            logging.getLogger(__name__).warning(NO_HALF_PRECISION)
        if torch.cuda.is_available() and (line := old_cudnn(torch.backends.cudnn.version())) is not None:
            logging.getLogger(__name__).warning(line)
        # Batches lie in pinned memory where there is a GPU, and gradients are made anew in place of zeros.
        usual = {"non_blocking": True, "optim_set_to_none": True}
        super().__init__(
            network=network,
            loss_function=StagesLoss(loss_function, instances),
            inferer=TrainingInferer(amp, inferer),
            prepare_batch=PrepareBatch(list(loss_function), augmentation),
            train_handlers=[KeepLoss(), GradientClip(network, gradient_clip), *train_handlers],
            decollate=False,
            device=device,
            # MONAI's step scales the loss, and leaves types to the inferer: the loss stays in float32.
            amp=amp and half == torch.float16,
            amp_kwargs={"enabled": False},
            **(usual | engine),
        )
