"""What is planned for the end of a time budget: whatever steps take, parts that keep their pace end within it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auto_config.bundle_scripts.training.run.end_of_budget import (
    CLOSING_SECONDS,
    WHOLE_SHARE,
    Measured,
    at_pace,
    calibration_seconds,
    enough,
    seconds_for_steps,
    shortage,
)
from auto_config.bundle_scripts.training.run.time_budget import steps_left
from auto_config.running.time_budget import PREDICTIONS_OF_A_CASE

exact = settings(max_examples=60, deadline=None, derandomize=True)
some_time = st.floats(0.0, 200.0)


def test_a_part_follows_the_pace_of_the_steps():
    assert at_pace(None, 1.0, 9.0) == 0.0
    assert at_pace(Measured(10.0), None, None) == 10.0
    assert at_pace(Measured(10.0), 1.0, 1.5) == pytest.approx(15.0)  # measured before the first steps
    assert at_pace(Measured(10.0, 2.0), 1.0, 3.0) == pytest.approx(15.0)
    assert at_pace(Measured(10.0, 2.0), 1.0, 1.0) == 10.0  # never quicker than it was
    assert at_pace(Measured(10.0, 1.0), 1.0, 99.0) == 30.0


def test_a_calibration_starts_a_process_and_predicts_each_case():
    # 9 cases of 2 s: 18 s whole, and 3.5 times as many others, twice as long, which need no margin of a fifth.
    assert calibration_seconds(8.0, 2.0, 9, 4.5, 1000.0) == pytest.approx(8.0 + 18.0 + 126.0 / 1.2)
    assert calibration_seconds(8.0, 2.0, 9, 9.0, 10000.0) == pytest.approx(8.0 + 36.0 + 252.0 / 1.2)  # of two trainings
    assert calibration_seconds(8.0, 2.0, 9, 0, 1000.0) == 0.0
    assert calibration_seconds(8.0, 2.0, 0, 4.5, 1000.0) == 0.0


def test_each_case_is_predicted_whole_once():
    assert pytest.approx(1.0) == WHOLE_SHARE * PREDICTIONS_OF_A_CASE


def test_cuts_and_spoiled_cases_have_their_share_of_the_budget_and_no_more():
    assert calibration_seconds(8.0, 2.0, 9, 4.5, 400.0) == pytest.approx(8.0 + 18.0 + 60.0 / 1.2)


@exact
@given(
    st.floats(60.0, 2000.0),
    st.lists(st.floats(0.05, 5.0), min_size=1, max_size=400),
    some_time,
    some_time,
    st.floats(0.0, 100.0),
)
def test_the_end_is_within_the_budget_when_validation_and_calibration_keep_their_pace(
    total, durations, validation, calibration, before
):
    """Steps of any durations: the plan looks at the last one, and what follows the last step still fits."""
    now, longest = before, max(durations)
    for duration in durations:
        now += duration
        if steps_left(seconds_for_steps(total - now, validation, calibration), duration) == 0:
            break
    fits = before + durations[0] + CLOSING_SECONDS + 1.1 * validation + 1.2 * calibration <= total
    if fits:
        # A step that is started may be longer than the one before it.
        assert now + validation + calibration <= total + longest


@exact
@given(st.floats(1.0, 4000.0), st.floats(0.0, 4000.0))
def test_too_short_a_budget_is_said_with_one_that_is_enough(total, fixed):
    said = shortage(total, fixed)
    assert (said is None) is (fixed <= 0.9 * total)
    if said is not None:
        wanted = said.partition("give at least ")[2].partition(" for each fold")[0]
        seconds = float(wanted[:-1]) * {"s": 1, "m": 60}[wanted[-1]]
        assert 2 * fixed <= seconds <= max(2 * fixed + 60, 2.7 * fixed)
        assert shortage(seconds, fixed) is None


def test_where_a_calibration_takes_the_time_it_is_said_how_to_leave_it_out():
    assert "--calibrate" not in shortage(60.0, 200.0)
    assert shortage(60.0, 200.0, 150.0) == shortage(60.0, 200.0) + (
        " (--calibrate false leaves out the calibration, 150 s of it)"
    )


def test_what_is_enough_is_round():
    assert [enough(seconds) for seconds in (0.1, 44.0, 46.0, 200.0, 400.0)] == ["10s", "90s", "2m", "7m", "15m"]
