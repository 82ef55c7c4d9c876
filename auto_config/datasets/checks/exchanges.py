"""Left-right pairs that changed places, and single points that cannot be right, told by their neighbours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from auto_config.datasets.checks.shape_outliers import Outlier, find_outliers
from auto_config.datasets.model.dataset import Case, Dataset, Problem, present_points
from auto_config.datasets.model.names import sided_pairs

_AGAINST = -0.5
"""Cosine between a pair's direction and that of the other pairs: from 120 degrees on it points the other way."""

_FEWEST_OTHERS = 2
_NEARLY_ALL = 0.75
_FEWEST_CASES = 3
_WHOLE_CASE = 1 / 3
"""Share of impossible points from which the case as a whole is told of, and not each point."""


def exchanged_pairs(dataset: Dataset, cases: Sequence[Case]) -> list[Problem]:
    """Find left-right pairs that point the other way than the other pairs of their case.

    The direction of a pair is that from its left to its right point. A pair whose names say the sides and that points
    against the others in nearly all cases was named the wrong way round; a pair that does so in some cases was
    annotated the wrong way round there. Where names say no side, the direction is the one of most cases. Pairs that
    are exchangeable have no direction.

    Args:
        dataset: For its names, its declared pairs and its axes.
        cases: Its cases.
    """
    properties = dataset.properties.for_names(dataset.names)
    loose = {frozenset(map(dataset.names.index, pair)) for pair in properties.exchangeable}
    every, told_by_names = sided_pairs(dataset.names, properties.pairs)
    sided = [pair for pair in every[:told_by_names] if frozenset(pair) not in loose]
    pairs = sided + [pair for pair in every[told_by_names:] if frozenset(pair) not in loose]
    used = [case for case in cases if case.landmarks is not None]
    if len(pairs) <= _FEWEST_OTHERS or not used:
        return []
    points = np.stack([present_points(case, dataset.names, dataset.spatial_dims) for case in used])
    directed = _directed(points, np.array(pairs), len(sided))
    against = pairs_against_others(points, directed)
    problems: list[Problem] = []
    for column, (left, right) in enumerate(pairs):
        told = np.flatnonzero(against[:, column] == 1)
        names = f"{dataset.names[left]!r} and {dataset.names[right]!r}"
        if len(told) >= _FEWEST_CASES and len(told) >= _NEARLY_ALL * np.isfinite(against[:, column]).sum():
            if column >= len(sided):
                continue  # a pair that runs another way than the others, not one whose names are wrong
            message = (
                f"{dataset.source}: {names} lie the other way round than the other left-right pairs in {len(told)} "
                "cases; exchange the two names"
            )
            problems.append(Problem("warning", message, None, dataset.names[left]))
            continue
        for row in told:
            message = (
                f"{used[row].image[0]}: {names} lie the other way round than the other left-right pairs of this case; "
                "if the two were exchanged, correct them"
            )
            problems.append(Problem("warning", message, used[row].name, dataset.names[left]))
    return problems


def _directed(points: np.ndarray, pairs: np.ndarray, sided: int) -> np.ndarray:
    """The pairs, those behind the first `sided` ones turned so that they point along the first pair in most cases."""
    direction = points[:, pairs[:, 1]] - points[:, pairs[:, 0]]
    along = np.sign((direction * direction[:, :1]).sum(axis=-1))
    directed = pairs.copy()
    for column in range(max(sided, 1), len(pairs)):
        if np.nansum(along[:, column]) < 0:
            directed[column] = pairs[column, ::-1]
    return directed


def pairs_against_others(points: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Which pairs point against the other pairs of their case.

    Args:
        points: ``(N, L, D)``, NaN where not present.
        pairs: ``(P, 2)`` indices.

    Returns:
        ``(N, P)``: 1 against, 0 along; NaN where the pair is not there or fewer than two others are.
    """
    direction = points[:, pairs[:, 1]] - points[:, pairs[:, 0]]
    length = np.linalg.norm(direction, axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        unit = np.where(length > 0, direction / length, np.nan)
    known = np.asarray(np.isfinite(unit).all(axis=-1))
    out = np.full(known.shape, np.nan)
    for column in range(len(pairs)):
        others = np.delete(np.arange(len(pairs)), column)
        # The median of unit vectors: a few exchanged pairs among the others do not turn it.
        enough = known[:, column] & (known[:, others].sum(1) >= _FEWEST_OTHERS)
        if enough.any():
            along = np.nanmedian(unit[enough][:, others], axis=1)
            size = np.linalg.norm(along, axis=-1)
            cosine = (unit[enough, column] * along).sum(-1) / np.maximum(size, 1e-9)
            out[enough, column] = cosine < _AGAINST
    return out


def impossible_points(dataset: Dataset, cases: Sequence[Case]) -> list[Problem]:
    """List points that the other points of their case, and the other cases, do not allow; see `shape_outliers`.

    Landmarks with many instances and exchangeable ones have no place in a shape and are not judged.

    Args:
        dataset: For its names and what is declared of them.
        cases: Its cases.
    """
    properties = dataset.properties
    loose = {*properties.many, *(name for pair in properties.exchangeable for name in pair)}
    names = [name for name in dataset.names if name not in loose]
    used = [case for case in cases if case.landmarks is not None]
    if not used or not names:
        return []
    shapes = np.stack([present_points(case, names, dataset.spatial_dims) for case in used])
    found = find_outliers(shapes)
    problems: list[Problem] = []
    for row, case in enumerate(used):
        own = [outlier for outlier in found if outlier.case == row]
        if len(own) > _WHOLE_CASE * np.isfinite(shapes[row, :, 0]).sum():
            message = (
                f"{case.image[0]}: {len(own)} landmarks lie where the shape of the other cases does not allow them; "
                "check the order of the points, the coordinate system and the image"
            )
            problems.append(Problem("warning", message, case.name))
        else:
            problems += _told(case, names, own, dataset.unit)
    return problems


def _told(case: Case, names: Sequence[str], outliers: Sequence[Outlier], unit: str) -> list[Problem]:
    problems, done = [], set()
    for one in outliers:
        if one.landmark in done:
            continue
        name = names[one.landmark]
        where = f"{case.image[0]}: landmark {name!r} lies {one.distance_mm:.3g} {unit} from where its neighbours and "
        where += f"the other cases put it (usual is below {one.limit_mm:.3g} {unit})"
        remedy = "check it"
        if one.exchanged_with is not None:
            done.add(one.exchanged_with)
            remedy = f"it and {names[one.exchanged_with]!r} fit if they change places, check both"
        problems.append(Problem("warning", f"{where}; {remedy}", case.name, name))
    return problems
