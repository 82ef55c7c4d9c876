"""Start a training from the weights of another bundle."""

from __future__ import annotations

from ignite.engine import Engine
from torch import nn

from ..files.weights import read_weights


class LoadPretrained:
    """Handler that loads every tensor whose name and shape are the same in both networks, before a training starts.

    The output layers of a bundle with other landmarks differ and stay as they are; so does the shape model. Handlers
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
            name: tensor
            for name, tensor in found.items()
            if name in own and own[name].shape == tensor.shape and not name.startswith("shape.")
        }
        if not fitting:
            raise ValueError(
                f"{self.path}: no tensor fits this network; use the weights of a bundle with the same --network"
            )
        self.network.load_state_dict(fitting, strict=False)
