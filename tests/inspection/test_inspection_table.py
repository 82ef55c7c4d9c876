"""The table of landmarks that `inspect` prints, its folded page, and the names in its pictures."""

import re
from pathlib import Path

import numpy as np
import pytest

from auto_config.bundle_scripts.points.landmarks import ABSENT, PRESENT, UNKNOWN, LandmarkSet
from auto_config.datasets.model.dataset import Case, Problem
from auto_config.inspection.cases import CaseReport
from auto_config.inspection.problems import relative_to
from auto_config.inspection.report import _labels, write_report
from auto_config.inspection.table import LandmarkRow, landmark_table

NAMES = tuple("abcdef")


def case(number, status, points):
    return Case(f"c{number}", (Path(f"c{number}.nii"),), LandmarkSet(NAMES, points, np.array(status, dtype=np.int8)))


def test_counts_and_spread():
    rng = np.random.default_rng(0)
    base = rng.uniform(-40, 40, (6, 3))
    cases = []
    for number in range(40):
        points = base.copy()
        points[0] += rng.normal(0, 3, 3)
        status = [PRESENT] * 6
        if number == 0:
            status[4:] = [ABSENT, UNKNOWN]
            points[4:] = np.nan
        cases.append(case(number, status, points + rng.uniform(-100, 100, 3)))
    cases.append(Case("none", (Path("none.nii"),), None))
    rows = landmark_table(cases, NAMES, 3)
    assert [(row.name, row.present, row.absent, row.unknown) for row in rows] == [
        *[(name, 40, 0, 0) for name in "abcd"],
        ("e", 39, 1, 0),
        ("f", 39, 0, 1),
    ]
    # 3 mm on each axis are 5.2 mm; the alignment takes a part of it, and gives a little to the others.
    assert 2.5 < rows[0].spread < 5.5
    assert max(row.spread for row in rows[1:]) < rows[0].spread / 2
    assert landmark_table([cases[-1]], NAMES, 3) == []


def test_the_page_folds_equal_problems_and_links_to_cases(tmp_path):
    points = np.zeros((6, 3))
    reports = [CaseReport(case(number, [PRESENT] * 6, points), None, ()) for number in range(4)]
    problems = [Problem("warning", f"c{number}.nii: has {number} bright <spots>", f"c{number}") for number in range(4)]
    problems.append(Problem("error", "scans: no landmark"))
    rows = [LandmarkRow("a&b", 3, 1, 0, 1.234), LandmarkRow("c", 1, 0, 3, float("nan"))]
    write_report(tmp_path / "page.html", [("cases", "4")], problems, reports, (rows, "px"))
    listed, _, rest = (tmp_path / "page.html").read_text().partition("<h2>Landmarks</h2>")
    assert listed.count("<details") == 1
    assert "(and 3 more of this kind)" in listed
    assert [int(number) for number in re.findall(r'<a href="#case-(\d)">', listed)] == [0, 1, 2, 3]
    assert listed.index("scans: no landmark") < listed.index("<details")  # errors first
    assert "<spots>" not in listed
    assert "spread px" in rest
    assert "<td>a&amp;b</td><td>1</td><td>3</td><td>1</td><td>0</td><td>1.23</td>" in rest
    assert "<td>c</td><td>2</td><td>1</td><td>0</td><td>3</td><td></td>" in rest
    assert all(f'<figure id="case-{number}">' in rest for number in range(4))


def test_paths_are_told_from_the_data_set_on(tmp_path):
    problem = Problem("error", f"{tmp_path}/images/a.nii: is bad, see {tmp_path}/points.csv", "a")
    assert relative_to(problem, tmp_path).message == "images/a.nii: is bad, see points.csv"
    assert relative_to(problem, tmp_path / "points.csv").message == "images/a.nii: is bad, see points.csv"
    assert relative_to(Problem("error", f"{tmp_path}: is bad"), tmp_path).message == f"{tmp_path}: is bad"


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (("a", "left posterior horn", "Größe", "山"), ["a", "left posterio.", "Größe", "?"]),
        (tuple(str(number) + "x" for number in range(30)), [str(number + 1) for number in range(30)]),
    ],
)
def test_points_carry_names_or_numbers(names, labels):
    points = np.zeros((len(names), 3))
    assert _labels(LandmarkSet(names, points, np.ones(len(names), dtype=np.int8))) == labels
