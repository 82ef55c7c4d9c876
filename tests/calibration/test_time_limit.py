"""Calibrations within a time: the parts that fit are made, never one that would end too late, and it is said."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auto_config.calibration import time_limit
from auto_config.calibration.time_limit import MOST_SECONDS_OF_CUTS, TimeLimit, limits_of, omitted_notes

QUIET = settings(derandomize=True, deadline=None, max_examples=80)
durations = st.lists(st.floats(0.1, 20.0), max_size=30)


class Clock:
    def __init__(self):
        self.now = 100.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    found = Clock()
    monkeypatch.setattr(time_limit, "time", found)
    return found


def worked(limit, clock, seconds, share=1.0):
    """The tasks, each of so many seconds, that were worked on."""
    made = []
    for number in limit.these(range(len(seconds)), share):
        clock.now += seconds[number]
        made.append(number)
    return made


@given(durations, st.floats(1.0, 200.0))
@QUIET
def test_tasks_that_are_no_longer_than_one_before_end_in_time(seconds, total):
    clock = Clock()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(time_limit, "time", clock)
        limit = TimeLimit(total)
        made = worked(limit, clock, seconds)
    assert made == list(range(len(made)))
    assert len(made) + limit.omitted == len(seconds)
    ends = [sum(seconds[: number + 1]) for number in made]
    longest = [max(seconds[:number], default=0.0) for number in made]
    # The last one may be longer than those before it; but for what it is longer by, it ends in time.
    assert all(
        end - max(0.0, seconds[n] - before) <= total + 1e-6 for n, end, before in zip(made, ends, longest, strict=True)
    )
    if limit.omitted:
        assert sum(seconds[: len(made)]) + max(seconds[: len(made)], default=0.0) >= total - 1e-6


def test_without_a_time_everything_is_made(clock):
    limit = TimeLimit()
    assert worked(limit, clock, [1e6] * 5) == [0, 1, 2, 3, 4]
    assert limit.omitted == 0


def test_no_time_no_task(clock):
    limit = TimeLimit(-3.0)
    assert worked(limit, clock, [1.0, 1.0]) == []
    assert limit.omitted == 2


def test_each_of_several_parts_has_its_share_of_what_is_left(clock):
    limit = TimeLimit(20.0)
    first = worked(limit, clock, [1.0] * 30, share=1 / 2)
    second = worked(limit, clock, [1.0] * 30)
    assert (len(first), len(second)) == (
        9,
        10,
    )  # the second before the end of a part is not begun, and left to the next
    assert limit.omitted == 60 - 19


def test_spoiled_cases_know_how_long_cuts_took_and_cuts_how_long_whole_cases(clock):
    cuts, spoiled = limits_of(100.0, longest=10.0)
    assert worked(cuts, clock, [1.0, 30.0, 1.0, 1.0, 1.0]) == [0, 1, 2, 3, 4]  # until 175; 34 s are gone
    clock.now = 171.0
    assert worked(spoiled, clock, [1.0]) == []  # 30 s would end at 201
    cuts, _ = limits_of(10.0, longest=10.0)
    assert worked(cuts, clock, [1.0]) == []


def test_cuts_have_three_quarters_and_spoiled_cases_what_is_left(clock):
    cuts, spoiled = limits_of(80.0)
    assert (cuts.until, spoiled.until) == (160.0, 180.0)
    assert cuts.brief
    assert spoiled.brief


def test_cuts_never_have_more_than_the_most(clock):
    cuts, spoiled = limits_of(None)
    assert (cuts.until, spoiled.until) == (100.0 + MOST_SECONDS_OF_CUTS, math.inf)
    assert not cuts.brief
    assert not spoiled.brief
    cuts, spoiled = limits_of(4000.0)
    assert (cuts.until, spoiled.until) == (100.0 + MOST_SECONDS_OF_CUTS, 4100.0)
    assert not cuts.brief


@pytest.mark.parametrize(
    ("cuts", "spoiled", "said"),
    [
        (0, 0, []),
        (3, 0, ["there was no time for 3 cut cases; calibrate once more without a time for these"]),
        (3, 1, ["there was no time for 3 cut cases and 1 spoiled case; calibrate once more without a time for these"]),
    ],
)
def test_what_did_not_fit_is_said(cuts, spoiled, said):
    limits = limits_of(1.0)
    limits[0].omitted, limits[1].omitted = cuts, spoiled
    assert omitted_notes(*limits) == said


@pytest.mark.parametrize("seconds", [None, 4000.0])
def test_where_cuts_end_at_the_most_no_other_time_would_help(seconds):
    cuts, spoiled = limits_of(seconds)
    cuts.omitted = 2
    assert omitted_notes(cuts, spoiled) == ["there was no time for 2 cut cases"]
