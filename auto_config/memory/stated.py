"""What a plan states of memory: of a training on a CPU and on a GPU, and of predicting the largest case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import prod
from typing import Any

from auto_config.bundle_scripts.methods.large_channels.size import LARGE_CHANNEL
from auto_config.memory.case import CaseMemory, case_memory, largest, one_stage_bytes, two_stage_bytes
from auto_config.memory.step import FLOAT, HALF, MB, StepMemory, seen_share, stage_cost, step_memory
from auto_config.methods.base import Backbone, Stage
from auto_config.methods.plan import Decision

TRAINING_PROCESS_MB = 1100.0
"""Python with torch, all of MONAI and what it imports, and the code that a first step loads: largest memory of a
training, less what is counted, on Linux x86-64 with torch 2.14 and MONAI 1.6; 900 are there before the first step."""

PREDICTION_PROCESS_MB = 700.0
"""The same of a prediction, which puts most of MONAI's imports off."""

HELD_MAPS = 2.0
"""A step on a CPU takes so many times the feature maps that are kept for gradients: on the way back there are gradients
of the largest level (a quarter of the maps of `plain`), and between blocks in use the C library holds freed ones, of
which it gives nothing back (`scripts.training.cpu_memory`)."""

HELD_IMAGES = 4.0
"""Copies of the image that a prediction on a CPU holds or has freed: as it was read, as it is looked at, as it lies
turned."""

HELD_FINDING_MB = 256.0
"""While landmarks are found, the C library holds as much again, of freed blocks, but no more than about this."""

WORKER_MB = 60.0
"""What a forked worker of a data loader has of its own before it reads an image."""

SAMPLE_BYTES = 48
"""Of each voxel of a patch while it is cut: three coordinates in float32, four times."""

PREFETCHED = 2
"""Batches that a worker makes ahead."""


@dataclass(frozen=True)
class TrainingMemory:
    """Main memory of a training on a CPU in MB, with its workers. The most of three times counts.

    Args:
        process: what the imports take, once.
        step: of a step in float32; it is held with what is freed between its blocks, see `HELD_MAPS`.
        validation: weights, and predicting the largest case.
        reading: one image on its way to the planned grid, in each worker before the first step.
        worker: each worker while samples are made.
        workers: their number.
    """

    process: float
    step: StepMemory
    validation: float
    reading: float
    worker: float
    workers: int

    @property
    def times(self) -> dict[str, float]:
        """What each of its times takes beside the process: ``step``, ``validation`` and ``reading``."""
        beside = self.workers * self.worker
        return {
            "step": self.step.total + (HELD_MAPS - 1) * self.step.feature_maps + beside,
            "validation": self.validation + beside,
            "reading": max(self.workers, 1) * self.reading + self.workers * WORKER_MB,
        }

    @property
    def total(self) -> float:
        """The most at a time."""
        return self.process + max(self.times.values())

    def at_most(self) -> str:
        """Which of its times takes most."""
        return max(self.times, key=self.times.__getitem__)

    def changed(self, *, batch_share: float = 1.0, workers: int | None = None) -> TrainingMemory:
        """The same with another batch, as a share of the planned one, or with other workers."""
        step = replace(
            self.step,
            feature_maps=batch_share * self.step.feature_maps,
            loss=batch_share * self.step.loss,
            images=batch_share * self.step.images,
        )
        return replace(self, step=step, workers=self.workers if workers is None else workers)

    @classmethod
    def of(cls, written: Mapping[str, Any]) -> TrainingMemory:
        """From its parts as a plan has them."""
        return cls(**{**written, "step": StepMemory(**written["step"])})


@dataclass(frozen=True)
class PredictionMemory:
    """Memory of predicting one case in MB.

    Args:
        process: what the imports take; 0 on a GPU.
        weights: of the networks, float32.
        case: of the case.
    """

    process: float
    weights: float
    case: CaseMemory

    @property
    def total(self) -> float:
        """The most at a time."""
        return self.process + self.weights + self.case.total


@dataclass(frozen=True)
class StatedMemory:
    """All that is stated, in MB.

    Args:
        training: on a CPU.
        gpu_step: a step on a GPU, in half precision.
        prediction: on a CPU.
        gpu_prediction: of a GPU.
        cache: all images on the planned grids as they are kept on disk, float32.
        batch_size: images of the batch that `training` is of.
    """

    training: TrainingMemory
    gpu_step: StepMemory
    prediction: PredictionMemory
    gpu_prediction: PredictionMemory
    cache: float
    batch_size: int

    @property
    def gpu_training(self) -> float:
        """Of a GPU: the larger of a step, and of a validation beside weights and optimizer."""
        return max(self.gpu_step.total, self.gpu_step.weights + self.gpu_prediction.case.total)

    def to_dict(self) -> dict[str, Any]:
        """As it stands in ``plan.json``: totals, then their parts, in whole MB."""
        parts = {
            "training_cpu": asdict(self.training),
            "training_gpu": asdict(self.gpu_step),
            "prediction_cpu": asdict(self.prediction),
            "prediction_gpu": asdict(self.gpu_prediction),
        }
        return {
            "training_cpu_mb": round(self.training.total),
            "training_gpu_mb": round(self.gpu_training),
            "prediction_cpu_mb": round(self.prediction.total),
            "prediction_gpu_mb": round(self.gpu_prediction.total),
            "cache_mb": round(self.cache),
            "batch_size": self.batch_size,
            "parts_mb": _rounded(parts),
        }


