"""The heatmaps of an image as probabilities: what level sets and their calibration look at."""

from __future__ import annotations

import numpy as np

from auto_config.bundle.opened import OpenBundle
from auto_config.bundle_scripts.inference.heatmaps import Heatmaps
from auto_config.bundle_scripts.points.instances import Instances


def densities(opened: OpenBundle, found: Heatmaps, instances: Instances, spacing: np.ndarray) -> np.ndarray | None:
    """A probability for each voxel, landmark by landmark.

    The channels of an exchangeable pair show both ends. The heatmap of an end is therefore the part that lies nearer to
    its own point than to that of the other end, as a probability of its own. Where whole images are decoded the ends
    are medoids of the mean of both channels, which is then the heatmap of both.

    Args:
        opened: The bundle, whose decoder knows what its output means.
        found: What the bundle found in an image.
        instances: Which landmarks may change places.
        spacing: (D,) mm of the planned grid.

    Returns:
        (L, *size), sums of 1; 0 everywhere for an end whose point lies where the other one does. None where the method
        has no level sets.
    """
    if opened.decoder is None:
        return None
    probability = opened.decoder.density(found.output)
    if probability is None:
        return None
    density: np.ndarray = probability.cpu().numpy()
    points = found.peaks.points.cpu().numpy()
    for first, second in instances.exchangeable:
        for own, other in ((first, second), (second, first)):
            here, there = found.local(points[[own, other]], [own, own])
            near = _nearer(density.shape[1:], here, there, spacing)
            # What lies halfway belongs to the first of both.
            part = np.where(near > 0 if own == first else near >= 0, 0.0, density[own])
            density[own] = part / max(float(part.sum()), np.finfo(np.float32).tiny)
    return density


def _nearer(size: tuple[int, ...], own: np.ndarray, other: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """Below 0 at voxels (*size) nearer to one point (D,) than to another, 0 halfway; in mm², voxels of the array."""
    difference = np.zeros(size)
    for axis, steps in enumerate(np.ogrid[tuple(slice(n) for n in size)]):
        difference = difference + spacing[axis] ** 2 * ((steps - own[axis]) ** 2 - (steps - other[axis]) ** 2)
    return difference
