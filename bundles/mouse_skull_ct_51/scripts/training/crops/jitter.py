"""How far a training crop lies from its landmark: a Gaussian, or errors that coarse stages were seen to make."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np


def read_errors(path: str | Path) -> np.ndarray:
    """Lengths ``(N,)`` in mm of out-of-fold errors of the coarse stage, as `auto_config train` measures them.

    Raises:
        ValueError: the file cannot be read, or has no lengths above 0.
    """
    try:
        lengths = np.array(json.loads(Path(path).read_text(encoding="utf-8"))["lengths"], dtype=np.float64)
        usable = lengths.ndim == 1 and bool(np.isfinite(lengths).all()) and bool((lengths >= 0).all()) and lengths.any()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: cannot be read as errors of a coarse stage ({error})") from None
    if not usable:
        raise ValueError(f"{path}: 'lengths' must be a list of mm, at least one above 0")
    return lengths


def draw_jitter(
    rng: np.random.Generator, dims: int, spread: float, errors: np.ndarray | None = None, most: float = np.inf
) -> np.ndarray:
    """A random offset ``(D,)`` in mm.

    Errors give its length, and chance its direction: cases are turned at random anyway, and a few of them do not tell
    a direction for each landmark.

    Args:
        rng: source of randomness.
        dims: D.
        spread: standard deviation along each axis of the Gaussian that is drawn from without errors.
        errors: ``(N,)`` lengths, of all landmarks together: each alone has a few.
        most: longer errors are not drawn, because the crop would not show its landmark.
    """
    offset: np.ndarray = rng.normal(size=dims) * spread
    if errors is None:
        return offset
    usable = errors[errors <= most]
    if not len(usable):
        return offset
    direction = rng.normal(size=dims)
    return direction / np.linalg.norm(direction) * usable[rng.integers(len(usable))]
