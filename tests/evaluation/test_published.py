"""Published figures beside one's own, and what a prediction cost."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from auto_config.errors import UserError
from auto_config.evaluation.published.rows import THRESHOLDS, published, published_rows, published_table
from auto_config.evaluation.terminal import cost_lines
from auto_config.prediction.cost import cost
from auto_config.public_datasets.converting import BENCHMARKS

NUMBERS = {"mre_mm": {"mean": 1.2345}, "sdr": {"2.0": 80.04, "3.0": 95.0}}


def printed(rows, numbers=NUMBERS):
    stream = io.StringIO()
    Console(file=stream, width=500).print(published_table(rows, numbers))
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in stream.getvalue().splitlines() if "│" in line]


def test_every_row_is_whole_and_of_a_data_set_that_can_be_converted():
    assert {row.data for row in published()} <= set(BENCHMARKS)
    assert len({(row.data, row.split, row.method) for row in published()}) == len(published())
    for row in published():
        assert 0.5 < row.mean_mm < 70
        assert row.source
        assert set(row.sdr_percent) <= set(THRESHOLDS)
        rates = [row.sdr_percent[threshold] for threshold in THRESHOLDS if threshold in row.sdr_percent]
        assert rates == sorted(rates)
        assert all(0 <= rate <= 100 for rate in rates)


def test_the_anchors_of_isbi_2015():
    found = {(row.split, row.method): row.mean_mm for row in published_rows("isbi2015")}
    assert found["official Test1, 150 cases", "landmarker one-hot, 5 networks"] == 1.396
    assert found["official Test2, 100 cases", "landmarker one-hot, 5 networks"] == 1.422
    assert found["official Test1 and Test2, 250 cases", "Noothout global to local"] == 1.35


def test_own_row_first_then_by_split_and_error():
    rows = published_rows("mml")
    lines = [line for line in printed(rows) if line[0]]
    assert lines[0][:4] == ["these predictions", "1.23", "80.0 %", "-"]
    means = [float(line[1]) for line in lines[1:] if line[1]]
    first = [row for row in rows if row.split == rows[0].split]
    assert means[: len(first)] == sorted(row.mean_mm for row in first)


def test_unknown_data_set_names_the_known_ones():
    with pytest.raises(UserError, match=r"'skulls'.*isbi2015"):
        published_rows("skulls")


def test_a_row_without_rates_has_dashes():
    row = replace(published_rows("isbi2015")[0], sdr_percent={})
    assert printed([row])[-1][2:6] == ["-"] * 4


def test_cost_of_a_run_and_of_one_from_before_it_was_counted():
    numbers = cost({"a": 1.0, "b": 3.0, "c": 2.0}, {"process": 900.4, "gpu": None})
    assert numbers == {"seconds_median": 2.0, "seconds_max": 3.0, "peak_memory_mb": 900.4, "peak_gpu_memory_mb": None}
    assert cost_lines(numbers) == ["Prediction: 2 s a case (median), largest memory of the process 900 MB."]
    assert cost({"a": 1.0}, {})["peak_memory_mb"] is None
    assert cost_lines(cost({"a": 1.0}, {})) == ["Prediction: 1 s a case (median)."]
    assert cost_lines(None) == []


@pytest.mark.parametrize("wrong", ["fast", None, float("nan"), True])
def test_numbers_that_are_none_are_not_counted(wrong):
    assert cost({"a": wrong}, {"process": wrong}) == dict.fromkeys(
        ("seconds_median", "seconds_max", "peak_memory_mb", "peak_gpu_memory_mb")
    )
    assert cost_lines(cost({"a": wrong}, {})) == []
    assert json.dumps(cost({"a": wrong, "b": np.float64(1)}, {}))
