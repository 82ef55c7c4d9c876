"""Test cases and folds."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auto_config.bundle_scripts.points.landmarks import PRESENT, UNKNOWN, LandmarkSet
from auto_config.datasets.model.dataset import Case
from auto_config.errors import UserError
from auto_config.planning.splits import make_split, read_test_file


def _case(name, *, status=(PRESENT, PRESENT), folder="images", **marks):
    points = np.array([[1.0, 2, 3] if one == PRESENT else [np.nan] * 3 for one in status])
    landmarks = LandmarkSet(("a", "b"), points, np.array(status, dtype=np.int8))
    return Case(str(name), (Path("/data") / folder / f"{name}.nii.gz",), landmarks, **marks)


def _cases(count, **marks):
    return [_case(f"c{number:02}", **marks) for number in range(count)]


def test_a_fifth_is_held_out_and_folds_are_even():
    split = make_split(_cases(42))
    assert len(split.test) == 8
    assert sorted(Counter(split.folds.values()).values()) == [6, 7, 7, 7, 7]
    assert not set(split.test) & set(split.folds)
    assert split.decisions["test"].value == {"from": "fraction", "fraction": 0.2, "cases": 8}


def test_same_whatever_the_order_and_different_with_another_seed():
    cases = _cases(30)
    split = make_split(cases)
    again = make_split(cases[::-1])
    assert set(split.test) == set(again.test)
    assert dict(split.folds) == dict(again.folds)
    assert set(make_split(cases, seed=1).test) != set(split.test)


@given(
    groups=st.lists(st.integers(0, 6), min_size=4, max_size=30),
    folds=st.integers(2, 5),
    fraction=st.sampled_from([0.0, 0.2, 0.5]),
)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_groups_stay_together_and_nobody_is_lost(groups, folds, fraction):
    cases = [_case(f"c{number:02}", group=f"g{group}") for number, group in enumerate(groups)]
    split = make_split(cases, folds=folds, test_fraction=fraction)
    place = dict.fromkeys(split.test, "test") | dict(split.folds)
    assert set(place) == {case.name for case in cases}
    for group in {case.group for case in cases}:
        assert len({place[case.name] for case in cases if case.group == group}) == 1
    assert len(split.test) <= round(fraction * len(cases))
    assert set(split.folds.values()) == set(range(split.decisions["folds"].value["count"]))


def test_strata_by_folder_and_by_annotated_landmarks():
    cases = [_case(f"a{n}", folder="one") for n in range(20)]
    cases += [_case(f"b{n}", folder="two") for n in range(10)]
    cases += [_case(f"d{n}", folder="two", status=(PRESENT, UNKNOWN)) for n in range(10)]
    split = make_split(cases)
    assert Counter(name[0] for name in split.test) == {"a": 4, "b": 2, "d": 2}
    for fold in range(5):
        assert 3 <= sum(name[0] == "a" for name, number in split.folds.items() if number == fold) <= 4
        assert 1 <= sum(name[0] == "d" for name, number in split.folds.items() if number == fold) <= 2


def test_marks_of_the_source_are_kept():
    cases = [_case(f"c{n}", split="test" if n < 3 else "training", fold=None if n < 3 else n % 4) for n in range(12)]
    split = make_split(cases, folds=5, test_fraction=0.5)
    assert split.test == ("c0", "c1", "c2")
    assert split.folds == {f"c{n}": n % 4 for n in range(3, 12)}
    assert split.decisions["folds"].value == {"from": "source", "count": 4}


def test_cases_without_a_fold_join_those_of_the_source():
    cases = [_case(f"c{n}", fold=n % 3 if n < 6 else None) for n in range(9)]
    split = make_split(cases, test_fraction=0)
    assert Counter(split.folds.values()) == {0: 3, 1: 3, 2: 3}
    assert all(split.folds[f"c{n}"] == n % 3 for n in range(6))


@pytest.mark.parametrize(("training", "count"), [(12, 5), (2, 3), (1, 2)])
def test_a_validation_list_is_exactly_fold_0_and_the_others_spread(training, count):
    listed = [_case(f"v{n}", fold=0) for n in range(4)]
    split = make_split([*_cases(training), *listed], test_fraction=0)
    assert {name for name, fold in split.folds.items() if fold == 0} == {"v0", "v1", "v2", "v3"}
    assert set(split.folds.values()) == set(range(count))
    assert split.decisions["folds"].value["count"] == count
    assert "validation list" in split.decisions["folds"].reason


def test_no_test_case_is_drawn_from_the_validation_list():
    split = make_split([*_cases(10), *[_case(f"v{n}", fold=0) for n in range(10)]], test_fraction=0.5)
    assert len(split.test) == 5
    assert not [name for name in split.test if name.startswith("v")]


def test_given_test_cases():
    split = make_split(_cases(10), test_names=["c03", "c01"])
    assert split.test == ("c01", "c03")
    with pytest.raises(UserError, match="'c99', which is not in the data set"):
        make_split(_cases(10), test_names=["c99"])
    with pytest.raises(UserError, match="every case"):
        make_split(_cases(3), test_names=["c00", "c01", "c02"])
    pairs = [_case(f"c{n}", group=f"g{n // 2}") for n in range(6)]
    with pytest.raises(UserError, match=r"part of group 'g0' only, case 'c1' is missing"):
        make_split(pairs, test_names=["c0"])


def test_unannotated_cases_are_in_neither():
    cases = [*_cases(10), _case("new", status=(UNKNOWN, UNKNOWN))]
    split = make_split(cases)
    assert split.unannotated == ("new",)
    assert "new" not in split.folds and "new" not in split.test


def test_few_cases():
    split = make_split(_cases(3), folds=5)
    assert split.decisions["folds"].value["count"] == 2
    assert "5 were wanted" in split.decisions["folds"].reason
    one = make_split(_cases(1))
    assert (one.test, dict(one.folds)) == ((), {"c00": 0})
    assert make_split([]).folds == {}


def test_wrong_numbers():
    with pytest.raises(UserError, match="--folds must be 2 or more, got 1"):
        make_split(_cases(3), folds=1)
    with pytest.raises(UserError, match="--test_fraction"):
        make_split(_cases(3), test_fraction=1)


def test_decisions_hold_no_case_names():
    split = make_split(_cases(20))
    assert "c0" not in str(split.decisions)


def test_file_of_test_cases(tmp_path):
    file = tmp_path / "test.txt"
    file.write_text("c01\n\n  c03 \n")
    assert read_test_file(file) == ["c01", "c03"]
    file.write_text('["c01", "c03"]')
    assert read_test_file(file) == ["c01", "c03"]
    for text, message in [
        ("\n", "holds no case name"),
        ("a\na\n", "'a' is a duplicate"),
        ("[1, 2]", "must be a JSON list"),
        ("[1, 2", "is no JSON"),
    ]:
        file.write_text(text)
        with pytest.raises(UserError, match=message):
            read_test_file(file)
    with pytest.raises(UserError, match="cannot be read"):
        read_test_file(tmp_path / "none.txt")