def state(
    networks: Sequence[Backbone],
    stages: Sequence[Stage],
    *,
    spacing: Sequence[float],
    shapes: Sequence[Sequence[int]],
    spacings: Sequence[Sequence[float]],
    landmark_extent_mm: Sequence[Sequence[float]],
    landmarks: int,
    channels: int,
    loss_bytes_per_voxel: float,
    cpu_loss_bytes_per_voxel: float,
    optimizer: str,
    workers: int,
    views: int,
    box_radius: int | None,
) -> StatedMemory:
    """Count memory.

    Args:
        networks: of each stage.
        stages: of the plan.
        spacing: mm of the planned grid.
        shapes: voxels of each case after the crop of constant background.
        spacings: mm of each case.
        landmark_extent_mm: of the landmarks of each case.
        landmarks: number of landmarks.
        channels: of the images.
        loss_bytes_per_voxel: of the method, for each voxel and landmark.
        cpu_loss_bytes_per_voxel: the same on a CPU, where the channels of all stages are large.
        optimizer: name of its class.
        workers: of the data loader.
        views: 2 where the mirror image is looked at too.
        box_radius: voxels that the decoder reads around the highest one; None where it reads the whole map.
    """
    last = stages[-1]
    crop_mm = [edge * step for edge, step in zip(last["patch_size"], last["spacing"], strict=True)]
    seen = [1.0] * (len(stages) - 1) + [1.0 if len(stages) == 1 else seen_share(crop_mm, landmark_extent_mm)]
    costs = [
        stage_cost(network, stage, channels=channels, landmarks=landmarks, seen=share)
        for network, stage, share in zip(networks, stages, seen, strict=True)
    ]
    large = all(prod(stage["patch_size"]) >= LARGE_CHANNEL for stage in stages)
    cpu_loss = cpu_loss_bytes_per_voxel if large else loss_bytes_per_voxel
    step = step_memory(costs, value_bytes=FLOAT, loss_bytes_per_voxel=cpu_loss, optimizer=optimizer)
    grid = replace(largest(shapes, spacings, spacing), channels=channels)
    if len(stages) == 2:
        finding = two_stage_bytes(networks, stages, grid.planned, landmarks=landmarks, channels=channels, views=views)
    else:
        finding = one_stage_bytes(
            networks[0], last, grid.planned, landmarks=landmarks, views=views, box_radius=box_radius
        )
    case = case_memory(grid, finding)
    held = replace(case, image=HELD_IMAGES * case.image, finding=case.finding + min(case.finding, HELD_FINDING_MB))
    weights = FLOAT * sum(cost.weights for cost in costs) / MB
    sample = max(prod(stage["patch_size"]) for stage in stages) * SAMPLE_BYTES
    batches = (PREFETCHED + 1) * FLOAT * sum(cost.inputs for cost in costs)
    voxels = [prod(largest([shape], [steps], spacing).planned) for shape, steps in zip(shapes, spacings, strict=True)]
    coarse = 1 + (1 / prod(stages[0]["factor"]) if len(stages) == 2 else 0)
    return StatedMemory(
        training=TrainingMemory(
            process=TRAINING_PROCESS_MB,
            step=step,
            validation=step.weights + held.image + held.finding,
            reading=case.reading,
            worker=WORKER_MB + (sample + batches) / MB,
            workers=workers,
        ),
        gpu_step=step_memory(costs, value_bytes=HALF, loss_bytes_per_voxel=loss_bytes_per_voxel, optimizer=optimizer),
        prediction=PredictionMemory(PREDICTION_PROCESS_MB, weights, held),
        gpu_prediction=PredictionMemory(0.0, weights, replace(case, reading=0.0)),
        cache=FLOAT * channels * coarse * sum(voxels) / MB,
        batch_size=int(last["batch_size"]),
    )


def memory_decision(stated: StatedMemory) -> Decision:
    """What stands in the plan."""
    return Decision(
        stated.to_dict(),
        "counted from patches, maps and networks, in MB of 2^20 bytes: float32 on a CPU, half precision on a GPU, "
        "largest training case; not counted are workspaces of convolutions, what a GPU's driver takes, and the cache, "
        "which is on disk (half as large with --cache_dtype float16)",
    )


def _rounded(parts: Any) -> Any:
    if isinstance(parts, dict):
        return {name: _rounded(part) for name, part in parts.items()}
    return round(parts, 1) if isinstance(parts, float) else parts
