"""Landmarks that lie close to each other are looked at in one crop: a pure function on numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def shared(origins: np.ndarray, most: Sequence[int]) -> np.ndarray:
    """For each of L crops the one that is looked at in its place, so that few are left.

    A greedy cover: again and again the crop that can stand for the most of those that no other one stands for yet, of
    several the first. Then each is looked at in the nearest of these.

    Args:
        origins: ``(L, D)`` first cell of the crop in whose middle each landmark lies.
        most: ``(D,)`` cells along each axis that a crop may lie beside the one that it stands for; with 0 only crops at
            the same place become one.

    Returns:
        ``(L, D)`` first cells.
    """
    near = (np.abs(origins[:, None] - origins) <= np.asarray(most)).all(-1)
    left, kept = np.ones(len(origins), dtype=bool), []
    while left.any():
        kept.append(int(near[:, left].sum(1).argmax()))
        left &= ~near[kept[-1]]
    away = np.where(near[:, kept], np.square(origins[:, None] - origins[kept]).sum(-1), np.inf)
    chosen: np.ndarray = origins[kept][away.argmin(1)]
    return chosen
