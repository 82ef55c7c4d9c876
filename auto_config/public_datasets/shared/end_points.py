"""Which of the two unnamed ends of a measured line comes first.

A measure drawn as a line (Slicer's line markups, label maps with two voxels for each measure) has two ends without
names. Taken in the order of a file or of an array, they change places from case to case: a network that is asked for
"end 1" then learns the mean of two places. Here the order follows from anatomy: for each measure one axis of the
world, the one along which its lines run in the cohort, and the end with the lower coordinate comes first. The order
of the ends in the input plays no part.

The rule holds while the heads of a cohort point roughly the same way. Where lines stand across the axis in many cases
(fetuses in any pose), no axis tells the ends apart, and they should be declared exchangeable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from auto_config.bundle_scripts.points.landmarks import PRESENT, LandmarkSet

CLOSE_COSINE = 0.25
"""A line is close to a tie where the cosine of its angle with the axis is below this (75.5 degrees or more)."""

EXCHANGEABLE_SHARE = 0.1
"""The ends are declared exchangeable where more than this share of the lines is close to a tie. Lines of random
direction come to 0.25; a cohort turned by 20 degrees (standard deviation) practically never gets there."""

_SIDES = {
    3: (("left", "right"), ("posterior", "anterior"), ("inferior", "superior")),
    2: (("left", "right"), ("upper", "lower")),
}
"""What the lower and the higher coordinate of an axis is, in the world of 3D (RAS) and of 2D (x right, y down)."""


@dataclass(frozen=True)
class EndOrder:
    """How the ends of one measure were ordered.

    Args:
        names: Names of the first and the second end.
        axis: Axis of the world along which they are ordered.
        spatial_dims: Number of axes.
        lines: Number of lines, those with both ends.
        close: Cases whose line is close to a tie, in the order of the input.
    """

    names: tuple[str, str]
    axis: int
    spatial_dims: int
    lines: int
    close: tuple[str, ...]

    @property
    def exchangeable(self) -> bool:
        """Whether so many lines are close to a tie that the ends should be declared exchangeable."""
        return len(self.close) > EXCHANGEABLE_SHARE * self.lines

    @property
    def sides(self) -> tuple[str, str]:
        """On which side the first and the second end lie, such as ``("left", "right")``."""
        return _SIDES[self.spatial_dims][self.axis]

    @property
    def note(self) -> str:
        """A sentence for the notes of a data set."""
        first, second = self.names
        low, high = self.sides
        told = f"{first} is the {low} and {second} the {high} end of the line, in world axes; "
        angle = f"{np.degrees(np.arccos(CLOSE_COSINE)):.0f} degrees or more from that axis"
        if not self.close:
            return f"{told}none of the {self.lines} lines is {angle}."
        shown = ", ".join(self.close[:5]) + (", ..." if len(self.close) > 5 else "")
        verdict = "the ends are declared exchangeable" if self.exchangeable else "the others tell them apart"
        return f"{told}{len(self.close)} of the {self.lines} lines are {angle} ({shown}): {verdict}."


def order_ends(
    lines: Mapping[str, np.ndarray], names: tuple[str, str] = ("1", "2")
) -> tuple[dict[str, np.ndarray], EndOrder]:
    """Order the two ends of one measure in all cases.

    The axis is the one along which the lines run most: that with the highest mean of ``|difference| / length``, so a
    long line counts as much as a short one. Where both ends have the same coordinate the next axes decide.

    Args:
        lines: Case to its two ends, (2, D) world mm (3D: RAS), in any order.
        names: Names of the first and the second end, for the notes.

    Returns:
        Case to its two ends in their order, and how it came about. The same for any order of the ends in `lines`.

    Raises:
        ValueError: Ends that are not two points of 2 or 3 finite coordinates.
    """
    for case, line in lines.items():
        if np.shape(line) not in ((2, 2), (2, 3)) or not np.isfinite(line).all():
            raise ValueError(f"{case}: the ends of {names[0]!r} and {names[1]!r} must be two points, got {line!r}")
    if not lines:
        return {}, EndOrder(names, 0, 3, 0, ())
    ends = np.array([np.asarray(line, dtype=np.float64) for line in lines.values()])
    difference = ends[:, 1] - ends[:, 0]
    length = np.linalg.norm(difference, axis=1)
    cosine = np.abs(difference) / np.where(length > 0, length, 1.0)[:, None]
    axes = np.argsort(-cosine.mean(axis=0), kind="stable")
    # The first axis along which the ends differ at all.
    sign = np.sign(difference[:, axes])
    decisive = np.take_along_axis(sign, (sign != 0).argmax(axis=1)[:, None], axis=1)[:, 0]
    ordered = np.where((decisive < 0)[:, None, None], ends[:, ::-1], ends)
    close = tuple(case for case, value in zip(lines, cosine[:, axes[0]], strict=True) if value < CLOSE_COSINE)
    return dict(zip(lines, ordered, strict=True)), EndOrder(names, int(axes[0]), ends.shape[2], len(ends), close)


def orient_ends(
    cases: Mapping[str, LandmarkSet], measures: Sequence[tuple[str, str]]
) -> tuple[dict[str, LandmarkSet], list[EndOrder]]:
    """Order the ends of several measures in the landmarks of all cases.

    Args:
        cases: Case to its landmarks, world mm. A case where one of the two ends is not present stays as it is.
        measures: Names of the two ends of each measure.

    Returns:
        The cases with the points of the ends in their order, and an `EndOrder` for each measure.
    """
    points = {case: np.array(landmarks.points) for case, landmarks in cases.items()}
    orders = []
    for first, second in measures:
        lines, rows = {}, {}
        for case, landmarks in cases.items():
            if not {first, second} <= set(landmarks.names):
                continue
            pair = [landmarks.names.index(first), landmarks.names.index(second)]
            if (landmarks.status[pair] == PRESENT).all():
                rows[case] = pair
                lines[case] = landmarks.points[pair]
        ordered, order = order_ends(lines, (first, second))
        for case, ends in ordered.items():
            points[case][rows[case]] = ends
        orders.append(order)
    oriented = {case: LandmarkSet(landmarks.names, points[case], landmarks.status) for case, landmarks in cases.items()}
    return oriented, orders
