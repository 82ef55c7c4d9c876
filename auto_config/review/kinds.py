"""The kinds of errors in labels: what each means, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """A kind of error.

    Args:
        title: In a heading.
        remedy: What to do, as an imperative.
        whole_case: Whether it is about all points of a case.
    """

    title: str
    remedy: str
    whole_case: bool = False


KINDS = {
    "shift": Kind("point is shifted", "look at both places and move the point to where it belongs"),
    "swap": Kind("neighbours are exchanged", "look whether the two points fit when they change names"),
    "left_right": Kind("left and right are exchanged", "give the points the names of the other side"),
    "order": Kind("points are in the wrong order", "compare the order of the points with that of another case"),
    "duplicate": Kind("two landmarks have the same point", "set the one anew that was put on the other"),
    "wrong_scan": Kind("points belong to another scan", "check which scan the file of points was made on", True),
    "forgotten": Kind("point is called absent, but seems visible", "set the point, or confirm that it is absent"),
    "mirrored": Kind("case is mirrored", "check the sign of the first coordinate, and the image itself", True),
    "unit": Kind("points are in another unit", "give the points in millimetres", True),
    "frame": Kind("points are in another frame", "check RAS and LPS, the origin and the order of the axes", True),
}
