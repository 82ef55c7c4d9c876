"""Whether a landmark is there: a calibrated probability from the evidence of its heatmap, and a threshold on it.

The probability is a logistic regression on the evidence, one for all landmarks, with an offset for each landmark that a
normal prior draws to zero: one of which few examples are known, or none of one state, stays near the pooled one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

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
    """

    mean: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    intercept: float
    offsets: np.ndarray

    def probability(self, evidence: np.ndarray) -> np.ndarray:
        """Probability (N, L) that landmarks with evidence (N, L, F) are present."""
        return expit((evidence - self.mean) / self.scale @ self.weights + self.intercept + self.offsets)


def fit_presence(evidence: np.ndarray, present: np.ndarray) -> PresenceModel:
    """Fit the model.

    Args:
        evidence: (N, L, F), finite.
        present: (N, L) 1 or 0, NaN where nobody knows.

    Raises:
        ValueError: No present or no absent landmark, so that there is nothing to tell apart.
    """
    known = ~np.isnan(present)
    if not (present == 0).any() or not (present == 1).any():
        raise ValueError("presence needs both present and absent landmarks among the calibration cases")
    rows, truth = evidence[known], present[known]
    landmark = np.broadcast_to(np.arange(present.shape[1]), present.shape)[known]
    mean, scale = rows.mean(axis=0), np.maximum(rows.std(axis=0), 1e-6)
    x = (rows - mean) / scale
    features, landmarks = x.shape[1], present.shape[1]

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

    found = minimize(loss, np.zeros(features + 1 + landmarks), jac=True, method="L-BFGS-B").x
    return PresenceModel(mean, scale, found[:features], float(found[features]), found[features + 1 :])


def cross_fitted(evidence: np.ndarray, present: np.ndarray, units: np.ndarray | None = None) -> np.ndarray:
    """Probabilities (N, L) of each case by a model of the other parts of the cases; see `fit_presence`.

    A part whose other cases hold no absent landmark gets those of the model of all.

    Args:
        evidence: (N, L, F), finite.
        present: (N, L) 1 or 0, NaN where nobody knows.
        units: (N,) a number for each case; cases of one number, such as scans of one patient, are judged by models that
            saw neither. None where each case stands for itself.
    """
    part = _parts(present, units)
    out = fit_presence(evidence, present).probability(evidence)
    for number in np.unique(part):
        rest = present[part != number]
        if (rest == 0).any() and (rest == 1).any():
            model = fit_presence(evidence[part != number], rest)
            out[part == number] = model.probability(evidence[part == number])
    return out


def all_are_judged_by_others(present: np.ndarray, units: np.ndarray | None = None) -> bool:
    """Whether each part of `cross_fitted` leaves both states to learn from."""
    part = _parts(present, units)
    rests = [present[part != number] for number in np.unique(part)]
    return all((rest == 0).any() and (rest == 1).any() for rest in rests)


def cross_fitted_decisions(
    evidence: np.ndarray, present: np.ndarray, cost: float | None = None, units: np.ndarray | None = None
) -> np.ndarray:
    """Decisions (N, L) bool about each case by a model, and by thresholds, of the other parts of the cases.

    Thresholds that are chosen on the cases that they are tested on look better than they are.

    Args:
        evidence: (N, L, F), finite.
        present: (N, L) 1 or 0, NaN where nobody knows.
        cost: see `cost_threshold`; None for `thresholds`.
        units: see `cross_fitted`.
    """
    probability = cross_fitted(evidence, present, units)
    if cost is not None:
        return probability >= cost_threshold(cost)
    units = np.arange(len(present)) if units is None else units
    part = _parts(present, units)
    out = probability >= thresholds(probability, present)
    for number in np.unique(part):
        others = part != number
        rest = present[others]
        if (rest == 0).any() and (rest == 1).any():
            limits = thresholds(cross_fitted(evidence[others], rest, units[others]), rest)
            out[~others] = probability[~others] >= limits
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


def thresholds(probability: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Threshold (L,) of each landmark: its own best one, drawn to that of all where it has few examples.

    Args:
        probability: (N, L) cross-fitted.
        present: (N, L) 1 or 0, NaN where nobody knows.
    """
    known = ~np.isnan(present)
    pooled = best_threshold(probability[known], present[known] == 1)
    out = np.full(present.shape[1], pooled)
    for landmark in range(present.shape[1]):
        rows = known[:, landmark]
        truth = present[rows, landmark] == 1
        rarer = min(int(truth.sum()), int((~truth).sum()))
        if rarer:
            own = best_threshold(probability[rows, landmark], truth)
            out[landmark] = (rarer * own + SHRINKAGE * pooled) / (rarer + SHRINKAGE)
    return out
