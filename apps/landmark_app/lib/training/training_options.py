"""What a client may choose about a training, checked before anything of it reaches a config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..core.devices import torch_device
from ..core.errors import ClientError
from ..core.requests import flag, integer, number

OWN_VALIDATION = -1.0
"""A `val_split` that stands for the validation cases of the bundle's own data list."""

MOST_EPOCHS = 100_000


@dataclass(frozen=True)
class TrainingOptions:
    """How to train.

    Attributes:
        max_epochs: number of epochs.
        pretrained: go on from the weights in use, where there are any; else from scratch.
        val_split: share of the labelled images that is held out to judge the weights, or `OWN_VALIDATION`.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        processes: GPUs that train together.
    """

    max_epochs: int
    pretrained: bool
    val_split: float
    device: str
    processes: int


def read_training_options(
    request: Mapping[str, Any], *, default_epochs: int, devices: Mapping[str, str], gpus: int
) -> TrainingOptions:
    """Read a request for a training.

    Args:
        request: of a client: ``max_epochs``, ``pretrained``, ``val_split``, ``device``, ``multi_gpu``; what is not
            there has its default, and other names do nothing.
        default_epochs: where the request does not say.
        devices: what clients call the devices, and what torch does; the first is the default.
        gpus: number of GPUs that may train together.

    Raises:
        ClientError: a value that is not allowed.
    """
    epochs = integer("max_epochs", request.get("max_epochs", default_epochs))
    if not 1 <= epochs <= MOST_EPOCHS:
        raise ClientError(f"max_epochs is {epochs}; give a whole number from 1 to {MOST_EPOCHS}")
    share = number("val_split", request.get("val_split", 0.2))
    if share != OWN_VALIDATION and not 0.0 <= share < 1.0:
        raise ClientError(
            f"val_split is {share}; give a share of the labelled images from 0 to below 1, or -1 for the bundle's own "
            "validation cases"
        )
    device = torch_device(request.get("device"), devices)
    # As in MONAI Label: clients always name a device, so `multi_gpu` off is what makes it count among several.
    together = flag("multi_gpu", request.get("multi_gpu", True)) and device.startswith("cuda") and gpus > 1
    return TrainingOptions(
        max_epochs=epochs,
        pretrained=flag("pretrained", request.get("pretrained", True)),
        val_split=share,
        device=device,
        processes=gpus if together else 1,
    )
