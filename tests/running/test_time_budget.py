"""Amounts of time as people write them."""

import pytest

from auto_config.errors import UserError
from auto_config.running.time_budget import parse_time_budget, share_of_fold, spoken


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("15m", 900), ("1h", 3600), ("1h30m", 5400), (" 1.5 H ", 5400), ("900", 900), (900, 900), (0.5, 0.5)],
)
def test_time_budget(text, seconds):
    assert parse_time_budget(text) == seconds


@pytest.mark.parametrize("text", ["", "15 minutes", "15x", "m", 0, -5, "0s", "nan", float("inf"), True, None])
def test_wrong_time_budget(text):
    with pytest.raises(UserError, match="give a time above 0: 90s, 15m"):
        parse_time_budget(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0 s"), (45.4, "45 s"), (59.6, "1 min 00 s"), (893, "14 min 53 s"), (3720, "1 h 02 min 00 s")],
)
def test_a_time_to_the_second(seconds, text):
    assert spoken(seconds) == text


@pytest.mark.parametrize("folds", [1, 2, 5])
def test_folds_share_the_time_and_what_their_calibration_needs_stays(folds):
    """Each fold ends its own calibration's time before its share ends; the start of that process comes once."""
    total, of_cases, start_up, now, kept = 900.0, 12.0, 8.0, 0.0, 0.0
    shares = []
    for number in range(folds):
        shares.append(share_of_fold(total - now, kept, folds - number))
        now += shares[-1] - of_cases - start_up
        kept += of_cases
    assert now + start_up + kept == pytest.approx(total)
    assert min(shares) == pytest.approx(total / folds)
    assert share_of_fold(-5.0, 0.0, 2) == 1.0
