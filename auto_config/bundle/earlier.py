"""Bundles that earlier versions wrote: they carry their own scripts, whose parts had other interfaces.

Which version wrote a bundle is read from its files and its config, not from the parts themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from auto_config.bundle_scripts.inference.heatmaps import Heatmaps
from auto_config.bundle_scripts.methods.interfaces import LOGITS, Decoder, Output
from auto_config.bundle_scripts.points.peaks import Peaks, make_peaks
from auto_config.errors import UserError

Find = Callable[[torch.Tensor, Any], Heatmaps]
"""From an image ``(C, *size)`` on the planned grid and a network to its output and peaks."""

_INTERFACES = "methods/interfaces.py"
_MIRRORED = "MirroredInferer"
_INSTANCES = "InstanceDecoder"


def has_methods(scripts: Path) -> bool:
    """Whether a bundle's scripts have the interfaces of methods."""
    return (scripts / _INTERFACES).is_file()


class EarlierDecoder:
    """A decoder of an earlier version, which was called on logits, as one of today.

    Args:
        decoder: of the bundle; called with ``(L, *size)`` logits.
        single: the same, or the decoder of one peak that it holds; knows the density of logits.
        pairs: exchangeable pairs, whose channels are averaged.
    """

    heads: tuple[str, ...] = (LOGITS,)
    stride = 1

    def __init__(self, decoder: Any, single: Any, pairs: Sequence[Sequence[int]] = ()) -> None:
        self.decoder, self._single, self.pairs = decoder, single, [list(pair) for pair in pairs]

    def decode(self, output: Output, log_prior: torch.Tensor | None = None) -> Peaks:
        """Peaks of the logits."""
        return make_peaks(*self.decoder(output[LOGITS], log_prior))

    def unflip(self, output: Output, pairs: Sequence[int]) -> Output:
        """The logits of a mirror image back in place."""
        return {LOGITS: output[LOGITS][:, list(pairs)].flip(2)}

    def density(self, output: Output) -> torch.Tensor:
        """Probability of each voxel."""
        logits = output[LOGITS]
        if self.pairs:
            logits = logits.float().clone()
            for pair in self.pairs:
                logits[pair] = logits[pair].mean(dim=0, keepdim=True)
        found: torch.Tensor = self._single.density(logits)
        return found

    def single(self) -> Decoder:
        """The decoder of one peak."""
        return EarlierDecoder(self._single, self._single)


def earlier_decoder(config: Mapping[str, Any], decoder: Any) -> Decoder:
    """The decoder of an earlier bundle.

    Args:
        config: its ``inference.json``.
        decoder: what the config's ``decoder`` gave.
    """
    if _class_name(config["decoder"]) == _INSTANCES:
        return EarlierDecoder(decoder, decoder.decoder, decoder.instances.exchangeable)
    return EarlierDecoder(decoder, decoder)


def earlier_find(root: Path, config: Mapping[str, Any], inferer: Any, decoder: Decoder | None) -> Find:
    """How the output of an earlier bundle is found.

    Args:
        root: folder of the bundle.
        config: its ``inference.json``.
        inferer: what the config's ``inferer`` gave.
        decoder: of `earlier_decoder`; None in a config without one.
    """
    inner = config["inferer"]
    if _class_name(inner) == _MIRRORED:
        inner = inner["inferer"]
    gives_heatmaps = inner["_target_"].startswith("scripts.")

    def find(image: torch.Tensor, network: Any) -> Heatmaps:
        if gives_heatmaps:
            found = inferer.heatmaps(image, network)
            return Heatmaps({LOGITS: found.logits}, found.origins, found.peaks)
        if decoder is None:
            raise UserError(f"{root}: an earlier version made it and has no heatmaps to give; create it again")
        # The heatmaps of one stage were decoded in post-processing.
        logits = inferer(image[None], network)[0]
        origins = torch.zeros((len(logits), image.ndim - 1), device=logits.device)
        output = {LOGITS: logits}
        return Heatmaps(output, origins, decoder.decode(output))

    return find


def _class_name(part: Mapping[str, Any]) -> str:
    """The class that a part of a config names, whichever module holds it."""
    return str(part["_target_"]).rpartition(".")[2]
