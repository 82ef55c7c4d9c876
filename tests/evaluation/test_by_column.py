"""`evaluate --by`: a row of errors for each value of a column; and which cases `create --test_groups` holds back."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_evaluation import PREDICTED, TRUTH, truth, write_predictions

from auto_config.commands.create import create
from auto_config.commands.evaluate import evaluate
from auto_config.datasets import Case, Dataset
from auto_config.datasets.assembly.groups import cases_of_groups
from auto_config.errors import UserError

__all__ = ["truth"]


@pytest.fixture
def placed(truth, tmp_path):
    """Truth and predictions of three cases at two sites; of the last case nothing is said."""
    (truth / "cases.csv").write_text("case,group,Scanner\none,site b,3\ntwo,site a,1.5\nthree,,\n")
    return truth, write_predictions(tmp_path / "out", tmp_path, {**PREDICTED, "three": TRUTH["three"]})


def test_each_value_has_the_mean_error_of_its_cases(placed, capsys):
    source, folder = placed
    assert evaluate(folder, source, by="group") == 0
    by = json.loads((folder / "metrics.json").read_text())["by"]
    assert by["column"] == "group"
    assert list(by["values"]) == ["site a", "site b", "(none)"]
    means = [row["mre_mm"]["mean"] for row in by["values"].values()]
    np.testing.assert_allclose(means, [3, 7 / 3, 0])
    assert [row["cases"] for row in by["values"].values()] == [1, 1, 1]
    np.testing.assert_allclose(by["values"]["site b"]["sdr"]["2"], 200 / 3)
    with (folder / "by_group.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["group"] for row in rows] == ["site a", "site b", "(none)"]
    assert float(rows[0]["mean_mm"]) == 3
    said = capsys.readouterr().out
    assert "by group" in said and "site b" in said
    assert "<h2>By group</h2>" in (folder / "report.html").read_text()
    # An evaluation without it leaves no table of another.
    assert evaluate(folder, source) == 0
    assert not (folder / "by_group.csv").exists()


def test_further_columns_count_too_and_numbers_are_in_order(placed):
    source, folder = placed
    evaluate(folder, source, by="scanner")
    assert list(json.loads((folder / "metrics.json").read_text())["by"]["values"]) == ["1.5", "3", "(none)"]
    with pytest.raises(UserError, match=r"--by fold: .* says it of no case; it has group, scanner, split"):
        evaluate(folder, source, by="fold")


def test_cases_of_groups():
    cases = tuple(
        Case(name, (), None, group=group) for name, group in (("a", "x"), ("b", "y"), ("c", "x"), ("d", None))
    )
    dataset = Dataset(Path("scans"), "markups", (), cases, 3)
    assert cases_of_groups(dataset, ["x"]) == ["a", "c"]
    assert cases_of_groups(dataset, ["y", "x"]) == ["a", "b", "c"]
    with pytest.raises(UserError, match=r"has no group 'z', it has x, y; groups are declared in cases\.csv"):
        cases_of_groups(dataset, ["z"])
    with pytest.raises(UserError, match="it has none"):
        cases_of_groups(replace(dataset, cases=cases[3:]), ["x"])


def test_a_site_is_left_out(tmp_path):
    from blobs import write_blobs

    write_blobs(tmp_path / "heads")
    cases = sorted(path.name.partition(".")[0] for path in (tmp_path / "heads/images").iterdir())
    rows = [f"{case},{'far' if number % 3 == 0 else f'near {number}'}" for number, case in enumerate(cases)]
    (tmp_path / "heads/cases.csv").write_text("\n".join(["case,group", *rows]) + "\n")
    create(tmp_path / "heads", tmp_path / "bundle", network="tiny", workers=1, test_groups=["far"], few_labels=False)
    listed = json.loads((tmp_path / "bundle/data/datalist.json").read_text())
    assert {item["case"] for item in listed["test"]} == set(cases[::3])
    assert {item["case"] for item in listed["training"]} == set(cases) - set(cases[::3])
    with pytest.raises(UserError, match="--test and --test_groups both"):
        create(tmp_path / "heads", tmp_path / "other", test=tmp_path / "list.txt", test_groups=["far"])
