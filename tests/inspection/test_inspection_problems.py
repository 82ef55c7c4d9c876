"""Many problems of one kind are few lines, and no case and no number of them is lost."""

import pytest

from auto_config.datasets import Problem
from auto_config.inspection.problems import counted, problem_lines, shortened


def resolution(case, size):
    message = f"takes its pixel size of {size} x {size} mm from its resolution tag; give --pixel_spacing"
    return Problem("warning", f"/data/{case}.tif: {message}", case)


def outside(case, name):
    return Problem("error", f"/data/{case}.nii.gz: landmark {name!r} lies outside the image; correct it", case, name)


def test_what_is_the_same_for_forty_cases_but_for_its_numbers_is_one_line_with_their_count():
    lines = problem_lines([resolution(f"hand{number}", 0.1 + number / 1000) for number in range(40)])
    ((severity, line),) = lines
    assert severity == "warning"
    assert line.startswith("/data/hand0.tif: takes its pixel size of 0.1 x 0.1 mm from its resolution tag")
    assert "(and 39 more of this kind: hand1, hand2," in line
    assert line.endswith("hand12, and 27 more)")


def test_a_few_are_told_each():
    assert len(problem_lines([resolution(case, 0.1) for case in "abc"])) == 3


def test_where_each_says_something_of_its_own_three_are_told_and_the_others_listed():
    lines = problem_lines([outside(f"c{number}", f"point {number}") for number in range(5)])
    assert [line.partition(" lies")[0] for _, line in lines[:3]] == [
        f"/data/c{number}.nii.gz: landmark 'point {number}'" for number in range(3)
    ]
    assert lines[3:] == [("error", "... and 2 more of this kind: c3, c4")]


def test_errors_come_before_warnings_and_kinds_are_not_mixed():
    lines = problem_lines([*[resolution(case, 0.1) for case in "abcd"], outside("e", "AC")])
    assert [severity for severity, _ in lines] == ["error", "warning"]


def test_nothing_is_no_line():
    assert problem_lines([]) == []


@pytest.mark.parametrize(("count", "text"), [(0, "0 errors"), (1, "1 error"), (2, "2 errors")])
def test_one_is_not_many(count, text):
    assert counted(count, "error") == text


def test_long_lists_say_how_many_more_there_are():
    assert shortened(["a", "b"]) == "a, b"
    assert shortened([str(number) for number in range(15)]).endswith("11, and 3 more")
