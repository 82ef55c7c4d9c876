"""Whether a landmark is there: a calibrated probability from the evidence of its heatmap, and a threshold on it.

The probability is a logistic regression on the evidence, one for all landmarks, with an offset for each landmark that a
normal prior draws to zero: one of which few examples are known, or none of one state, stays near the pooled one.

Predictions come in rows (R), one for each landmark (L) and further ones where there may be many of it; `Rows` says
which row is of which landmark. A candidate for an instance is present where it is one, and absent where it is invented.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from auto_config.calibration.matched import Rows
from auto_config.calibration.reliability import mean_f1

RIDGE = 1.0
"""Strength of the prior on the weights of standardised evidence."""
OFFSET_DEVIATION = 1.0
"""Standard deviation of the prior on the landmarks' own offsets, in logits."""
SHRINKAGE = 10
"""A landmark with so many examples of its rarer state has half a threshold of its own."""
PARTS = 5
"""Parts of the cases of which each is judged by a model of the others."""


@dataclass(frozen=True)
class PresenceModel:
    """A fitted model.

    Args:
        mean: (F,) mean of the evidence.
        scale: (F,) its standard deviation.
        weights: (F,) for standardised evidence.
        intercept: Of all landmarks.
        offsets: (L,) of each landmark, added to the intercept.
        channels: (R,) landmark of each row.
    """

    mean: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    intercept: float
    offsets: np.ndarray
    channels: np.ndarray

    def probability(self, evidence: np.ndarray) -> np.ndarray:
        """Probability (N, R) that rows with evidence (N, R, F) are present."""
        offsets = self.offsets[self.channels]
        return expit((evidence - self.mean) / self.scale @ self.weights + self.intercept + offsets)


def fit_presence(evidence: np.ndarray, present: np.ndarray, rows: Rows | None = None) -> PresenceModel:
    """Fit the model.

    Args:
        evidence: (N, R, F), finite where presence is known.
        present: (N, R) 1 or 0, NaN where nobody knows.
        rows: which row is of which landmark; None for one row of each.

    Raises:
        ValueError: No present or no absent landmark, so that there is nothing to tell apart.
    """
    known = ~np.isnan(present)
    if not (present == 0).any() or not (present == 1).any():
        raise ValueError("presence needs both present and absent landmarks among the calibration cases")
    channels = (rows or Rows.single(present)).channels
    found, truth = evidence[known], present[known]
    landmark = np.broadcast_to(channels, present.shape)[known]
    mean, scale = found.mean(axis=0), np.maximum(found.std(axis=0), 1e-6)
    x = (found - mean) / scale
    features, landmarks = x.shape[1], int(channels.max()) + 1

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        weights, intercept, offsets = parameters[:features], parameters[features], parameters[features + 1 :]
        logit = x @ weights + intercept + offsets[landmark]
        residual = expit(logit) - truth
        value = np.logaddexp(0, logit) - truth * logit
        gradient = np.concatenate(
            [
                residual @ x + RIDGE * weights,
                [residual.sum()],
                np.bincount(landmark, residual, landmarks) + offsets / OFFSET_DEVIATION**2,
            ]
        )
        prior = 0.5 * RIDGE * weights @ weights + 0.5 * offsets @ offsets / OFFSET_DEVIATION**2
        return float(value.sum() + prior), gradient

    best = minimize(loss, np.zeros(features + 1 + landmarks), jac=True, method="L-BFGS-B").x
    return PresenceModel(mean, scale, best[:features], float(best[features]), best[features + 1 :], channels)


def cross_fitted(
    evidence: np.ndarray, present: np.ndarray, units: np.ndarray | None = None, rows: Rows | None = None
) -> np.ndarray:
    """Probabilities (N, R) of each case by a model of the other parts of the cases; see `fit_presence`.

    A part whose other cases hold no absent landmark gets those of the model of all.

    Args:
        evidence: (N, R, F), finite where presence is known.
        present: (N, R) 1 or 0, NaN where nobody knows.
        units: (N,) a number for each case; cases of one number, such as scans of one patient, are judged by models that
            saw neither. None where each case stands for itself.
        rows: see `fit_presence`.
    """
    part = _parts(present, units)
    out = fit_presence(evidence, present, rows).probability(evidence)
    for number in np.unique(part):
        rest = present[part != number]
        if (rest == 0).any() and (rest == 1).any():
            model = fit_presence(evidence[part != number], rest, rows)
            out[part == number] = model.probability(evidence[part == number])
    return out


def all_are_judged_by_others(present: np.ndarray, units: np.ndarray | None = None) -> bool:
    """Whether each part of `cross_fitted` leaves both states to learn from."""
    part = _parts(present, units)
    rests = [present[part != number] for number in np.unique(part)]
    return all((rest == 0).any() and (rest == 1).any() for rest in rests)


