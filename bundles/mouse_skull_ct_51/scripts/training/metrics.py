"""Metrics of validation: radial error in mm and success rate, over the landmarks that the truth calls present."""

from __future__ import annotations

import numpy as np
import torch
from monai.metrics import CumulativeIterationMetric
from monai.utils import convert_to_tensor

from ..points.instance_errors import instance_errors, instance_hits
from ..points.instances import Instances
from ..points.peaks import unpack_peaks


def radial_errors(predicted: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Distance of each predicted point to the true one.

    Args:
        predicted: (..., L, D or more) world mm; only the first D columns are used, so peaks fit as they are.
        truth: (..., L, D) world mm, NaN where a landmark is absent or unknown.

    Returns:
        (..., L) float64 mm; NaN where the truth has no point, infinite where only the prediction is not finite, so that
        a network that gives NaN never looks good.

    Raises:
        ValueError: the numbers of landmarks differ.
    """
    predicted = convert_to_tensor(predicted, track_meta=False).to(torch.float64)
    truth = convert_to_tensor(truth, track_meta=False).to(predicted)
    if predicted.shape[:-1] != truth.shape[:-1] or predicted.shape[-1] < truth.shape[-1]:
        raise ValueError(f"predicted points {tuple(predicted.shape)} do not fit true points {tuple(truth.shape)}")
    distance = torch.linalg.vector_norm(predicted[..., : truth.shape[-1]] - truth, dim=-1)
    known = torch.isfinite(truth).all(dim=-1)
    distance = torch.where(torch.isfinite(distance), distance, torch.inf)
    return torch.where(known, distance, torch.nan)


class RadialError(CumulativeIterationMetric):
    """Mean radial error (MRE) in mm, or the share of small errors, over all present landmarks of all cases.

    Called with lists (or batches) of peaks (L, W) in world mm and of true points (L, D), NaN where a landmark is
    not present. The buffer holds (cases, L) mm with NaN, so `MetricsSaver` writes an error for each case and landmark.

    Args:
        within_mm: gives the success detection rate (SDR) in place of the mean: percent of the landmarks with an error
            of at most this.
        instances: which rows of peaks and points belong to which landmark, where there are many of one or two may
            change places; see `instance_errors` for what counts as an error then. The success rate of many is
            the percent of the true points that were found.
    """

    # flake8-bugbear takes a class called Error for an exception.
    def __init__(self, within_mm: float | None = None, instances: Instances | None = None) -> None:  # noqa: B042
        super().__init__()
        self.within_mm, self.instances = within_mm, instances

    def _compute_tensor(self, y_pred: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
        """Errors (B, L) in mm of peaks (B, L, W) against points (B, L, D), or 100 and 0; NaN where nothing is known."""
        if y is None:
            raise ValueError("the radial error needs true points, got None; validate on cases with landmarks")
        if self.instances is not None:
            images = _rows_of_images(y_pred, y)
            if self.within_mm is None:
                return torch.stack([torch.from_numpy(instance_errors(*rows, self.instances)) for rows in images])
            found = [instance_hits(*rows, self.instances, self.within_mm) for rows in images]
            return torch.from_numpy(np.stack(found))
        errors = radial_errors(y_pred, y)
        if self.within_mm is None:
            return errors
        hits = torch.where(errors <= self.within_mm, 100.0, 0.0).to(errors)
        return torch.where(torch.isnan(errors), torch.nan, hits)

    def aggregate(self) -> torch.Tensor:
        """Mean in mm, or percent, a scalar; NaN when no landmark was present."""
        return _mean_of_known(self.get_buffer())


def _rows_of_images(predicted: torch.Tensor, truth: torch.Tensor) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Points (R, D), confidence (R,) and true points (R, D) of each image of a batch."""
    found = []
    for peaks, points in zip(predicted, truth, strict=True):
        rows = unpack_peaks(convert_to_tensor(peaks, dtype=torch.float64, device="cpu", track_meta=False))
        true = convert_to_tensor(points, dtype=torch.float64, device="cpu", track_meta=False)
        found.append((rows.points.numpy(), rows.confidence.numpy(), true.numpy()))
    return found


def _mean_of_known(buffer: torch.Tensor | None) -> torch.Tensor:
    """Mean of all entries that are not NaN; NaN where there is none."""
    if buffer is None:
        return torch.tensor(torch.nan, dtype=torch.float64)
    return buffer[~torch.isnan(buffer)].mean()
