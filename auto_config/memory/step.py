"""A training step: what its tensors take at most, counted and not measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from auto_config.methods.base import Backbone, Stage

MB = 2**20
"""Bytes of a megabyte, here as in `run.json`."""

FLOAT, HALF = 4, 2
"""Bytes of a value: float32, and bfloat16 or float16."""

_LOGIT = 4.0
"""Bytes of a voxel and landmark of a stage that waits for its loss."""

_AFTER_LOSS = 12.0
"""Bytes at most of a stage whose loss is done: the logit, and the gradients of both parts of the loss. On the way back
they are as many again: logit, gradient so far, and the one that is added to it."""

_KEPT_GRADIENTS = 8.0
"""Bytes of the gradients that a loss keeps for each landmark that it answers for."""

STATES = {"AdamW": 2, "Adam": 2, "SGD": 1, "RMSprop": 1}
"""Numbers that an optimizer keeps beside each weight."""


@dataclass(frozen=True)
class StageCost:
    """What a stage brings to a step, all patches of the batch together.

    Args:
        weights: numbers that are learnt.
        saved: values that are kept for gradients.
        maps: voxels of the patches times landmarks.
        inputs: voxels of the patches times channels.
        seen: share of the landmarks that a patch answers for, from 0 to 1.
    """

    weights: int
    saved: float
    maps: float
    inputs: float
    seen: float = 1.0


@dataclass(frozen=True)
class StepMemory:
    """Memory of a training step in MB, by what holds it.

    Args:
        weights: with their gradients and what the optimizer keeps; in half precision with a copy in it.
        feature_maps: what autograd keeps of the networks.
        loss: logits, targets and gradients of all maps.
        images: the batch.
    """

    weights: float
    feature_maps: float
    loss: float
    images: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.weights + self.feature_maps + self.loss + self.images


def patches_of(stage: Stage) -> int:
    """Patches of a stage in a batch: fine stages of two have several crops of each image."""
    return int(stage["batch_size"]) * int(stage.get("crops_per_image", 1))


def stage_cost(network: Backbone, stage: Stage, *, channels: int, landmarks: int, seen: float = 1.0) -> StageCost:
    """What a stage of a plan brings to a step.

    Args:
        network: that of the stage.
        stage: of the plan.
        channels: of the images.
        landmarks: number of landmarks.
        seen: share of the landmarks that a patch answers for.
    """
    topology = network.topology(stage["spacing"], stage["patch_size"])
    count, voxels = patches_of(stage), prod(stage["patch_size"])
    if network.saved is None:
        saved = 2 * max(network.values(topology, landmarks) - landmarks * voxels, 0.0) + channels * voxels
    else:
        saved = network.saved(topology, channels, landmarks)
    return StageCost(
        weights=0 if network.weights is None else network.weights(topology, channels, landmarks),
        saved=count * saved,
        maps=float(count * voxels * landmarks),
        inputs=float(count * voxels * channels),
        seen=seen,
    )


def step_memory(
    stages: Sequence[StageCost], *, loss_bytes_per_voxel: float, optimizer: str, value_bytes: int
) -> StepMemory:
    """Memory of a step on all stages: networks first, then the loss of each, then the way back.

    What a kernel takes within an operation, such as the workspace of a convolution, is not counted.

    Args:
        stages: in their order.
        loss_bytes_per_voxel: of the method, for each voxel and landmark.
        optimizer: name of the class.
        value_bytes: of the feature maps, `FLOAT` or `HALF`; weights and losses are float32 in either case.
    """
    copies = FLOAT * (2 + STATES.get(optimizer, 2)) + (HALF if value_bytes == HALF else 0)
    return StepMemory(
        weights=copies * sum(stage.weights for stage in stages) / MB,
        feature_maps=value_bytes * sum(stage.saved for stage in stages) / MB,
        loss=loss_bytes(stages, loss_bytes_per_voxel) / MB,
        images=FLOAT * sum(stage.inputs for stage in stages) / MB,
    )


def loss_bytes(stages: Sequence[StageCost], per_voxel: float) -> float:
    """The most that losses hold at a time: those before have their gradients, those behind their logits.

    Args:
        stages: in their order.
        per_voxel: bytes of the method's loss for each voxel and landmark.
    """
    after = min(per_voxel, _AFTER_LOSS)
    most = 0.0
    for number, stage in enumerate(stages):
        # Of landmarks that a patch does not see there is the logit alone, and its gradient on the way back.
        forward = _LOGIT + (per_voxel - _LOGIT) * stage.seen
        backward = min(per_voxel, _AFTER_LOSS + _KEPT_GRADIENTS * stage.seen)
        held = after * sum(one.maps for one in stages[:number]) + _LOGIT * sum(one.maps for one in stages[number + 1 :])
        most = max(most, held + max(forward, backward) * stage.maps)
    return most


def seen_share(crop_mm: Sequence[float], extents_mm: Sequence[Sequence[float]]) -> float:
    """Share of the landmarks that lie in a crop around one of them, as if they lay evenly in a box.

    Args:
        crop_mm: edges of the crop.
        extents_mm: of the landmarks of each case.

    Returns:
        From 0 to 1; 1 where no case has an extent.
    """
    shares = []
    for extent in extents_mm:
        along = [
            min(1.0, half / whole) if whole > 0 else 1.0 for half, whole in zip(_halves(crop_mm), extent, strict=True)
        ]
        shares.append(prod(2 * part - part**2 for part in along))
    return sum(shares) / len(shares) if shares else 1.0


def _halves(edges: Sequence[float]) -> list[float]:
    return [edge / 2 for edge in edges]
