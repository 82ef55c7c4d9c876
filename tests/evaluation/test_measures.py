"""Distances, angles and ratios, and how far two sets of them agree."""

import numpy as np
import pytest

from auto_config.bundle_scripts.points.landmarks import LandmarkSet
from auto_config.datasets.model.dataset import Case
from auto_config.datasets.model.properties import Measure
from auto_config.evaluation.measures import agreement, measured, unit_of
from auto_config.evaluation.raters import rater_errors

NAMES = ["a", "b", "c", "d"]
POINTS = np.array([[[0.0, 0, 0], [3, 4, 0], [3, 4, 2], [0, 0, 10]], [[0, 0, 0], [np.nan] * 3, [1, 0, 0], [0, 2, 0]]])


@pytest.mark.parametrize(
    ("measure", "first", "second"),
    [
        (Measure("m", "distance", ("a", "b")), 5.0, np.nan),
        (Measure("m", "distance", ("a", "c")), 29**0.5, 1.0),
        (Measure("m", "ratio", ("a", "b", "b", "c")), 2.5, np.nan),
        (Measure("m", "angle", ("a", "b", "c")), 90.0, np.nan),
        (Measure("m", "angle", ("c", "a", "d")), np.degrees(np.arccos(2 / 29**0.5)), 90.0),
        # The line a-d is parallel to b-c, whichever way it is drawn.
        (Measure("m", "angle", ("a", "d", "b", "c")), 0.0, np.nan),
        (Measure("m", "angle", ("d", "a", "b", "c")), 0.0, np.nan),
        (Measure("m", "ratio", ("a", "b", "c", "c")), np.nan, np.nan),
    ],
)
def test_measures_by_hand(measure, first, second):
    np.testing.assert_allclose(measured(POINTS, NAMES, measure), [first, second], atol=1e-6)


def test_units():
    kinds = {"distance": ("a", "b"), "angle": ("a", "b", "c"), "ratio": ("a", "b", "c", "d")}
    assert [unit_of(Measure("m", kind, names), "px") for kind, names in kinds.items()] == ["px", "°", ""]


def test_agreement_by_hand():
    found = agreement(np.array([11.0, 9.0, 14.0, np.nan]), np.array([10.0, 10.0, 12.0, 5.0]))
    assert found["cases"] == 3
    assert found["bias"] == pytest.approx(2 / 3)
    assert found["mean_absolute_error"] == pytest.approx(4 / 3)
    deviation = np.std([1, -1, 2], ddof=1)
    assert found["limits"] == pytest.approx([2 / 3 - 1.96 * deviation, 2 / 3 + 1.96 * deviation])
    assert agreement(np.array([1.0]), np.array([2.0]))["limits"] is None
    assert agreement(np.array([np.nan]), np.array([2.0]))["cases"] == 0


def test_raters_are_compared_in_pairs(tmp_path):
    def rater(*points):
        return LandmarkSet.from_inline(dict(zip(NAMES, points, strict=False)), NAMES, spatial_dims=3)

    raters = {"r1": rater([0, 0, 0], [1, 0, 0]), "r2": rater([3, 0, 0], [1, 0, 0]), "r3": rater([0, 4, 0], "absent")}
    cases = [Case("x", (tmp_path,), None, raters=raters), Case("y", (tmp_path,), None)]
    found = rater_errors(cases, NAMES)
    np.testing.assert_allclose(found[0], [(3 + 4 + 5) / 3, 0, np.nan, np.nan])
    assert np.isnan(found[1]).all()


def test_raters_may_call_exchangeable_ends_by_each_other_s_names(tmp_path):
    ends = LandmarkSet.from_inline({"a": [0, 0, 0], "b": [9, 0, 0]}, NAMES, spatial_dims=3)
    turned = LandmarkSet.from_inline({"a": [9, 0, 1], "b": [0, 0, 1]}, NAMES, spatial_dims=3)
    cases = [Case("x", (tmp_path,), None, raters={"r1": ends, "r2": turned})]
    np.testing.assert_allclose(rater_errors(cases, NAMES, [("a", "b")])[0, :2], 1.0)
    assert rater_errors(cases, NAMES)[0, :2].min() > 9
