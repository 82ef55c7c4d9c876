"""What a model reaches that looks at no grey value: the mean shape of the training cases, on the validation cases."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import numpy as np
import torch
from ignite.engine import Engine, Events

from ...images.frame import original_center

CLEAR = 2 / 3  # of the mean shape's error at most, before a model has clearly learned to look


class MeanShapeError:
    """Handler that measures, in each validation, the error of always predicting the mean shape.

    The mean place of a landmark is that of ``configs/landmarks.json``, relative to the middle of the image.

    Args:
        evaluator: validates; its items have the image and the true points ``label`` (L, D) in world mm.
        landmarks: path of ``configs/landmarks.json``.
    """

    def __init__(self, evaluator: Engine, landmarks: str | os.PathLike[str]) -> None:
        items = json.loads(Path(landmarks).read_text(encoding="utf-8"))["landmarks"]
        self.offsets = [item.get("mean_offset_mm") for item in items]
        self._errors: list[float] = []
        evaluator.add_event_handler(Events.STARTED, self._start)
        evaluator.add_event_handler(Events.ITERATION_COMPLETED, self._collect)

    @property
    def value(self) -> float | None:
        """Mean error in mm of the last validation; None where it is not known, as for landmarks with many instances."""
        return float(np.mean(self._errors)) if self._errors else None

    def _start(self, _: Engine) -> None:
        self._errors = []

    def _collect(self, engine: Engine) -> None:
        for item in engine.state.output:
            truth = torch.as_tensor(item["label"]).double().cpu().numpy()
            if len(truth) != len(self.offsets):
                return
            center = original_center(item["image"], truth.shape[1])
            for point, offset in zip(truth, self.offsets, strict=True):
                if offset is not None and np.isfinite(point).all():
                    self._errors.append(float(np.linalg.norm(center + np.asarray(offset) - point)))


def verdict(steps: int, error: float | None, baseline: float | None, unit: str) -> str | None:
    """One sentence on a training; None where nothing was measured.

    Args:
        steps: of the training.
        error: of the weights that are kept, in `unit`.
        baseline: that of the mean shape.
        unit: ``mm`` or ``px``.
    """
    if error is None or baseline is None or not math.isfinite(error):
        return None
    alone = f"always predicting the mean shape gives {baseline:.3g} {unit}"
    numbers = f"After {steps} steps the error is {error:.3g} {unit}; {alone}"
    if error <= CLEAR * baseline:
        return f"{numbers}."
    if error < baseline:
        return f"{numbers}: the model has learned little; train it longer."
    return f"{numbers}: the model is useless so far; train it longer, or check the data with `auto_config inspect`."
