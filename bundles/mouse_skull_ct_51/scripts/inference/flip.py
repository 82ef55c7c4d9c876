"""Flip test-time augmentation: the mirror image of an image as a further view of every network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ..methods.ensemble import mean_of_two
from ..methods.interfaces import Decoder, Output, StageNetwork, kept_heads


class MirroredNetwork:
    """A network that averages over an image and its mirror image.

    The outputs of the mirror image come back in place, with paired landmarks exchanged. Only for networks that were
    trained on mirrored images. Mirroring is along the first spatial axis, left to right.

    Args:
        network: called with one tensor ``(B, C, *size)`` for each stage.
        pairs: for each landmark the one that takes its place in the mirror.
        decoders: the decoder of each stage by name.
    """

    flipped = True

    def __init__(self, network: StageNetwork, pairs: Sequence[int], decoders: Mapping[str, Decoder]) -> None:
        self.network, self.pairs, self.decoders = network, list(pairs), decoders

    @property
    def shape(self) -> Any:
        """The shape model of the network."""
        return self.network.shape

    def views(self) -> list[Any]:
        """Each view of the network as it is, then each on the mirror image, in the same order."""
        plain = self.network.views()
        return [*plain, *[_Flipped(view, self.pairs, self.decoders) for view in plain]]

    def __call__(self, images: dict[str, torch.Tensor]) -> dict[str, Output]:
        """The mean of both."""
        # Only what the decoders read: they know of no other head what it is in the mirror.
        plain = {name: kept_heads(output, self.decoders[name]) for name, output in self.network(images).items()}
        mean: dict[str, Output] = mean_of_two(plain, _Flipped(self.network, self.pairs, self.decoders)(images))
        return mean


class _Flipped:
    """A network that sees the mirror image; its outputs come back in place, with paired landmarks exchanged."""

    def __init__(self, network: StageNetwork, pairs: list[int], decoders: Mapping[str, Decoder]) -> None:
        self.network, self.pairs, self.decoders = network, pairs, decoders

    def __call__(self, images: dict[str, torch.Tensor]) -> dict[str, Output]:
        outputs = self.network({name: image.flip(2) for name, image in images.items()})
        kept = {name: kept_heads(output, self.decoders[name]) for name, output in outputs.items()}
        return {name: self.decoders[name].unflip(output, self.pairs) for name, output in kept.items()}
