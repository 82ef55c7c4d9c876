"""From a collated batch to what the trainer steps on, and how it calls the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.inferers import Inferer, SimpleInferer
from torch import nn

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


def half_type(kind: str, capability: tuple[int, int] | None = None, *, units: bool = False) -> torch.dtype | None:
    """The half precision that a device computes convolutions in faster than in float32.

    Args:
        kind: ``cuda``, ``cpu`` or another type of device.
        capability: compute capability of an NVIDIA GPU, such as (7, 5); None for GPUs of others, which torch also calls
            ``cuda``.
        units: whether a CPU, or a GPU without a capability, has units for bfloat16.

    Returns:
        bfloat16 since Ampere (8.0); float16 on Volta and Turing (7.0, 7.5: V100, T4, RTX 20), which have units for that
        one alone; None where neither pays.
    """
    if kind == "cuda" and capability is not None:
        return torch.bfloat16 if capability >= (8, 0) else torch.float16 if capability >= (7, 0) else None
    return torch.bfloat16 if kind in ("cuda", "cpu") and units else None


def half_type_of(device: torch.device) -> torch.dtype | None:
    """`half_type` of a device of this machine; None for a GPU that is not there."""
    if device.type == "cuda":
        if not torch.cuda.is_available():
            return None
        if torch.version.hip:
            return half_type("cuda", units=torch.cuda.is_bf16_supported(including_emulation=False))
        return half_type("cuda", torch.cuda.get_device_capability(device))
    flags = torch.cpu
    has_units = device.type == "cpu" and (flags._is_avx512_bf16_supported() or flags._is_amx_tile_supported())
    return half_type(device.type, units=bool(has_units))


class TrainingInferer(Inferer):
    """Calls the network on a training batch, in half precision where asked for and where the device is made for it.

    bfloat16 needs no loss scaling and works on CPUs too; with float16 the trainer scales the loss. Outputs go to the
    loss in float32; whole volumes are always computed in full precision, because half-precision logits lose the peak.

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
