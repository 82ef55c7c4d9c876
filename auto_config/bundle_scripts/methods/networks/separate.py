"""A network for each landmark, all with the same form and each with weights of its own."""

from collections.abc import Mapping, Sequence
from copy import deepcopy

import torch
from torch import nn

from ..stages import output_bias_of


class SeparateNetworks(nn.Module):
    """As many networks as landmarks, whose outputs are put together as one network of all landmarks would give them.

    Source: the single-landmark variant of Noothout et al., IEEE TMI 2020.

    Args:
        network: of one landmark, which gives the channels of all heads, one head after the other.
        number: landmarks.
        heads: channels of each head for one landmark.
        biases: first value of the bias of layers of each network, by their names.

    Raises:
        ValueError: no landmark, or no such layer with a bias.
    """

    def __init__(
        self, network: nn.Module, number: int, heads: Sequence[int], biases: Mapping[str, float] | None = None
    ) -> None:
        super().__init__()
        if number < 1:
            raise ValueError(f"there are {number} landmarks; at least one is needed")
        self.networks = nn.ModuleList(deepcopy(network) for _ in range(number))
        self.sizes = [int(size) for size in heads]
        for one in self.networks:
            for module in one.modules():
                reset = getattr(module, "reset_parameters", None)
                if callable(reset):
                    reset()
            for layer, value in (biases or {}).items():
                with torch.no_grad():
                    output_bias_of(one, layer).fill_(value)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """``(B, C, *size)`` to ``(B, channels, *grid)``: the first head of all landmarks, then the second."""
        found: list[torch.Tensor] = []
        for network in self.networks:
            found.append(network(image))  # noqa: PERF401  TorchScript lists no modules in a comprehension
        together = torch.stack(found, dim=1)
        heads = [part.flatten(1, 2) for part in together.split(self.sizes, dim=2)]
        return torch.cat(heads, dim=1)
