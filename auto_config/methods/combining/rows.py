"""What a target, a loss and a decoder are as rows of tables: JSON of a part, and what it fits.

A target makes heatmaps of a *kind*; a loss compares an output with kinds of heatmaps and gives the output a *meaning*;
a decoder reads meanings. So three parts fit if the kind is one of the loss's, and its meaning one of the decoder's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from auto_config.methods.base import Json, Stage
from auto_config.methods.plan import Plan

UNIT, SIGNED = "from 0 to 1", "from -1 to 2"
"""Kinds of heatmaps: 0 where nothing is and 1 at the point; -1 where nothing is and 2 at the point."""

SIGMOID = "logits of a heatmap"
SOFTMAX = "logits of a distribution"
ONE_HOT = "logits of the voxels that share a point"
VALUE = "heatmaps"
BALL = "signed heatmaps"
ANCHORS = "balls"
"""What an output means after training; of votes see `votes`."""


def votes(*, cells: bool, vectors: bool, logarithms: bool) -> str:
    """The meaning of votes: whether cells say where a landmark is, and in which form they point to it."""
    said = ["cells"] if cells else []
    said += [("logarithms of " if logarithms else "") + "vectors"] if vectors else []
    return "votes: " + " and ".join(said)


@dataclass(frozen=True)
class TargetRow:
    """What makes heatmaps from points.

    Args:
        name: as the user gives it.
        title: a few words for help and tables.
        kind: of the heatmaps, `UNIT` or `SIGNED`.
        citation: of its source.
        json: the part, from a plan and a stage.
    """

    name: str
    title: str
    kind: str
    citation: str
    json: Callable[[Plan, Stage], Json]


def heatmap_heads(landmarks: int, spatial_dims: int) -> dict[str, int]:  # noqa: ARG001
    """One map for each landmark."""
    return {"logits": landmarks}


@dataclass(frozen=True)
class LossRow:
    """What compares an output with points.

    Args:
        name: as the user gives it.
        title: a few words for help and tables.
        gives: the meaning that an output has after training.
        kinds: of heatmaps that it compares with; empty where it makes none.
        citation: of its source.
        json: the part, from a plan and a stage; where it has a target, it refers to it.
        bytes_per_voxel: memory of loss and target for each voxel of the patch and each landmark.
        cpu_bytes_per_voxel: the same on a CPU, where it goes through large channels there; None where it is equal.
        numbers: of the plan's decision ``loss``, which `json` and decoders read; ``output_bias``, where it is there, is
            the first value of the last convolution's bias.
        heads: channels of each head, for landmarks and spatial dimensions.
        distribution: whether the network must end in the logarithm of a distribution over the patch.
        instances: whether it takes landmarks of which an image has several.
    """

    name: str
    title: str
    gives: str
    kinds: tuple[str, ...]
    citation: str
    json: Callable[[Plan, Stage], Json]
    bytes_per_voxel: float
    cpu_bytes_per_voxel: float | None = None
    numbers: Json = field(default_factory=dict)
    heads: Callable[[int, int], dict[str, int]] = heatmap_heads
    distribution: bool = False
    instances: bool = False


@dataclass(frozen=True)
class DecoderRow:
    """What makes points of an output.

    Args:
        name: as the user gives it.
        title: a few words for help and tables.
        reads: meanings of outputs.
        citation: of its source.
        json: the part, from a plan, a stage, the loss that gave the output its meaning, and the target; None without.
        tolerance: voxels of the stage's grid by which a point decoded from a perfect output may be off.
        instances: whether it finds landmarks of which an image has several.
    """

    name: str
    title: str
    reads: tuple[str, ...]
    citation: str
    json: Callable[[Plan, Stage, LossRow, TargetRow | None], Json]
    tolerance: float = 0.05
    instances: bool = False
