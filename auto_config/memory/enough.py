"""One line where a machine has clearly less memory than a plan states, before anything begins."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from auto_config.memory.hardware import gpu_memory_gb
from auto_config.memory.main_memory import MB, free_memory_mb

CLEARLY = 1.15
"""Stated figures are meant to be right within 15 %; of what is short by less nothing is said."""

_OF_TRAINING = {
    "reading": "each worker brings a whole image to the planned grid: give --num_workers 1, or create the bundle "
    "with a coarser --spacing",
    "validation": "most of it for whole images in validations: give --num_workers 0, or create the bundle with a "
    "coarser --spacing",
    "step": "give --batch_size 1 where it is more, --crops_per_image 2 and --num_workers 0, or create the bundle with "
    "a smaller --patch_size or with --network tiny",
}


def stated_memory(bundle: Path) -> Mapping[str, Any] | None:
    """What the plan of a bundle states; None in bundles of earlier versions, and where there is no plan to read."""
    try:
        decisions = json.loads((bundle / "configs" / "plan.json").read_text(encoding="utf-8"))["decisions"]
        stated = decisions["memory"]["value"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return stated if isinstance(stated, dict) else None


def before_training(bundle: Path, overrides: Mapping[str, Any]) -> str | None:
    """`training_shortage` on this machine; None where the plan says nothing.

    Args:
        bundle: its folder.
        overrides: values of ids of ``train.json``.
    """
    stated = stated_memory(bundle)
    if stated is None:
        return None
    gpu = None if "cpu" in str(overrides.get("device", "")) else _gpu_mb()
    return training_shortage(stated, overrides, free_memory_mb(), gpu)


def before_prediction(bundle: Path, device: str | None, workers: int) -> str | None:
    """`prediction_shortage` on this machine; None where the plan says nothing.

    Args:
        bundle: its folder.
        device: that the user names; None for a GPU if there is one.
        workers: processes that predict.
    """
    stated = stated_memory(bundle)
    if stated is None:
        return None
    return prediction_shortage(stated, workers, free_memory_mb(), None if device == "cpu" else _gpu_mb())


def training_shortage(
    stated: Mapping[str, Any], overrides: Mapping[str, Any], free_mb: float | None, gpu_mb: float | None
) -> str | None:
    """What to say before a training; None where memory suffices, or nobody knows what is free.

    Args:
        stated: value of the decision ``memory``.
        overrides: values of ids of ``train.json``; the batch and the workers among them count.
        free_mb: main memory, MB.
        gpu_mb: of the GPU that trains, MB; None for a CPU.
    """
    from auto_config.memory.stated import TrainingMemory  # a prediction, which wants to begin soon, needs no methods

    planned = int(stated["batch_size"])
    share = _whole(overrides.get("batch_size"), planned) / planned
    memory = TrainingMemory.of(stated["parts_mb"]["training_cpu"])
    workers = _whole(overrides.get("num_workers"), memory.workers)
    memory = memory.changed(batch_share=share, workers=workers)
    if gpu_mb is not None:
        step = stated["training_gpu_mb"] * share
        if _short(step, gpu_mb):
            return (
                f"a training step takes about {_gb(step)} of GPU memory, and the GPU has {_gb(gpu_mb)}: give "
                "--batch_size 1 where it is more, or create the bundle with that as --gpu_memory_gb, or with a smaller "
                "--patch_size"
            )
        # Steps and validations are in the memory of the GPU; workers and the images that they read are not.
        memory = memory.changed(batch_share=0.0)
    needed = memory.total
    if not _short(needed, free_mb):
        return None
    return (
        f"the training takes about {_gb(needed)} of main memory, and {_gb(free_mb or 0.0)} are free; "
        f"{_OF_TRAINING[memory.at_most()]}"
    )


def prediction_shortage(
    stated: Mapping[str, Any], workers: int, free_mb: float | None, gpu_mb: float | None
) -> str | None:
    """What to say before a prediction; None where memory suffices, or nobody knows what is free.

    Args:
        stated: value of the decision ``memory``.
        workers: processes that predict.
        free_mb: main memory, MB.
        gpu_mb: of the GPU that predicts, MB; None for a CPU.
    """
    if gpu_mb is not None:
        needed = float(stated["prediction_gpu_mb"])
        if not _short(needed, gpu_mb):
            return None
        return (
            f"predicting an image as large as those of the training takes about {_gb(needed)} of GPU memory, and the "
            f"GPU has {_gb(gpu_mb)}: give --device cpu"
        )
    needed = float(stated["prediction_cpu_mb"]) * workers
    if not _short(needed, free_mb):
        return None
    remedy = "give fewer --workers, or close other programs" if workers > 1 else "close other programs, or crop images"
    return (
        f"predicting images as large as those of the training takes about {_gb(needed)} of main memory, and "
        f"{_gb(free_mb or 0.0)} are free: {remedy}"
    )


def _gpu_mb() -> float | None:
    found = gpu_memory_gb()
    return None if found is None else found * 1e9 / MB


def _short(needed: float, there: float | None) -> bool:
    return there is not None and needed > CLEARLY * there


def _whole(value: Any, otherwise: int) -> int:
    """A whole number that a command line gave, as a number or as text."""
    try:
        return max(0, int(value))
    except (TypeError, ValueError):
        return otherwise


def _gb(megabytes: float) -> str:
    return f"{megabytes / 1024:.1f} GB"
