"""What speaks against a look at the expected places alone, rule by rule, and where the places lie."""

import numpy as np
import pytest

from auto_config.bundle_scripts.inference.expected.cover import Boxes
from auto_config.bundle_scripts.inference.expected.doubts import EDGE, ELSEWHERE, FAINT, Seen, doubt
from auto_config.bundle_scripts.inference.expected.places import CORE, ROOM_VOXELS, WHOLE, ExpectedPlaces

MIDDLE = np.array([[20, 20], [40, 20], [20, 60], [40, 60]])
SIZE = (64, 80)
BOXES = Boxes(MIDDLE - 6, MIDDLE + 6, MIDDLE - 3, MIDDLE + 3)
NEVER_ABSENT = np.zeros(4, dtype=bool)


def seen(highest=(5.0, 5.0, 5.0, 5.0), peak=MIDDLE, rival=(-9.0, -9.0, -9.0, -9.0)):
    return Seen(np.asarray(peak), np.asarray(highest, dtype=float), np.asarray(rival, dtype=float))


def moved(mark, *voxel):
    points = MIDDLE.copy()
    points[mark] = voxel
    return points


def test_nothing_speaks_against_clear_peaks_within_their_boxes():
    assert doubt(BOXES, SIZE, NEVER_ABSENT, seen()) is None
    assert doubt(BOXES, SIZE, NEVER_ABSENT, seen(peak=moved(0, 25, 15))) is None  # beside the edge


def test_a_landmark_that_each_training_case_has_must_be_seen():
    assert doubt(BOXES, SIZE, NEVER_ABSENT, seen((5, 5, 5, 0))) == FAINT
    assert doubt(BOXES, SIZE, np.array([False, False, False, True]), seen((5, 5, 5, 0))) is None


def test_half_of_the_landmarks_must_be_seen_even_where_all_may_be_missing():
    may_be_absent = ~NEVER_ABSENT
    assert doubt(BOXES, SIZE, may_be_absent, seen((5, 5, -1, -1))) is None
    assert doubt(BOXES, SIZE, may_be_absent, seen((5, -1, -1, -1))) == FAINT


@pytest.mark.parametrize("off", [(-16, 0), (22, 0), (0, -18), (0, 18)])
def test_a_landmark_whose_box_reaches_out_of_the_image_may_be_missing(off):
    mark = 0 if min(off) < 0 else 3
    boxes = Boxes(*(corner + np.eye(4, dtype=int)[mark][:, None] * off for corner in vars(BOXES).values()))
    unseen = seen(np.where(np.arange(4) == mark, -1.0, 5.0))
    assert doubt(boxes, SIZE, NEVER_ABSENT, unseen) is None
    assert doubt(boxes, (400, 400), NEVER_ABSENT, unseen) == (None if min(off) < 0 else FAINT)


@pytest.mark.parametrize(("axis", "side"), [(0, -6), (0, 6), (1, -6), (1, 6)])
def test_a_peak_at_the_edge_of_its_box_may_be_the_slope_of_a_higher_one(axis, side):
    peak = MIDDLE.copy()
    peak[2, axis] += side
    assert doubt(BOXES, SIZE, NEVER_ABSENT, seen(peak=peak)) == EDGE
    # What is not seen is nowhere, so neither at an edge.
    absent = np.array([False, False, True, False])
    assert doubt(BOXES, SIZE, absent, seen((5, 5, -1, 5), peak)) is None


def test_the_edge_of_the_image_is_no_edge_of_a_box():
    boxes = Boxes(*(np.clip(corner - [20, 0], 0, None) for corner in vars(BOXES).values()))
    assert doubt(boxes, SIZE, NEVER_ABSENT, seen(peak=boxes.core_low * [0, 1] + [0, 3])) is None


def test_a_clearer_place_elsewhere():
    assert doubt(BOXES, SIZE, NEVER_ABSENT, seen(rival=(4.9, -9, -9, -9))) is None
    assert doubt(BOXES, SIZE, NEVER_ABSENT, seen(rival=(5.1, -9, -9, -9))) == ELSEWHERE
    assert doubt(BOXES, SIZE, NEVER_ABSENT, seen(rival=(np.nan, -9, -9, -9))) == ELSEWHERE
    absent = np.array([True, False, False, False])
    assert doubt(BOXES, SIZE, absent, seen((-3, 5, 5, 5), rival=(0.1, -9, -9, -9))) == ELSEWHERE
    assert doubt(BOXES, SIZE, absent, seen((-3, 5, 5, 5), rival=(-0.1, -9, -9, -9))) is None


def test_boxes_are_spreads_in_voxels_of_the_grid_and_some_room():
    places = ExpectedPlaces(
        mean_mm=[[10.0, -6.0]], spread_mm=[[4.0, 3.0]], extent_mm=[[50.5, 120.0]] * 2, absent=[], spacing=[0.5, 1.5]
    )
    boxes = places.boxes([101, 81])  # the middle is voxel (50, 40)
    whole, core = (
        [round(share * mm / step) + ROOM_VOXELS for mm, step in ((4, 0.5), (3, 1.5))] for share in (WHOLE, CORE)
    )
    np.testing.assert_array_equal(boxes.low, [[70 - whole[0], 36 - whole[1]]])
    np.testing.assert_array_equal(boxes.high, [[70 + whole[0], 36 + whole[1]]])
    np.testing.assert_array_equal(boxes.core_low, [[70 - core[0], 36 - core[1]]])
    np.testing.assert_array_equal(boxes.core_high, [[70 + core[0], 36 + core[1]]])
