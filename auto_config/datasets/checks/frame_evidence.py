"""Why the points of a case do not fit its image: explanations, weighed by numbers. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from auto_config.datasets.checks.frame_readings import Reading

SPREAD_TOLERANCE = 1.6
"""Points are spread as those of other cases within this factor: anatomy varies too."""

_FEWEST_GREYS = 3
_INFORMATIVE = 0.6  # of the mean difference of a random voxel
_GREY_FACTOR, _GREY_SLACK = 1.5, 0.03
_CLEARLY_WORSE = 1.3
_BY_SPREAD = ("unit", "swap", "index", "spacing")
_NAMED_BY_BOX = ("unit", "swap", "index", "spacing", "origin", "qform")


@dataclass(frozen=True)
class Evidence:
    """The numbers of one reading.

    Args:
        reading: The reading.
        inside: Number of points inside the image.
        present: Number of points.
        spread: Their spread, as a multiple of that of the same landmarks in the other cases; None without others.
        axis_deviation: The largest absolute log of that multiple along one axis.
        grey: Mean difference of the grey values' ranks at the points inside from the other cases' median; None unknown.
    """

    reading: Reading
    inside: int
    present: int
    spread: float | None = None
    axis_deviation: float | None = None
    grey: float | None = None

    @property
    def fits(self) -> bool:
        """Whether no point is left outside."""
        return self.inside == self.present


@dataclass(frozen=True)
class Greys:
    """How far grey values at the points can decide.

    Args:
        usual: The largest mean difference among the other cases, each from the median of the rest; None unknown.
        chance: The mean difference that random voxels of this image have.
        looked_at: False where the voxels were not read.
    """

    usual: float | None
    chance: float
    looked_at: bool = True

    @property
    def decide(self) -> bool:
        """Whether landmarks lie on grey values of their own, so that a random place is told from the right one."""
        return self.usual is not None and self.usual < _INFORMATIVE * self.chance

    def agree(self, grey: float | None) -> bool:
        """Whether grey values are like those of the other cases."""
        if grey is None or self.usual is None or not self.decide:
            return False
        limit = max(_GREY_FACTOR * self.usual, self.usual + _GREY_SLACK)
        return grey <= min(limit, _INFORMATIVE * self.chance)


@dataclass(frozen=True)
class Verdict:
    """The most likely explanation.

    Args:
        kind: ``"header"`` (lost), ``"frame"`` (another one, known), ``"cut"`` (field of view), ``"unknown"`` (some
            points outside, for no reason that shows), ``"odd"`` (all inside, on other grey values than in other cases),
            ``"none"`` (most points outside, no frame fits).
        text: What is likely and its numbers, after the sentence that names the point.
    """

    kind: Literal["header", "frame", "cut", "unknown", "odd", "none"]
    text: str


def weigh(found: Sequence[Evidence], greys: Greys, lost: str | None) -> Verdict:
    """Choose the explanation that the numbers support; none that leaves points outside.

    Args:
        found: The evidence for each reading, that of the points as given first.
        greys: How far grey values can decide.
        lost: What in the header is unlike the other cases', as a header that was lost; None if nothing.

    Returns:
        The verdict. Boxes alone never suffice: a sign needs the grey values, a unit the spread (or, where there is no
        other spread, the grey values), and neither may speak against it.
    """
    given = found[0]
    is_cut = 2 * given.inside > given.present and (given.spread is None or _within(given.spread))
    if lost is not None and not (is_cut and greys.agree(given.grey)) and (header := _lost_header(found, greys, lost)):
        return header
    if is_cut and greys.agree(given.grey):
        return _as_given(given, greys)
    proven = sorted((one for one in found[1:] if _proven(one, given, greys)), key=_rank)
    if proven:
        best = proven[0]
        if not any(_equally_good(one, best) for one in _different(best, proven[1:])):
            return Verdict("frame", f"they are {best.reading.claim} ({numbers(best, given, greys)})")
    contradicts = greys.decide and given.grey is not None and not greys.agree(given.grey)
    if given.fits or (2 * given.inside > given.present and not contradicts):
        return _as_given(given, greys)
    text = f"these points fit no known frame ({numbers(given, None, greys)}"
    if unproven := _unproven(found):
        text += f"; inside too if they are {' or '.join(unproven)}, which alone proves nothing"
    text += "); compare image and points in a viewer and correct the one that is wrong"
    if given.inside and given.spread is not None and _within(given.spread) and not contradicts:
        # Nothing but the many points outside speaks against a narrow field of view: who says it is one is believed.
        return Verdict("unknown", f"{text}, or use --outside absent if the field of view is cut")
    return Verdict("none", text)


def _as_given(given: Evidence, greys: Greys) -> Verdict:
    """What is said where no other reading is better."""
    if given.fits:
        text = "grey values at its points are unlike those of the other cases"
        return Verdict("odd", f"{text} ({numbers(given, None, greys)}); check that points and image belong together")
    if given.spread is not None and _within(given.spread):
        text = "the field of view seems to be cut there: use --outside absent, or correct the point"
        return Verdict("cut", f"{text} ({numbers(given, None, greys)})")
    return Verdict("unknown", "correct the point, or use --outside absent if the field of view is cut")


def _unproven(found: Sequence[Evidence]) -> list[str]:
    """Readings that bring all points inside, without those that turn or mirror them: for these a box says nothing."""
    return [
        re.split("[;:,]", one.reading.claim)[0]
        for one in found[1:]
        if one.fits and one.reading.kind in _NAMED_BY_BOX and not one.reading.key.endswith("lps")
    ]


def _lost_header(found: Sequence[Evidence], greys: Greys, lost: str) -> Verdict | None:
    given = found[0]
    if given.spread is not None and not _within(given.spread):
        return None
    text = f"the header is likely lost, the points are not at fault: {lost}"
    remedy = "save the image again with the origin, spacing and axes of the scan"
    fitting = [one for one in found if one.reading.kind == "header" and one.fits]
    agreeing = [one for one in fitting if not greys.decide or greys.agree(one.grey)]
    if agreeing:
        best = min(agreeing, key=_rank)
        return Verdict("header", f"{text}; with their place, {numbers(best, given, greys)}; {remedy}")
    other = [one for one in found[1:] if one.reading.kind != "header" and _proven(one, given, greys)]
    if other:
        return None
    return Verdict("header", f"{text} ({numbers(given, None, greys)}); {remedy}")


def _proven(one: Evidence, given: Evidence, greys: Greys) -> bool:
    if not one.fits or one.reading.kind == "header":
        return False
    if one.spread is not None and not _within(one.spread):
        return False
    if greys.decide:
        is_enough = one.present >= _FEWEST_GREYS or _by_spread(one, given)
        return greys.agree(one.grey) and is_enough
    return _by_spread(one, given)


def _by_spread(one: Evidence, given: Evidence) -> bool:
    """Whether the spread of the points alone tells this reading from the given one."""
    if one.reading.kind not in _BY_SPREAD or one.spread is None or given.spread is None or one.present < 2:
        return False
    if one.reading.key.endswith("lps"):
        return False  # the spread tells the unit, not the sign
    if one.reading.kind == "unit":
        return _within(one.spread) and not _within(given.spread)
    deviations = one.axis_deviation, given.axis_deviation
    limit = float(np.log(SPREAD_TOLERANCE))
    return deviations[0] is not None and deviations[1] is not None and deviations[0] <= limit < deviations[1]


def _within(ratio: float) -> bool:
    return 1 / SPREAD_TOLERANCE <= ratio <= SPREAD_TOLERANCE


def _rank(one: Evidence) -> tuple[float, float]:
    deviation = one.axis_deviation if one.axis_deviation is not None else 0.0
    return (one.grey if one.grey is not None else 0.0, deviation)


def _different(best: Evidence, others: Sequence[Evidence]) -> list[Evidence]:
    """Readings that place the points elsewhere than the best one."""
    size = float(np.nanmax(np.ptp(best.reading.points[np.isfinite(best.reading.points[:, 0])], axis=0), initial=0.0))
    return [
        one
        for one in others
        if one.reading.points.shape != best.reading.points.shape
        or float(np.nanmax(np.abs(one.reading.points - best.reading.points))) > 0.05 * size
    ]


def _equally_good(one: Evidence, best: Evidence) -> bool:
    if one.grey is not None and best.grey is not None:
        return one.grey <= max(_CLEARLY_WORSE * best.grey, best.grey + 0.01)
    if one.axis_deviation is not None and best.axis_deviation is not None:
        return one.axis_deviation <= _CLEARLY_WORSE * best.axis_deviation + 0.02
    return True


def numbers(one: Evidence, given: Evidence | None, greys: Greys) -> str:
    """The evidence in words: points inside, their spread, their grey values."""
    text = f"{one.inside} of {one.present} inside"
    if given is not None:
        text = f"then {text}, as given {given.inside}"
    if one.spread is not None:
        text += f", spread {one.spread:.3g} times that of the other cases"
        if given is not None and given.spread is not None and abs(np.log(given.spread / one.spread)) > 0.1:
            text += f", as given {given.spread:.3g} times"
    if not greys.looked_at:
        return text + ", grey values were not looked at (--headers_only)"
    if greys.usual is None:
        return text + ", too few other cases to compare grey values with"
    if not greys.decide:
        return text + ", grey values cannot decide"
    if one.grey is not None:
        text += f", grey values differ by {100 * one.grey:.0f} % of the image's range from the other cases'"
        if given is not None and given.grey is not None:
            text += f", as given by {100 * given.grey:.0f} %"
        text += f" (the others by at most {100 * greys.usual:.0f} %, chance {100 * greys.chance:.0f} %)"
    return text