def cross_fitted_decisions(
    evidence: np.ndarray,
    present: np.ndarray,
    cost: float | None = None,
    units: np.ndarray | None = None,
    rows: Rows | None = None,
) -> np.ndarray:
    """Decisions (N, R) bool about each case by a model, and by thresholds, of the other parts of the cases.

    Thresholds that are chosen on the cases that they are tested on look better than they are.

    Args:
        evidence: (N, R, F), finite where presence is known.
        present: (N, R) 1 or 0, NaN where nobody knows.
        cost: see `thresholds`.
        units: see `cross_fitted`.
        rows: see `fit_presence`.
    """
    rows = rows or Rows.single(present)
    probability = cross_fitted(evidence, present, units, rows)
    units = np.arange(len(present)) if units is None else units
    part = _parts(present, units)
    out = probability >= thresholds(probability, present, rows, cost)[rows.channels]
    if cost is not None:  # the cost says it, and no case
        return out
    for number in np.unique(part):
        others = part != number
        rest, known = present[others], rows.of_cases(others)
        if (rest == 0).any() and (rest == 1).any():
            limits = thresholds(cross_fitted(evidence[others], rest, units[others], known), rest, known)
            out[~others] = probability[~others] >= limits[rows.channels]
    return out


def _parts(present: np.ndarray, units: np.ndarray | None) -> np.ndarray:
    """The part (N,) of each case; a unit is never divided."""
    number = np.arange(len(present)) if units is None else np.unique(units, return_inverse=True)[1]
    return number % PARTS


def cost_threshold(cost: float) -> float:
    """The probability from which on "present" costs least.

    Args:
        cost: What it costs to call an absent landmark present, where calling a present one absent costs 1.
    """
    return cost / (1.0 + cost)


def best_threshold(probability: np.ndarray, present: np.ndarray) -> float:
    """The threshold with the best `mean_f1`, halfway between two probabilities that occur."""
    values = np.unique(probability)
    if len(values) < 2:
        return 0.5
    candidates = (values[1:] + values[:-1]) / 2
    if len(candidates) > 512:  # more make no difference that a few hundred examples could show
        candidates = np.quantile(candidates, np.linspace(0, 1, 512))
    scores = np.array([mean_f1(probability >= threshold, present) for threshold in candidates])
    best = candidates[scores == scores.max()]
    return float(best[len(best) // 2])


def best_detection_threshold(probability: np.ndarray, present: np.ndarray, missed: int) -> float | None:
    """The threshold with the best F1 of detection: 2 TP / (candidates that are kept + true points).

    Args:
        probability: (n,) of candidates.
        present: (n,) bool, the candidate is matched with a true point.
        missed: Number of true points that no candidate is matched with.

    Returns:
        Halfway between the least probable candidate that is kept and the next one below (0 below all); None where no
        candidate is matched, so that nothing is best.
    """
    if not present.any():
        return None
    values = np.unique(probability)
    kept = probability >= values[:, None]
    f1 = 2 * (kept & present).sum(axis=1) / (kept.sum(axis=1) + present.sum() + missed)
    best = int(np.argmax(f1))
    return float((values[best] + (values[best - 1] if best else 0.0)) / 2)


def thresholds(
    probability: np.ndarray, present: np.ndarray, rows: Rows | None = None, cost: float | None = None
) -> np.ndarray:
    """Threshold (L,) of each landmark: its own best one, drawn to that of all where it has few examples.

    Landmarks of which there are many have the best F1 of detection and are drawn to that of all of these; the others
    have the best `mean_f1`. Where none of the others is ever absent their thresholds are 0, which all reach: invented
    instances say nothing of them.

    Args:
        probability: (N, R) cross-fitted.
        present: (N, R) 1 or 0, NaN where nobody knows.
        rows: see `fit_presence`.
        cost: see `cost_threshold`, which then counts alone; None for the best F1.
    """
    rows = rows or Rows.single(present)
    out = np.zeros(len(rows.many))
    for many in (False, True):
        landmarks = np.flatnonzero(rows.many == many)
        known = ~np.isnan(present) & (rows.many == many)[rows.channels]
        if not many and not (present[known] == 0).any():
            continue
        if cost is not None:
            out[landmarks] = cost_threshold(cost)
            continue
        pooled = _own_threshold(probability[known], present[known] == 1, rows.missed[:, landmarks].sum(), many)
        for landmark in landmarks:
            own = known & (rows.channels == landmark)
            out[landmark] = _shrunk(
                probability[own],
                present[own] == 1,
                rows.missed[:, landmark].sum(),
                many,
                0.5 if pooled is None else pooled,
            )
    return out


def _own_threshold(probability: np.ndarray, truth: np.ndarray, missed: int, many: bool) -> float | None:
    return best_detection_threshold(probability, truth, missed) if many else best_threshold(probability, truth)


def _shrunk(probability: np.ndarray, truth: np.ndarray, missed: int, many: bool, pooled: float) -> float:
    """The threshold of one landmark, as near to the pooled one as its examples are few."""
    rarer = min(int(truth.sum()), int((~truth).sum()))
    own = _own_threshold(probability, truth, missed, many) if rarer else None
    return pooled if own is None else (rarer * own + SHRINKAGE * pooled) / (rarer + SHRINKAGE)
