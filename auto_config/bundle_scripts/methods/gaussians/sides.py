"""Left and right: points of a pair that lie on each other's side change places."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from ...points.landmark_names import read_flip_pairs, read_landmark_names
from ...points.peaks import Peaks
from ..interfaces import Decoder, Output

_SIDES = {("left", "right"), ("l", "r")}


def read_sides(landmarks: str | Path) -> tuple[tuple[int, int], ...]:
    """The pairs of ``configs/landmarks.json`` whose names say which is left: indices (left, right).

    Raises:
        ValueError: the file is missing or is not a ``landmarks.json``.
    """
    return sides_of(read_landmark_names(landmarks), read_flip_pairs(landmarks))


def sides_of(names: Sequence[str], pairs: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """(left, right) of each pair whose names differ in the word for the side alone.

    Args:
        names: of the landmarks.
        pairs: for each landmark the one that takes its place in the mirror image.
    """
    words = [re.findall(r"[a-z]+|[0-9]+", name.lower()) for name in names]
    found = []
    for left, right in enumerate(pairs):
        differ = [two for two in zip(words[left], words[right], strict=False) if two[0] != two[1]]
        if len(words[left]) == len(words[right]) and len(differ) == 1 and differ[0] in _SIDES:
            found.append((left, right))
    return tuple(found)


class SideCheckDecoder:
    """Exchanges the points of a pair where both are found and the left one lies to the right of the right one.

    The first axis of a planned volume goes from left to right. Pictures have no such axis.

    Source: nnLandmark's first version (Ertl et al., arXiv 2504.06742); its released code has no such step.

    Args:
        decoder: finds one peak for each landmark.
        landmarks: path of a bundle's ``configs/landmarks.json``, or pairs of indices (left, right).
        least: confidence from which a point is found.
    """

    def __init__(self, decoder: Decoder, landmarks: str | Path | Sequence[Sequence[int]], least: float = 0.5) -> None:
        self.decoder, self.least = decoder, float(least)
        self.heads, self.stride = decoder.heads, decoder.stride
        pairs = read_sides(landmarks) if isinstance(landmarks, (str, Path)) else landmarks
        self.pairs = [(int(left), int(right)) for left, right in pairs]

    def decode(self, output: Output, log_prior: torch.Tensor | None = None) -> Peaks:
        """One peak for each channel, on its own side; see `scripts.methods.interfaces.Decoder`."""
        found = self.decoder.decode(output, log_prior)
        order = self._order(found)
        return replace(found, **{name: column[order] for name, column in vars(found).items()})

    def unflip(self, output: Output, pairs: Sequence[int]) -> Output:
        """As the decoder has it."""
        return self.decoder.unflip(output, pairs)

    def density(self, output: Output) -> torch.Tensor | None:
        """That of the channel which a landmark's point comes from."""
        density = self.decoder.density(output)
        return None if density is None else density[self._order(self.decoder.decode(output))]

    def single(self) -> SideCheckDecoder:
        """Itself: it finds one peak for each landmark."""
        return self

    def _order(self, found: Peaks) -> list[int]:
        """For each landmark the channel that its point comes from."""
        order = list(range(len(found.points)))
        across, sure = found.points[:, 0].tolist(), (found.confidence >= self.least).tolist()
        for left, right in self.pairs:
            if sure[left] and sure[right] and across[left] > across[right]:
                order[left], order[right] = right, left
        return order
