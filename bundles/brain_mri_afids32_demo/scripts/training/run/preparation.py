"""What comes before the first step: images are preprocessed once, and one case says what the end will take."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import ignite.distributed as idist
import torch
from monai.engines import SupervisedEvaluator
from monai.networks.utils import eval_mode

from .time_budget import TimeBudget

_SHORT = 0.01
"""Part of the time that is left; a prediction below it is worth a second one, since the first one warms up."""


class CachedImages(Protocol):
    """What `scripts.grid.cache.CachedTransformd` is here."""

    keys: Sequence[str]
    transform: Callable[[dict[str, Any]], Any]

    def fill(
        self,
        data: Sequence[Mapping[str, Any]],
        num_workers: int,
        watch: Callable[[int, int, float], None] | None = None,
    ) -> None:
        """Preprocess all cases."""
        ...


def prepare(  # noqa: PLR0917
    images: CachedImages,
    training: Sequence[Mapping[str, Any]],
    validation: Sequence[Mapping[str, Any]],
    num_workers: int,
    evaluator: SupervisedEvaluator | None,
    budget: TimeBudget | None,
) -> None:
    """Fill the cache of images; with a time budget also measure what has to fit behind the last step.

    One validation case goes the way that a validation and a calibration go: it is read, preprocessed and predicted.

    Args:
        images: The cache.
        training: The training cases, ``{"image": path, ...}``.
        validation: The validation cases, likewise.
        num_workers: Processes that preprocess beside this one.
        evaluator: The engine that validates; None leaves its time to be found out.
        budget: The time budget; None for none.

    Raises:
        ValueError: The time budget is too short for this and any training.
    """
    cases = [*training, *validation]
    if budget is None:
        images.fill(cases, num_workers)
        return
    budget.begin_preparation(len(validation))
    decides = idist.get_rank() == 0
    images.fill(cases, num_workers, _watch(budget, 2 * num_workers) if decides else None)
    if validation and evaluator is not None:
        _try_out(budget, images, evaluator, validation[0])
    if decides:
        budget.end_preparation()


def _try_out(budget: TimeBudget, images: CachedImages, evaluator: SupervisedEvaluator, case: Mapping[str, Any]) -> None:
    preprocessing = 0.0
    if budget.predictions_after:
        key = images.keys[0]
        preprocessing = _seconds(lambda: images.transform({key: case[key]}))
    image = next(iter(evaluator.data_loader))["image"].to(evaluator.state.device)
    network = evaluator.network

    def predict() -> None:
        with eval_mode(network):
            evaluator.inferer(image, network)
        if image.is_cuda:
            torch.cuda.synchronize(image.device)

    prediction = _seconds(predict)
    if prediction < _SHORT * budget.seconds_left:
        prediction = _seconds(predict)
    # Several processes validate a share of the cases each, the first one the largest.
    budget.tried_out(preprocessing, prediction, len(evaluator.data_loader))


def _watch(budget: TimeBudget, fewest: int) -> Callable[[int, int, float], None]:
    """What looks at the clock after each image, from `fewest` on: the first ones of several processes come at once."""

    def watch(done: int, total: int, since: float) -> None:
        if done >= max(fewest, 4) or done == total:
            budget.preprocessed(done, total, since)

    return watch


def _seconds(work: Callable[[], object]) -> float:
    began = time.time()
    work()
    return time.time() - began
