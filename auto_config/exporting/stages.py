"""The networks that are exported: one for each stage and each member of an ensemble, with the patch that it takes."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from auto_config.bundle.opened import OpenBundle, find_of
from auto_config.bundle_scripts.methods.ensemble import EnsembleNetwork
from auto_config.errors import UserError

SIZES = {"coarse": "coarse_patch_size", "fine": "patch_size"}
"""Top-level id of ``inference.json`` with the patch of each stage."""


@dataclass(frozen=True)
class StageNetwork:
    """One network that becomes a file.

    Args:
        name: of the file, without an ending: ``fine``, or ``fine_0`` of an ensemble.
        stage: ``coarse`` or ``fine``.
        member: its place in the ensemble, 0 where there is none.
        network: maps patches ``(N, C, *size)`` to the channels of all heads ``(N, channels, *grid)``.
        channels: C.
        size: of a patch in voxels of the stage's grid.
    """

    name: str
    stage: str
    member: int
    network: nn.Module
    channels: int
    size: tuple[int, ...]

    def patches(self, count: int = 2) -> torch.Tensor:
        """Patches ``(count, C, *size)`` of noise, the same ones each time."""
        generator = torch.Generator().manual_seed(0)
        return torch.randn(count, self.channels, *self.size, generator=generator)


def members_of(network: nn.Module) -> list[Any]:
    """The networks of an ensemble, or the one network."""
    members = getattr(network, "members", None)
    return [network] if members is None else list(members)


def stage_networks(opened: OpenBundle) -> list[StageNetwork]:
    """All networks of a bundle, stage by stage.

    Raises:
        UserError: an earlier version made the bundle, or its patches are not written as numbers.
    """
    members = members_of(opened.network)
    if not all(isinstance(vars(one)["_modules"].get("stages"), nn.ModuleDict) for one in members):
        raise UserError(
            f"{opened.root}: has no network with stages, because an earlier version or somebody else made it; create "
            "and train it again to export it"
        )
    config = read_config(opened.root)
    metadata = json.loads((opened.root / "configs" / "metadata.json").read_text(encoding="utf-8"))
    channels = int(metadata["network_data_format"]["inputs"]["image"]["num_channels"])
    found = []
    for member, network in enumerate(members):
        for stage, part in network.stages.items():
            name = stage if len(members) == 1 else f"{stage}_{member}"
            found.append(StageNetwork(name, stage, member, part, channels, _size(opened.root, config, stage)))
    return sorted(found, key=lambda one: (list(SIZES).index(one.stage), one.member))


def in_float32(opened: OpenBundle) -> OpenBundle:
    """The same bundle, with networks that predict in full precision, as exports of them do."""
    if not vars(opened.inferer).get("amp"):  # inferers of earlier versions have none
        return opened
    inferer = copy(opened.inferer)
    inferer.amp = False
    return OpenBundle(**{**vars(opened), "inferer": inferer, "find": find_of(inferer)})


def with_networks(opened: OpenBundle, replaced: Callable[[StageNetwork], nn.Module]) -> OpenBundle:
    """The same bundle with other modules in the place of the networks of its stages; heads, shape, views stay.

    Args:
        opened: stays as it is.
        replaced: gives a module with the same inputs and outputs for each network.
    """
    parts = {(one.member, one.stage): replaced(one) for one in stage_networks(opened)}
    members = []
    for number, network in enumerate(members_of(opened.network)):
        other = copy(network)
        # What a module holds is in dictionaries, which a copy shares.
        other._modules = dict(network._modules)
        other.stages = nn.ModuleDict({stage: parts[number, stage] for stage in network.stages})
        members.append(other.eval())
    network = members[0] if len(members) == 1 else EnsembleNetwork(members)
    return OpenBundle(**{**vars(opened), "network": network})


def read_config(root: Path) -> dict[str, Any]:
    """``inference.json`` as it is written."""
    config: dict[str, Any] = json.loads((root / "configs" / "inference.json").read_text(encoding="utf-8"))
    return config


def _size(root: Path, config: dict[str, Any], stage: str) -> tuple[int, ...]:
    key = SIZES.get(stage)
    size = config.get(key) if key is not None else None
    if not isinstance(size, list) or not all(isinstance(edge, int) for edge in size):
        raise UserError(
            f"{root}/configs/inference.json: {key or f'the patch of stage {stage}'} must be a list of whole numbers to "
            "export the network"
        )
    return tuple(size)
