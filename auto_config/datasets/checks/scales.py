"""Cases in another unit of length than the others: images or points 10, 100 or 1000 times too large or too small."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from auto_config.datasets.images import Header
from auto_config.datasets.model.dataset import Case, Problem, present_points

_FACTORS = {10.0: "cm", 1000.0: "metres or micrometres", 100.0: "cm and metres"}
_TOLERANCE = 1.6
"""A case counts as off by a factor when it is within this factor of it: anatomy and field of view vary too."""

_FEWEST_CASES = 3


def image_scale_problems(headers: Mapping[str, Header]) -> list[Problem]:
    """Find images whose extent is off by a factor of units from the median of the cohort.

    Args:
        headers: Name of the case to its header.
    """
    extents = {
        name: float(np.exp(np.mean(np.log(np.array(header.shape) * header.spacing))))
        for name, header in headers.items()
        if header.volumes == 1 and 0 not in header.shape and min(header.spacing) > 0
    }
    return [
        Problem("warning", f"{headers[name].path}: image is {text}; save image and points in mm", name)
        for name, text in _off(extents)
    ]


def point_scale_problems(cases: Sequence[Case], names: Sequence[str], spatial_dims: int) -> list[Problem]:
    """Find cases whose points are spread wider or narrower by a factor of units than those of the others.

    The spread of a case is compared with that of the same landmarks in the median of the other cases' spreads, so that
    a case with few landmarks is not taken for a small one.

    Args:
        cases: Cases with landmarks.
        names: Landmark names.
        spatial_dims: 2 or 3.
    """
    used = [case for case in cases if case.landmarks is not None]
    if len(used) < _FEWEST_CASES:
        return []
    points = np.stack([present_points(case, names, spatial_dims) for case in used])
    reference = points[int(np.isfinite(points[..., 0]).sum(1).argmax())]
    spreads: dict[str, float] = {}
    for case, own in zip(used, points, strict=True):
        both = np.isfinite(own[:, 0]) & np.isfinite(reference[:, 0])
        if both.sum() > 1 and (of_reference := _spread(reference[both])) > 0 and (of_own := _spread(own[both])) > 0:
            spreads[case.name] = of_own / of_reference
    images = {case.name: case.image[0] for case in used}
    return [
        Problem("warning", f"{images[name]}: the landmarks of this case are spread over {text}; give them in mm", name)
        for name, text in _off(spreads)
    ]


def _spread(points: np.ndarray) -> float:
    return float(np.sqrt(((points - points.mean(0)) ** 2).sum(-1).mean()))


def _off(sizes: Mapping[str, float]) -> list[tuple[str, str]]:
    """Names and what is wrong with their sizes."""
    if len(sizes) < _FEWEST_CASES:
        return []
    usual = float(np.median(list(sizes.values())))
    found = []
    for name, size in sizes.items():
        ratio = size / usual
        for factor, units in _FACTORS.items():
            for times, word in ((ratio, "times the usual size"), (1 / ratio, "times less than the usual size")):
                if factor / _TOLERANCE <= times <= factor * _TOLERANCE:
                    found.append((name, f"{times:.3g} {word}, as if its lengths were in another unit ({units})"))
    return found
