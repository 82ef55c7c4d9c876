"""Start a training from the weights of another bundle."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from ignite.engine import Engine
from torch import nn

from ..files.weights import read_weights


class LoadPretrained:
    """Handler that loads every tensor whose name and shape are the same in both networks, before a training starts.

    The output layers of a bundle with other landmarks differ and stay as they are; so does the shape model. A file of
    an encoder alone, such as one trained on natural images, fits where the network's names end with its names. Handlers
    that load when the training starts come later: weights that are resumed from, or continued from, count more.

    Args:
        network: to load into; not wrapped.
        path: a plain state dict.

    Raises:
        ValueError: when it is attached, if nothing fits.
    """

    def __init__(self, network: nn.Module, path: str) -> None:
        self.network, self.path = network, path

    def attach(self, _: Engine) -> None:
        """Load now."""
        found = read_weights(self.path)
        own = self.network.state_dict()
        fitting = {
            name: found[_name_in(found, name)]
            for name, tensor in own.items()
            if not name.startswith("shape.") and _shape(found.get(_name_in(found, name))) == tensor.shape
        }
        if not fitting:
            raise ValueError(
                f"{self.path}: no tensor fits this network; use the weights of a bundle with the same --network"
            )
        self.network.load_state_dict(fitting, strict=False)


def _name_in(found: Mapping[str, torch.Tensor], name: str) -> str:
    """The name of a tensor of the network in a file: its own, or the longest end of it that has a dot."""
    while name not in found and name.count(".") > 1:
        name = name.partition(".")[2]
    return name


def _shape(tensor: torch.Tensor | None) -> torch.Size | None:
    return None if tensor is None else tensor.shape
