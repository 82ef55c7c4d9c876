"""The mean-shape baseline: what a model reaches that looks at no grey value."""

from __future__ import annotations

import numpy as np

CLEAR = 2 / 3
"""A model is clearly better than the baseline when its mean error is at most this share of the baseline's."""


def mean_shape_points(offsets: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """Predict the mean of the training points in the frame of each image.

    Args:
        offsets: (L, D) mm, mean over the training cases of (point - world position of the middle of the image array).
        centers: (N, D) world mm, middle of the array of each image.

    Returns:
        (N, L, D) world mm.
    """
    return np.asarray(centers)[:, None] + np.asarray(offsets)[None]


def is_clearly_better(mean_error: float, baseline_error: float) -> bool:
    """Whether a mean error in mm shows that the model has learned to look; False where one of them is NaN."""
    return bool(mean_error <= CLEAR * baseline_error)


def verdict(mean_error: float | None, baseline_error: float | None, unit: str = "mm") -> str:
    """One plain sentence on a mean error beside that of the mean shape, both in `unit`; None where not known."""
    if mean_error is None:
        return "The truth has no present landmark, so there is no error to tell."
    if baseline_error is None:
        return "The mean-shape baseline is not known: there is no run.json with the mean shape beside the predictions."
    numbers = f"{mean_error:.3g} {unit} against {baseline_error:.3g} {unit}"
    if not is_clearly_better(mean_error, baseline_error):
        return (
            f"NOT clearly better than always predicting the mean shape: {numbers}. "
            "The model has learned little; train it longer, or check the data with `auto_config inspect`."
        )
    ratio = baseline_error / mean_error if mean_error else float("inf")
    return f"{ratio:.1f} times better than always predicting the mean shape: {numbers}."
