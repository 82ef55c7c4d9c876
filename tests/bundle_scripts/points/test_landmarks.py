"""LandmarkSet: order, status, inline form, names and slugs."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auto_config.bundle_scripts.points.landmarks import (
    ABSENT,
    PRESENT,
    UNKNOWN,
    LandmarkFileError,
    LandmarkSet,
    name_problem,
    unique_slugs,
)

FEW = settings(max_examples=40, deadline=None, derandomize=True)
NAMES = st.text(min_size=1, max_size=12).filter(lambda name: name_problem(name) is None)
POINT = st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3)


@FEW
@given(st.dictionaries(NAMES, st.one_of(POINT, st.just("absent"), st.just("unknown")), max_size=8))
def test_inline_form_is_read_as_it_was_written(mapping):
    assert LandmarkSet.from_inline(mapping).to_inline() == mapping


def test_inline_values_mean_present_absent_and_unknown():
    found = LandmarkSet.from_inline({"a": [1, 2, 3], "b": "absent", "c": "unknown", "d": None})
    assert found.names == ("a", "b", "c", "d")
    assert found.status.tolist() == [PRESENT, ABSENT, UNKNOWN, UNKNOWN]
    assert found.points[0].tolist() == [1, 2, 3]
    assert np.isnan(found.points[1:]).all()
    assert found.present.tolist() == [True, False, False, False]


def test_two_coordinates_make_a_2d_set():
    assert LandmarkSet.from_inline({"a": [1.5, 2]}).spatial_dims == 2
    assert LandmarkSet.from_inline({"a": "absent"}, spatial_dims=2).points.shape == (1, 2)


@pytest.mark.parametrize(("missing", "status"), [("unknown", UNKNOWN), ("absent", ABSENT)])
def test_ordered_gives_exactly_the_wanted_names(missing, status):
    landmark_set = LandmarkSet.from_inline({"a": [1, 2, 3], "b": "absent", "c": [4, 5, 6]})
    found = landmark_set.ordered(["c", "new", "b"], missing)
    assert found.names == ("c", "new", "b")
    assert found.status.tolist() == [PRESENT, status, ABSENT]
    assert found.points[0].tolist() == [4, 5, 6]
    assert np.isnan(found.points[1]).all()


def test_ordered_refuses_another_word():
    with pytest.raises(ValueError, match="unknown' or 'absent"):
        LandmarkSet.from_inline({"a": [1, 2, 3]}).ordered(["a"], "gone")


@pytest.mark.parametrize(
    "value", [[1, 2], [1, 2, 3, 4], "gone", 5, [1, 2, "3"], [True, 2, 3], [1, 2, math.nan], [1, math.inf, 3], {}]
)
def test_a_wrong_inline_value_is_named(value):
    with pytest.raises(LandmarkFileError, match=r"here.json: landmark 'tip'"):
        LandmarkSet.from_inline({"ok": [0, 0, 0], "tip": value}, where="here.json")


@pytest.mark.parametrize("name", ["$x", "@y", "%z", "", "  ", " a", "a\nb", "a\x00"])
def test_names_that_cannot_be_used_are_refused(name):
    with pytest.raises(LandmarkFileError, match=r"name .*(rename the landmark|give the landmark a name)"):
        LandmarkSet.from_inline({name: [1, 2, 3]})


def test_hostile_but_usable_names_are_carried_through():
    names = ["a", "A", "a$b", "épine", "头", "x y", "#", *[f"n{number}" for number in range(193)]]
    landmark_set = LandmarkSet.from_inline({name: [1, 2, 3] for name in names})
    assert len(landmark_set) == 200
    assert LandmarkSet.from_inline(landmark_set.to_inline()) == landmark_set


def test_a_set_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="occurs more than once"):
        LandmarkSet(("a", "a"), np.zeros((2, 3)), np.ones(2))
    with pytest.raises(ValueError, match="not finite"):
        LandmarkSet(("a",), np.full((1, 3), np.nan), np.ones(1))
    with pytest.raises(ValueError, match="status must be"):
        LandmarkSet(("a",), np.zeros((1, 3)), np.array([2]))
    with pytest.raises(ValueError, match="shape"):
        LandmarkSet(("a",), np.zeros((2, 3)), np.ones(1))


def test_a_set_keeps_no_coordinates_of_landmarks_that_are_not_present_and_cannot_be_changed():
    points = np.ones((2, 3))
    landmark_set = LandmarkSet(("a", "b"), points, np.array([PRESENT, ABSENT]))
    points[0] = 7
    assert landmark_set.points[0].tolist() == [1, 1, 1]
    assert np.isnan(landmark_set.points[1]).all()
    with pytest.raises(ValueError, match="read-only"):
        landmark_set.points[0] = 0


@FEW
@given(st.lists(st.text(min_size=1, max_size=6), max_size=30))
def test_slugs_are_unique_lower_case_ascii(names):
    slugs = unique_slugs(names)
    assert len(set(slugs)) == len(names)
    assert all(slug.isascii() and slug == slug.lower() and slug.replace("_", "a").isalnum() for slug in slugs)


def test_slugs_of_names_that_differ_only_in_case_or_signs():
    assert unique_slugs(["a", "A", "Épine nasale", "头", "头部", "a_2"]) == [
        "a",
        "a_2",
        "epine_nasale",
        "landmark",
        "landmark_2",
        "a_2_2",
    ]
