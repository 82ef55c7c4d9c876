"""From which confidence an instance counts: chosen on the validation cases, kept beside the weights."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from ignite.engine import Engine, Events

from ...files.text import atomic_write_text
from ...points.instances import THRESHOLD, THRESHOLDS_FILE, Instances
from ...points.matching import match
from ...points.nms import FLOOR
from ...points.peaks import unpack_peaks
from .checkpoints import Checkpoints
from .processes import gathered


def best_threshold(
    images: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]], limit: float
) -> tuple[float, float | None]:
    """The confidence with the highest F1 over all images.

    Args:
        images: for each its candidates ``(N, D)`` mm, their confidences ``(N,)`` and the true points ``(M, D)`` mm.
        limit: largest distance of a match in mm.

    Returns:
        The threshold, halfway between the least confident candidate that it keeps and the next one below, so that it
        does not hang on one number, and its F1; `THRESHOLD` and None where there is no candidate or no true point.
    """
    steps = np.unique(np.concatenate([confidence for _, confidence, _ in images] or [np.zeros(0)]))
    if not len(steps) or not any(len(truth) for _, _, truth in images):
        return THRESHOLD, None
    scores = [f1_score(images, step, limit) for step in steps]
    best = int(np.argmax(scores))
    below = steps[best - 1] if best else min(FLOOR, steps[0])
    return float((below + steps[best]) / 2), float(scores[best])


def f1_score(images: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]], threshold: float, limit: float) -> float:
    """Harmonic mean of precision and recall of the candidates with at least a confidence; arguments as above."""
    found = total = 0
    for points, confidence, truth in images:
        kept = points[confidence >= threshold]
        found += len(match(kept, truth, limit)[0])
        total += len(kept) + len(truth)
    return 2 * found / total if total else 0.0


class InstanceThresholds:
    """Handler that chooses the thresholds in each validation and has them written beside the weights it belongs to.

    Attach it before the evaluator runs; it may stand among the handlers of the trainer. Where nothing validates there
    is no file, and `THRESHOLD` counts.

    Args:
        instances: which rows belong to which landmark.
        evaluator: its output items have rows of peaks ``pred`` in world mm, the items of its batch the true points
            ``label`` and their ``status``.
        checkpoints: writes the weights.
    """

    def __init__(self, instances: Instances, evaluator: Engine, checkpoints: Checkpoints) -> None:
        self.instances, self.evaluator, self.checkpoints = instances, evaluator, checkpoints
        self._images: dict[int, list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = {}

    def attach(self, _: Engine | None = None) -> None:
        """Listen to the evaluator, and to the checkpoints; the trainer, which handlers are given, is not needed."""
        self.evaluator.add_event_handler(Events.STARTED, self._start)
        self.evaluator.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        self.evaluator.add_event_handler(Events.EPOCH_COMPLETED, self._gather)
        self.checkpoints.beside_weights.append(self._write)

    def _start(self, _: Engine) -> None:
        self._images = {channel: [] for channel, many in enumerate(self.instances.many) if many}

    def _collect(self, engine: Engine) -> None:
        rows = self.instances.channels
        for given, item in zip(engine.state.batch, engine.state.output, strict=True):
            peaks = unpack_peaks(torch.as_tensor(item["pred"]).double().cpu())
            points, confidence = peaks.points.numpy(), peaks.confidence.numpy()
            truth, status = (torch.as_tensor(given[key]).cpu().numpy() for key in ("label", "status"))
            finite = np.isfinite(points).all(axis=1)
            for channel, images in self._images.items():
                own = np.array([row for row, of in enumerate(rows) if of == channel])
                if status[channel] < 0:
                    continue
                true = truth[own][np.isfinite(truth[own]).all(axis=1)]
                found = own[finite[own]]
                images.append((points[found], confidence[found], true))

    def _gather(self, _: Engine) -> None:
        """Several processes validate a share of the cases each."""
        self._images = {channel: gathered(images) for channel, images in self._images.items()}

    def _write(self, folder: Path) -> None:
        names, limits = self.instances.names, self.instances.match_limits
        chosen = {names[channel]: best_threshold(images, limits[channel]) for channel, images in self._images.items()}
        content = {
            "thresholds": {name: round(threshold, 6) for name, (threshold, _) in chosen.items()},
            "f1": {name: None if f1 is None else round(f1, 6) for name, (_, f1) in chosen.items()},
        }
        atomic_write_text(folder / THRESHOLDS_FILE, json.dumps(content, indent=4, ensure_ascii=False) + "\n")
