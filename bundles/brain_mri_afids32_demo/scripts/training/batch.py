"""From a collated batch to what the trainer steps on, and how it calls the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.inferers import Inferer, SimpleInferer
from torch import nn

from ..methods.half_precision import half_type_of
from ..methods.large_channels.rows_on_cpu import channels_first
from .augmentation import IntensityAugmentation


class PrepareBatch:
    """From a collated batch to ``(images, targets)`` on the device, with intensity augmentation there.

    Args:
        stages: names of the stages.
        augmentation: of intensities; None leaves them alone.
    """

    def __init__(self, stages: Sequence[str], augmentation: IntensityAugmentation | None = None) -> None:
        self.stages, self.augmentation = list(stages), augmentation

    def __call__(
        self, batch: Mapping[str, Any], device: torch.device | str | None = None, non_blocking: bool = False, **_: Any
    ) -> tuple[dict[str, torch.Tensor], dict[str, dict[str, Any]]]:
        """Patches of all samples of a stage become one batch.

        Returns:
            ``{stage: (B * N, C, *size)}`` and ``{stage: {"points": (B * N, L, D), "status": (B * N, L), "size": shape
            of the patch}}``; on a GPU with ``"host"``, points and status in the memory of the host.
        """
        images: dict[str, torch.Tensor] = {}
        targets: dict[str, dict[str, Any]] = {}
        base = np.stack([np.asarray(batch["seed"]), np.asarray(batch["index"])], axis=-1)
        for number, name in enumerate(self.stages):
            stage = batch[name]
            count = stage["image"].shape[1]
            image = stage["image"].flatten(0, 1).to(device, non_blocking=non_blocking)
            if self.augmentation is not None:
                seeds = [[*row, number, i] for row in base for i in range(count)]
                image = self.augmentation(image, np.asarray(seeds))
            images[name] = image
            host = {key: stage[key].flatten(0, 1) for key in ("points", "status")}
            targets[name] = {key: value.to(device, non_blocking=non_blocking) for key, value in host.items()}
            if image.device.type == "cuda":
                targets[name]["host"] = host
            targets[name]["size"] = tuple(image.shape[2:])
        return images, targets


class TrainingInferer(Inferer):
    """Calls the network on a training batch, in half precision where asked for and where the device is made for it.

    bfloat16 needs no loss scaling and works on CPUs too; with float16 the trainer scales the loss. Outputs go to the
    loss in float32.

    Args:
        amp: use mixed precision where it is fast.
        inferer: calls the network; None for a plain call.
    """

    def __init__(self, amp: bool = True, inferer: Inferer | None = None) -> None:
        super().__init__()
        self.amp, self.inferer = bool(amp), SimpleInferer() if inferer is None else inferer

    def __call__(self, inputs: dict[str, torch.Tensor], network: nn.Module, *args: Any, **kwargs: Any) -> dict:
        """The output of each stage, heads in float32."""
        device = next(iter(inputs.values())).device
        half = half_type_of(device) if self.amp else None
        with torch.autocast(device.type, dtype=half or torch.bfloat16, enabled=half is not None):
            outputs = self.inferer(inputs, network, *args, **kwargs)
        # Networks on a CPU have their channels last, and losses there go through one after the other.
        to_loss = channels_first if device.type == "cpu" else torch.Tensor.float
        return {name: {head: to_loss(x) for head, x in output.items()} for name, output in outputs.items()}
