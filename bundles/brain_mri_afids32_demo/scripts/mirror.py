"""Looking in the mirror: the mirror image of an image as a further view of every network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.inferers import Inferer

from .ensemble import shape_of, views_of
from .heatmaps import Heatmaps


class MirroredInferer(Inferer):
    """Another inferer, with a network that also looks in the mirror.

    Logits of the image and of its mirror image, back in place and with paired landmarks exchanged, are averaged. Only
    for networks that were trained on mirrored images.

    Args:
        inferer: calls the network, on tensors or on one tensor for each stage.
        mirror_pairs: for each landmark the one that takes its place in the mirror, itself on the midline.
    """

    def __init__(self, inferer: Inferer, mirror_pairs: Sequence[int]) -> None:
        super().__init__()
        self.inferer, self.mirror_pairs = inferer, list(mirror_pairs)

    def __call__(self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        """What the other inferer gives; mirroring is along the first spatial axis, left to right."""
        return self.inferer(inputs, MirroredNetwork(network, self.mirror_pairs), *args, **kwargs)

    def heatmaps(self, image: torch.Tensor, network: Callable[..., Any]) -> Heatmaps:
        """The heatmaps of a `HeatmapInferer`, with the mirror image as further views."""
        return self.inferer.heatmaps(image, MirroredNetwork(network, self.mirror_pairs))


class MirroredNetwork:
    """A network that averages over an image and its mirror image.

    Args:
        network: called with a tensor ``(B, C, *size)``, or with one for each stage.
        pairs: for each landmark the one that takes its place in the mirror.
    """

    def __init__(self, network: Callable[..., Any], pairs: list[int]) -> None:
        self.network, self.pairs = network, pairs
        self.shape = shape_of(network)

    def views(self) -> list[Callable[..., Any]]:
        """Each view of the network as it is, then each in the mirror, in the same order."""
        plain = views_of(self.network)
        return [*plain, *self.in_mirror(plain)]

    def in_mirror(self, views: list[Callable[..., Any]]) -> list[Callable[..., Any]]:
        """Views that see the mirror image."""
        return [_InMirror(view, self.pairs) for view in views]

    def __call__(self, image: Any) -> Any:
        """The mean of both, of the form that the network gives."""
        plain, mirrored = self.network(image), _InMirror(self.network, self.pairs)(image)
        if isinstance(plain, dict):
            return {name: (plain[name] + mirrored[name]) / 2 for name in plain}
        return (plain + mirrored) / 2


class _InMirror:
    """A network that sees the mirror image; its logits come back in place, with paired landmarks exchanged."""

    def __init__(self, network: Callable[..., Any], pairs: list[int]) -> None:
        self.network, self.pairs = network, pairs

    def __call__(self, image: Any) -> Any:
        return _each(self.network(_each(image, lambda x: x.flip(2))), lambda x: x[:, self.pairs].flip(2))


def _each(image: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """Change a tensor, or each tensor of a dictionary."""
    return {name: change(x) for name, x in image.items()} if isinstance(image, dict) else change(image)
