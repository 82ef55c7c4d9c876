"""Amounts of time as people write them."""

import pytest

from auto_config.errors import UserError
from auto_config.running.time_budget import parse_time_budget


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
