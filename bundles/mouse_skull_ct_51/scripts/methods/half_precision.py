"""Half precision: where a device is made for it, and a network that predicts in it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch

from .interfaces import Output, StageNetwork


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


class HalfPrecisionNetwork:
    """A network that predicts in bfloat16 where the device is made for it, and gives its output in float32.

    Everything that follows, averages of windows and views and the decoder, is in float32. For outputs that are logits:
    a step of bfloat16 is 1/16 between 8 and 16, and a point is a mean of many voxels.

    Args:
        network: called with one tensor ``(B, C, *size)`` for each stage.
        left: stages whose output stays as it is, for callers that turn the part of it that they keep to float32.
    """

    def __init__(self, network: StageNetwork, left: Collection[str] = ()) -> None:
        self.network, self.left = network, frozenset(left)
        self.flipped = network.flipped

    @property
    def shape(self) -> Any:
        """The shape model of the network."""
        return self.network.shape

    def views(self) -> list[Any]:
        """Each view of the network, in half precision too."""
        return [HalfPrecisionNetwork(view, self.left) for view in self.network.views()]

    def __call__(self, images: dict[str, torch.Tensor]) -> dict[str, Output]:
        """The output of each stage, heads in float32 but for those that are left."""
        device = next(iter(images.values())).device
        # Not in float16: feature maps of weights that were trained in another type may be too large for it.
        half = half_type_of(device) is torch.bfloat16
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=half):
            outputs = self.network(images)
        return {
            name: output if name in self.left else {head: value.float() for head, value in output.items()}
            for name, output in outputs.items()
        }
