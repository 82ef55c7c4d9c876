"""How much a scan would teach: how unsure the models are of it, how unlike the labelled ones it is. Pure functions.

`auto_config review` orders unlabelled scans by it, and so does the server's strategy "uncertainty".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_FAR = 10.0
"""Novelty above this counts no more; where nothing is labelled yet, everything is so new."""

SCALE_MM = 4.0
"""A spread of so many mm counts as an uncertainty of 1 - 1/e; the widest usual threshold of success."""


def landmark_uncertainty(spread: np.ndarray, confidence: np.ndarray, scale: float = SCALE_MM) -> np.ndarray:
    """How unsure models are of each landmark, 0 to 1: ``1 - exp(-spread / scale)``, else one minus the confidence.

    Args:
        spread: (L,) mm that a point may be off, NaN where the models do not say it.
        confidence: (L,) NaN where there is none.
        scale: mm of an uncertainty of 1 - 1/e.

    Returns:
        (L,) NaN where neither is known.
    """
    spread, confidence = np.asarray(spread, dtype=np.float64), np.asarray(confidence, dtype=np.float64)
    return np.where(np.isfinite(spread), 1.0 - np.exp(-spread / scale), 1.0 - np.clip(confidence, 0.0, 1.0))


def case_uncertainty(spread: np.ndarray, confidence: np.ndarray, scale: float = SCALE_MM) -> float:
    """The mean of `landmark_uncertainty` over the landmarks of which something is known; infinite without any."""
    values = landmark_uncertainty(spread, confidence, scale)
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("inf")


@dataclass(frozen=True)
class Choice:
    """A scan that is worth a label.

    Args:
        index: Of the scan.
        value: What it was chosen by, uncertainty times novelty.
        uncertainty: 0 to 1.
        novelty: Distance to the nearest scan that is labelled or was chosen before, over the usual distance of a
            labelled one to its nearest.
    """

    index: int
    value: float
    uncertainty: float
    novelty: float


def choose_scans(uncertainty: np.ndarray, looks: np.ndarray, labelled: np.ndarray, count: int) -> list[Choice]:
    """Choose scans one after the other, so that not ten of one kind are chosen.

    Each time the scan with the largest product of uncertainty and distance to the nearest labelled or chosen one is
    taken: the greedy k-centre of Sener and Savarese (2018), weighted by uncertainty.

    Args:
        uncertainty: (M,) 0 to 1; infinite counts as 1.
        looks: (M, F) numbers that describe the scans.
        labelled: (N, F) the same of the labelled ones; N may be 0.
        count: How many to choose at most.
    """
    unsure = np.clip(np.asarray(uncertainty, dtype=np.float64), 0.0, 1.0)
    every = _standardised(np.concatenate([looks, labelled]))
    own, others = every[: len(looks)], every[len(looks) :]
    unit = _usual_gap(others if len(others) > 1 else own)
    nearest = _nearest(own, others) / unit if len(others) else np.full(len(own), _FAR)
    chosen: list[Choice] = []
    left = list(range(len(own)))
    while left and len(chosen) < count:
        # A scan like a labelled one of which the models are unsure still counts for something.
        values = unsure[left] * (0.25 + np.minimum(nearest[left], _FAR))
        best = left[int(np.argmax(values))]
        chosen.append(Choice(best, float(values.max()), float(unsure[best]), float(nearest[best])))
        left.remove(best)
        nearest = np.minimum(nearest, np.linalg.norm(own - own[best], axis=1) / unit)
    return chosen


def _standardised(looks: np.ndarray) -> np.ndarray:
    """Each column about its median, over its spread; unknown numbers count as the median."""
    middle = np.nanmedian(looks, axis=0)
    spread = 1.4826 * np.nanmedian(np.abs(looks - middle), axis=0)
    full = np.nanstd(looks, axis=0)
    scale = np.where(spread > 1e-3 * full, spread, np.where(full > 0, full, 1.0))
    return np.asarray(np.nan_to_num((looks - middle) / scale)) / np.sqrt(looks.shape[1])


def _nearest(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    return np.asarray(np.linalg.norm(points[:, None] - others[None], axis=-1).min(axis=1))


def _usual_gap(points: np.ndarray) -> float:
    """The median distance of a point to its nearest other one; 1 where there is none."""
    if len(points) < 2:
        return 1.0
    apart = np.linalg.norm(points[:, None] - points[None], axis=-1)
    np.fill_diagonal(apart, np.inf)
    return max(float(np.median(apart.min(axis=1))), 1e-9)


def reason(choice: Choice, first_names: Sequence[str]) -> str:
    """Why a scan was chosen, as a sentence.

    Args:
        choice: the scan.
        first_names: landmarks of which the models are least sure.
    """
    parts = [f"the models are unsure of it ({choice.uncertainty:.2f} of 1)"]
    if first_names:
        parts[0] += f", most of {', '.join(first_names)}"
    if choice.novelty > 2:
        parts.append(
            f"shape or grey values are unlike those of any labelled or chosen scan ({choice.novelty:.1f} gaps)"
        )
    elif choice.novelty < 0.5:
        parts.append("it resembles a labelled or chosen scan")
    return "; ".join(parts)
