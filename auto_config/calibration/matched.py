"""Which true point stands for which row of a prediction, before any score, density or presence is taken.

A row of an ordinary landmark stands for the point of its name. The two ends of an exchangeable pair stand for the true
ends in the order that fits better. Candidates for the instances of a landmark of which there are many are matched one
to one with its true points; a candidate without a partner is absent, a true point without one is missed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from auto_config.bundle_scripts.points.instances import Instances
from auto_config.bundle_scripts.points.landmarks import ABSENT, PRESENT, UNKNOWN, LandmarkSet
from auto_config.bundle_scripts.points.matching import best_order, match
from auto_config.bundle_scripts.points.nms import candidates


@dataclass(frozen=True)
class Matched:
    """What is true of the R rows of one prediction.

    Args:
        truth: (R, D) world mm, NaN where no true point belongs to the row.
        status: (R,) `PRESENT`, `ABSENT`, or `UNKNOWN` where nobody knows or the row is no candidate.
        missed: (L,) number of true points that no row belongs to; 0 for landmarks that are there once.
    """

    truth: np.ndarray
    status: np.ndarray
    missed: np.ndarray


@dataclass(frozen=True)
class Rows:
    """How the R rows of N predictions belong to L landmarks.

    Args:
        channels: (R,) landmark of each row.
        many: (L,) bool, there may be any number of it.
        missed: (N, L) number of true points that no row was matched with.
    """

    channels: np.ndarray
    many: np.ndarray
    missed: np.ndarray

    @classmethod
    def single(cls, present: np.ndarray) -> Rows:
        """One row for each landmark; ``present`` is (N, L)."""
        cases, count = present.shape
        return cls(np.arange(count), np.zeros(count, dtype=bool), np.zeros((cases, count), dtype=int))

    @classmethod
    def of(cls, instances: Instances, missed: np.ndarray) -> Rows:
        """As a bundle has them; ``missed`` is (N, L)."""
        return cls(np.array(instances.channels), np.array(instances.many, dtype=bool), missed.astype(int))

    def of_cases(self, chosen: np.ndarray) -> Rows:
        """Those of some of the cases, (N,) bool."""
        return replace(self, missed=self.missed[chosen])


def matched(points: np.ndarray, confidence: np.ndarray, label: LandmarkSet, instances: Instances) -> Matched:
    """Match the rows of a prediction with the truth of its image.

    Args:
        points: (R, D) world mm, NaN where a row is empty.
        confidence: (R,) sigmoid of the peak.
        label: the truth, in the order of the channels.
        instances: which rows belong to which landmark; instances match within its ``match_limits``.
    """
    channels, count = np.array(instances.channels), len(instances.names)
    truth = np.full(points.shape, np.nan)
    status = np.full(len(points), UNKNOWN)
    missed = np.zeros(count, dtype=int)
    truth[:count], status[:count] = label.points, label.status
    for pair in map(list, instances.exchangeable):
        if best_order(points[pair], truth[pair]):
            truth[pair], status[pair] = truth[pair[::-1]], status[pair[::-1]]
    found = candidates(points, confidence)
    for channel in np.flatnonzero(instances.many):
        truth[channel], status[channel] = np.nan, UNKNOWN
        if label.status[channel] == UNKNOWN:
            continue
        own = np.flatnonzero((channels == channel) & found)
        true = label.instances.get(instances.names[channel], label.points[channel : channel + 1])
        true = true[np.isfinite(true).all(axis=1)]
        rows, columns = match(points[own], true, instances.match_limits[channel])
        status[own] = ABSENT
        status[own[rows]], truth[own[rows]] = PRESENT, true[columns]
        missed[channel] = len(true) - len(columns)
    return Matched(truth, status, missed)
