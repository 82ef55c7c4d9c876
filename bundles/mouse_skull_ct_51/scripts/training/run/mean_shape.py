"""What a model reached on the validation cases, and what the mean shape of the training cases does without looking."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import numpy as np
import torch
from ignite.engine import Engine, Events

from ...images.frame import original_center
from ...points.peaks import unpack_peaks
from .processes import gathered

CLEAR = 2 / 3  # of the mean shape's error at most, before a model has clearly learned to look


class MeanShapeError:
    """Handler that measures, in each validation, the error of always predicting the mean shape, and the model's median.

    The mean place of a landmark is that of ``configs/landmarks.json``, relative to the middle of the image.

    Args:
        evaluator: validates; its items have the image, the true points ``label`` (L, D) in world mm and, as ``pred``,
            peaks in world mm.
        landmarks: path of ``configs/landmarks.json``.
    """

    def __init__(self, evaluator: Engine, landmarks: str | os.PathLike[str]) -> None:
        items = json.loads(Path(landmarks).read_text(encoding="utf-8"))["landmarks"]
        self.offsets = [item.get("mean_offset_mm") for item in items]
        self._errors: list[float] = []
        self._of_model: list[float] = []
        evaluator.add_event_handler(Events.STARTED, self._start)
        evaluator.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        evaluator.add_event_handler(Events.EPOCH_COMPLETED, self._gather)

    @property
    def value(self) -> float | None:
        """Mean error in mm of the last validation; None where it is not known, as for landmarks with many instances."""
        return float(np.mean(self._errors)) if self._errors else None

    @property
    def median(self) -> float | None:
        """Median error in mm of the model in the last validation; None where it is not known."""
        return float(np.median(self._of_model)) if self._of_model else None

    def _start(self, _: Engine) -> None:
        self._errors, self._of_model = [], []

    def _gather(self, _: Engine) -> None:
        """Several processes validate a share of the cases each."""
        self._errors, self._of_model = gathered(self._errors), gathered(self._of_model)

    def _collect(self, engine: Engine) -> None:
        for item in engine.state.output:
            truth = torch.as_tensor(item["label"]).double().cpu().numpy()
            if len(truth) != len(self.offsets):
                return
            if "pred" in item:
                found = unpack_peaks(torch.as_tensor(item["pred"]).double().cpu()).points.numpy()
                errors = np.linalg.norm(found - truth, axis=1)
                self._of_model += errors[np.isfinite(errors)].tolist()
            center = original_center(item["image"], truth.shape[1])
            for point, offset in zip(truth, self.offsets, strict=True):
                if offset is not None and np.isfinite(point).all():
                    self._errors.append(float(np.linalg.norm(center + np.asarray(offset) - point)))


def verdict(
    steps: int, error: float | None, baseline: float | None, unit: str, median: float | None = None
) -> str | None:
    """One sentence on a training; None where nothing was measured.

    Args:
        steps: of the training.
        error: of the weights that are kept, the mean over all points in `unit`.
        baseline: that of the mean shape.
        unit: ``mm`` or ``px``.
        median: the median of the same errors; None where it is not known.
    """
    if error is None or baseline is None or not math.isfinite(error):
        return None
    alone = f"always predicting the mean shape gives {baseline:.3g} {unit}"
    middle = "" if median is None else f" on average and {median:.3g} {unit} in the median"
    numbers = f"After {steps} steps the error on the validation cases is {error:.3g} {unit}{middle}; {alone}"
    if error <= CLEAR * baseline:
        return f"{numbers}."
    if error < baseline:
        return f"{numbers}: the model has learned little; train it longer."
    return (
        f"{numbers}: the model is useless so far, no better than not looking at the image; train it longer, or check "
        "the data with `auto_config inspect`."
    )
