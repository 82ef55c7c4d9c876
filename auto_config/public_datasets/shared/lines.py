"""Benchmarks whose landmarks are the two ends of measured lines: names, properties, and the order of the ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from auto_config.bundle_scripts.points.landmarks import ABSENT, PRESENT, UNKNOWN, LandmarkSet
from auto_config.datasets.model.properties import Measure, Properties
from auto_config.public_datasets.shared.end_points import EndOrder, orient_ends

Line = np.ndarray | Literal["absent", "unknown"]
"""Both ends of a line, (2, 3) RAS mm, or why there are none."""


@dataclass(frozen=True)
class LineMeasure:
    """A measured line.

    Args:
        name: Its short name.
        description: What is measured.
        transverse: Whether its ends lie on the two sides of the body, and so change places in a mirror image.
    """

    name: str
    description: str
    transverse: bool = False

    @property
    def ends(self) -> tuple[str, str]:
        """Names of its two ends."""
        return f"{self.name}_1", f"{self.name}_2"


def line_names(measures: Sequence[LineMeasure]) -> tuple[str, ...]:
    """Names of all ends, measure by measure."""
    return tuple(end for measure in measures for end in measure.ends)


def line_landmarks(lines: Mapping[str, Line], measures: Sequence[LineMeasure]) -> LandmarkSet:
    """The landmarks of one case.

    Args:
        lines: Name of the measure to its line; a measure that is not in it is unknown.
        measures: All measures in their order.
    """
    points = np.full((2 * len(measures), 3), np.nan)
    status = np.full(2 * len(measures), UNKNOWN)
    for row, measure in enumerate(measures):
        line = lines.get(measure.name, "unknown")
        if isinstance(line, str):
            status[2 * row : 2 * row + 2] = ABSENT if line == "absent" else UNKNOWN
        else:
            points[2 * row : 2 * row + 2] = line
            status[2 * row : 2 * row + 2] = PRESENT
    return LandmarkSet(line_names(measures), points, status)


def ordered_lines(
    cases: Mapping[str, LandmarkSet], measures: Sequence[LineMeasure], notes: Sequence[str]
) -> tuple[dict[str, LandmarkSet], Properties]:
    """Order the ends of all measures by anatomy over the cohort, and declare what follows.

    Args:
        cases: Case to its landmarks, as `line_landmarks` gives them.
        measures: All measures.
        notes: What else is to be said.

    Returns:
        The cases with ordered ends, and the properties: pairs of the transverse measures, the ends that no axis tells
        apart as exchangeable, the measures, and how the ends were ordered.
    """
    oriented, orders = orient_ends(cases, [measure.ends for measure in measures])
    descriptions = {}
    for measure, order in zip(measures, orders, strict=True):
        for name, side in zip(measure.ends, order.sides, strict=True):
            descriptions[name] = f"{side} end of the {measure.description}"
    used: list[EndOrder] = [order for order in orders if order.lines]
    properties = Properties(
        pairs=tuple(measure.ends for measure in measures if measure.transverse),
        exchangeable=tuple(order.names for order in used if order.exchangeable),
        measures=tuple(Measure(measure.name, "distance", measure.ends) for measure in measures),
        descriptions=descriptions,
        notes=(
            *notes,
            "The files do not name the two ends of a line: they are ordered along the axis on which the lines of a "
            "measure run in this cohort.",
            *(order.note for order in used),
        ),
    )
    return oriented, properties
