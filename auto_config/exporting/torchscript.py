"""TorchScript files: networks that run in C++ or Python without the code of the bundle."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch

from auto_config.bundle_scripts.files.atomic import written_whole
from auto_config.exporting.checks import share_apart
from auto_config.exporting.stages import StageNetwork


class NotScriptableError(Exception):
    """A network that TorchScript cannot follow."""


def write_torchscript(network: StageNetwork, path: Path) -> float:
    """Write a network by scripting, and compare it; it takes any number and size of patches that the network takes.

    Args:
        network: to be written.
        path: appears whole or not at all.

    Returns:
        The largest difference, as a share of the largest value; see `share_apart`.

    Raises:
        NotScriptableError: it cannot be scripted.
        UserError: what was written gives something else than the network.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            content = torch.jit.script(network.network.eval()).save_to_buffer()
        except Exception as error:  # whatever TorchScript raises of a network that it cannot follow
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise NotScriptableError(f"the network of {network.stage} cannot be scripted ({reason})") from error
    with written_whole(path) as stream:
        stream.write(content)
    return share_apart(network, read_torchscript(path))


def read_torchscript(path: Path) -> torch.nn.Module:
    """What `write_torchscript` wrote, on the CPU."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network: torch.nn.Module = torch.jit.load(str(path), map_location="cpu")
    return network.eval()
