"""The average of what sites have trained, by numpy alone: federated averaging for sites that know different landmarks.

Federated averaging weighs each site by its cases (McMahan et al., AISTATS 2017). Two kinds of numbers are no weights of
that kind: the channels of a landmark, of which a site learns nothing that has not annotated it, and the shape of the
training cases, which each site measures in a frame of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from auto_config.bundle_scripts.points.procrustes import procrustes, similarity

MEAN, SPREAD, CASES = "shape.mean", "shape.spread", "shape.cases"


@dataclass(frozen=True)
class SiteUpdate:
    """What a site sends after a round: numbers, no case and no name of one.

    Args:
        weights: state dict as arrays.
        cases: training cases of the site.
        known: ``(L,)`` training cases in which each landmark is present or absent, not unknown.
        metrics: errors of the weights that the site was sent, on its own validation cases.
    """

    weights: Mapping[str, np.ndarray]
    cases: int
    known: np.ndarray
    metrics: Mapping[str, float] = field(default_factory=dict)


def average(updates: Sequence[SiteUpdate], landmark_layers: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """The weights of the next round.

    Every tensor is the mean over the sites, weighted by their cases. In `landmark_layers` each channel is weighted by
    the cases that know its landmark, so that a site which has not annotated it does not hold it back; a landmark that
    nobody knows is weighted as all else. The shape model is pooled, see `pooled_shape`.

    Args:
        updates: one of each site, with the same tensors.
        landmark_layers: names of tensors whose first axis is the landmarks.

    Returns:
        A state dict with the dtypes of the first site.

    Raises:
        ValueError: there is no update, a site sends other tensors than the first, or one that is not finite.
    """
    if not updates:
        raise ValueError("no site has sent weights, so there is nothing to average; wait for at least one")
    first = updates[0].weights
    for number, update in enumerate(updates):
        _check(first, update, number)
    by_cases = np.array([update.cases for update in updates], dtype=np.float64)
    by_landmark = np.stack([np.asarray(update.known, dtype=np.float64) for update in updates])
    by_landmark = np.where(by_landmark.sum(0) > 0, by_landmark, by_cases[:, None])
    shape = pooled_shape([update.weights for update in updates]) if MEAN in first else {}
    out = {}
    for name, tensor in first.items():
        if name in shape:
            found = shape[name]
        else:
            stack = np.stack([np.asarray(update.weights[name], dtype=np.float64) for update in updates])
            share = by_landmark if name in landmark_layers else by_cases
            share = share.reshape(*share.shape, *[1] * (stack.ndim - share.ndim))
            found = (stack * share).sum(0) / share.sum(0)
        if np.issubdtype(tensor.dtype, np.integer):
            found = np.rint(found)
        out[name] = np.asarray(found, dtype=tensor.dtype).reshape(tensor.shape)
    return out


def _check(first: Mapping[str, np.ndarray], update: SiteUpdate, number: int) -> None:
    if {name: tensor.shape for name, tensor in first.items()} != {n: t.shape for n, t in update.weights.items()}:
        raise ValueError(f"site {number + 1} sends other tensors than the first: set all sites up from one package")
    broken = next((name for name, tensor in update.weights.items() if not np.isfinite(tensor).all()), None)
    if broken is not None:
        raise ValueError(f"site {number + 1} sends {broken} with numbers that are not finite: leave this site out")
    if update.cases < 1:
        raise ValueError(f"site {number + 1} has no training case: leave this site out")


def pooled_shape(sites: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """One shape model of those of the sites.

    The mean shapes are aligned, because each site has its own frame; then each landmark's mean is weighted by its
    cases, and its variance is that within the sites and between them, as of all cases together. A site that knows fewer
    than D + 1 landmarks does not say how its shape lies and is left out.

    Args:
        sites: ``shape.mean`` (L, D) mm, ``shape.spread`` (L,) mm and ``shape.cases`` (L,) of each.

    Returns:
        The same of all sites together; 0 where nobody knows anything.
    """
    means = np.stack([np.asarray(site[MEAN], dtype=np.float64) for site in sites])
    spreads = np.stack([np.asarray(site[SPREAD], dtype=np.float64) for site in sites])
    cases = np.stack([np.asarray(site[CASES], dtype=np.int64) for site in sites])
    means = np.where((cases > 0)[..., None], means, np.nan)
    usable = (cases > 0).sum(1) > means.shape[2]
    if not usable.any():
        return {MEAN: np.zeros(means.shape[1:]), SPREAD: np.zeros(means.shape[1]), CASES: np.zeros(means.shape[1])}
    means, spreads, cases = means[usable], spreads[usable], cases[usable]
    reference, _, _ = procrustes(means)
    aligned, scales = zip(*(_aligned(mean, reference) for mean in means), strict=True)
    points, spreads = np.stack(aligned), spreads * np.array(scales)[:, None]
    known = np.isfinite(points[..., 0])
    count = np.where(known, cases, 0)
    total = count.sum(0)
    mean = np.where(known[..., None], points, 0.0)
    mean = (mean * count[..., None]).sum(0) / np.maximum(total, 1)[:, None]
    between = np.where(known, ((np.nan_to_num(points) - mean) ** 2).sum(-1), 0.0)
    squared = (np.maximum(count - 1, 0) * spreads**2 + count * between).sum(0)
    spread = np.sqrt(squared / np.maximum(total - 1, 1))
    return {MEAN: mean, SPREAD: np.where(total > 1, spread, 0.0), CASES: total}


def _aligned(mean: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, float]:
    """A mean shape ``(L, D)`` in the frame of another, and the factor of its lengths; NaN where they share too few."""
    both = np.isfinite(mean[:, 0]) & np.isfinite(reference[:, 0])
    if both.sum() <= mean.shape[1]:
        return np.full_like(mean, np.nan), 1.0
    matrix = similarity(mean[both], reference[both], np.ones(int(both.sum())))
    scale = float(np.cbrt(np.linalg.det(matrix[:-1, :-1]))) if mean.shape[1] == 3 else _scale_2d(matrix)
    return mean @ matrix[:-1, :-1].T + matrix[:-1, -1], scale


def _scale_2d(matrix: np.ndarray) -> float:
    return float(np.sqrt(np.linalg.det(matrix[:-1, :-1])))
