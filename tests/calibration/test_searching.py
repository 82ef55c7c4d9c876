"""Calibrations look at their own cases as they lie, and know how long a search may take."""

from types import SimpleNamespace

import pytest

from auto_config.bundle.opened import OpenBundle
from auto_config.bundle_scripts.inference.poses import PoseSearch
from auto_config.calibration.searching import MOST_LOOKS, as_they_lie, looks_of
from auto_config.calibration.time_limit import Pace, TimeLimit


def opened(**inferer):
    parts = dict.fromkeys(OpenBundle.__dataclass_fields__)
    return OpenBundle(**{**parts, "inferer": SimpleNamespace(heatmaps=None, **inferer)})


def test_an_upright_bundle_does_not_search_and_a_free_one_does():
    upright, free = opened(pose=PoseSearch("upright")), opened(pose=PoseSearch("free"))
    still = as_they_lie(upright)
    assert still.inferer.pose is None and upright.inferer.pose is not None
    assert as_they_lie(free) is free
    earlier, quiet = opened(), opened(pose=PoseSearch("upright", search=False))
    assert as_they_lie(earlier) is earlier and as_they_lie(quiet) is quiet


@pytest.mark.parametrize(
    ("inferer", "looks"),
    [
        ({"pose": PoseSearch("upright")}, MOST_LOOKS),
        ({"pose": PoseSearch("upright"), "coarse_decoder": None}, 1),
        ({"pose": PoseSearch("upright", search=False)}, 1),
        ({"pose": None}, 1),
        ({}, 1),
    ],
)
def test_one_stage_may_look_as_often_as_there_are_quarter_turns(inferer, looks):
    assert looks_of(opened(**inferer)) == looks


def test_what_may_take_longer_does_not_begin_without_the_time_for_it():
    short = TimeLimit(10.0, pace=Pace(1.0))
    assert not list(short.these([1, 2], first=MOST_LOOKS)) and short.omitted == 2
    # Once one was measured, what it took counts, for all folds.
    long = TimeLimit(60.0, pace=Pace(1.0))
    assert list(long.these([1, 2], 0.5, first=MOST_LOOKS)) == [1, 2]
    assert list(long.these([3], first=MOST_LOOKS * 100)) == [3]
    assert long.pace.longest == 1.0 and long.omitted == 0
