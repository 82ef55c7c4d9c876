"""Metrics of validation: radial error in mm and success rate, over the landmarks that the truth calls present."""

from __future__ import annotations

import torch
from monai.metrics import CumulativeIterationMetric
from monai.utils import convert_to_tensor


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
    """Mean radial error (MRE) in mm: the mean over all present landmarks of all cases. Lower is better.

    Called with lists (or batches) of peaks (L, W) in world mm and of true points (L, D), NaN where a landmark is
    not present. The buffer holds (cases, L) mm with NaN, so `MetricsSaver` writes an error for each case and landmark.
    """

    def _compute_tensor(self, y_pred: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
        """Errors (B, L) in mm of peaks (B, L, W) against points (B, L, D)."""
        if y is None:
            raise ValueError("the radial error needs true points, got None; validate on cases with landmarks")
        return radial_errors(y_pred, y)

    def aggregate(self) -> torch.Tensor:
        """Mean in mm, a scalar; NaN when no landmark was present."""
        return _mean_of_known(self.get_buffer())


class SuccessRate(CumulativeIterationMetric):
    """Success detection rate (SDR): percent of the present landmarks with a radial error of at most ``threshold_mm``.

    Args:
        threshold_mm: the largest error in mm that counts as a success.
    """

    def __init__(self, threshold_mm: float = 2.0) -> None:
        super().__init__()
        self.threshold_mm = threshold_mm

    def _compute_tensor(self, y_pred: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
        """100 or 0 for each landmark (B, L), NaN where the truth has no point."""
        if y is None:
            raise ValueError("the success rate needs true points, got None; validate on cases with landmarks")
        errors = radial_errors(y_pred, y)
        hits = torch.where(errors <= self.threshold_mm, 100.0, 0.0).to(errors)
        return torch.where(torch.isnan(errors), torch.nan, hits)

    def aggregate(self) -> torch.Tensor:
        """Percent, a scalar; NaN when no landmark was present."""
        return _mean_of_known(self.get_buffer())


def _mean_of_known(buffer: torch.Tensor | None) -> torch.Tensor:
    """Mean of all entries that are not NaN; NaN where there is none."""
    if buffer is None:
        return torch.tensor(torch.nan, dtype=torch.float64)
    return buffer[~torch.isnan(buffer)].mean()
