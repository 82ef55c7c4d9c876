"""Several trained networks as one, the mean of their logits, and what may be asked of a network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn


class EnsembleNetwork(nn.Module):
    """Mean of the logits of several networks of the same kind.

    Heatmaps are averaged, not points, so that a network that is far off is outvoted instead of drawing the mean to the
    side. The shape model is that of the first network.

    Args:
        members: the networks, at least one.

    Raises:
        ValueError: there is no network.
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        if not members:
            raise ValueError("an ensemble needs at least one network")
        self.members = nn.ModuleList(members)
        self.shape = getattr(members[0], "shape", None)

    def views(self) -> list[nn.Module]:
        """The networks one by one; see `views_of`."""
        return list(self.members)

    def forward(self, image: torch.Tensor | dict[str, torch.Tensor]) -> torch.Tensor | dict[str, torch.Tensor]:
        """Mean logits (B, L, spatial...) for an image (B, C, spatial...), or a dictionary of both, name by name."""
        first, *rest = self.members
        mean = first(image)
        # One sum that grows, so that memory holds two outputs and not one for each network.
        for member in rest:
            output = member(image)
            mean = {k: mean[k] + output[k] for k in mean} if isinstance(mean, dict) else mean + output
        count = len(self.members)
        return {k: value / count for k, value in mean.items()} if isinstance(mean, dict) else mean / count


def views_of(network: Callable[..., Any]) -> list[Callable[..., Any]]:
    """The networks whose outputs a network averages: members of an ensemble, mirror images; else the network alone."""
    views = getattr(network, "views", None)
    return views() if callable(views) else [network]


def shape_of(network: Any) -> Any:
    """The shape model of a network, also inside of a wrapper for several GPUs; None for other networks."""
    return getattr(network, "shape", None) or getattr(getattr(network, "module", None), "shape", None)
