"""Labels and descriptions of Slicer's control points: one choice of names for all files of a data set."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auto_config.bundle_scripts.points.landmark_files import write_markups
from auto_config.bundle_scripts.points.landmarks import PRESENT, LandmarkSet
from auto_config.cli import main
from auto_config.datasets import read_dataset
from auto_config.datasets.assembly.point_names import chosen_names
from auto_config.errors import UserError

AFIDS = ["AC", "PC", "infracollicular sulcus", "PMJ", "R LV at AC", "L LV at AC"]
GOOD = [(str(number), text) for number, text in enumerate(AFIDS, start=1)]


def changed(**texts):
    """The good file with other descriptions: _3="...", and so on."""
    return [(label, texts.get(f"_{label}", text)) for label, text in GOOD]


def names_of(*files, **options):
    return chosen_names(files, **options).files


@pytest.mark.parametrize(
    ("last", "said"),
    [
        (GOOD, ""),
        (changed(_1="ac", _4=" PMJ "), ""),
        (changed(_3="infracolicular sulcus"), "3 is 'infracolicular sulcus', not 'infracollicular sulcus'"),
        (changed(_5="L LV at AC", _6="R LV at AC"), "5 is 'L LV at AC', not 'R LV at AC'"),
        (changed(_2="AC"), "2 is 'AC', not 'PC'"),
        (changed(_2=""), "empty: 2 ('PC')"),
        ([(label, "") for label, _ in GOOD], "and 3 more"),
        (list(reversed(GOOD)), ""),
        (GOOD[:4], ""),
    ],
)
def test_the_label_is_the_key_and_the_usual_description_the_name(last, said):
    names = chosen_names([GOOD, GOOD, last])
    expected = dict(GOOD)
    assert names.files == [AFIDS, AFIDS, [expected[label] for label, _ in last]]
    assert (said in names.notes[2]) if said else not names.notes


def test_numbers_that_only_count_leave_the_description_as_name():
    other = [("1", "PC"), ("2", "eye"), ("3", "AC")]
    first = [("1", "AC"), ("2", "PC"), ("3", "eye")]
    assert names_of(first, first, other) == [["AC", "PC", "eye"]] * 2 + [["PC", "eye", "AC"]]


def test_numbers_that_only_count_with_an_empty_description_are_never_mixed():
    first, other = [("1", "AC"), ("2", "PC"), ("3", "eye")], [("1", "PC"), ("2", "eye"), ("3", "")]
    names = chosen_names([first, first, other])
    assert names.files == [["1", "2", "3"]] * 3 and "--names" in names.note


@pytest.mark.parametrize("text", ["unsure", ""])
def test_a_remark_in_one_file_names_nothing(text):
    plain = [("1", ""), ("2", "")]
    assert names_of(plain, plain, plain, [("1", text), ("2", "")]) == [["1", "2"]] * 4


def test_labels_that_are_words_are_the_names_whatever_is_described():
    files = [[("AC", "checked"), ("PC", "")], [("AC", ""), ("PC", "by JW")]]
    assert names_of(*files) == [["AC", "PC"]] * 2


def test_repeated_descriptions_are_instances_where_declared():
    files = [[("1", "suture"), ("2", "suture"), ("3", "AC")]] * 2
    assert names_of(*files, many=["suture"]) == [["suture", "suture", "AC"]] * 2


def test_descriptions_in_two_unicode_forms_are_one_name():
    assert names_of([("1", "n\u00e9"), ("2", "b")], [("1", "ne\u0301"), ("2", "b")]) == [["n\u00e9", "b"]] * 2


@given(st.lists(st.lists(st.tuples(st.sampled_from("123"), st.sampled_from(["", "a", "b", "c"])))), st.booleans())
def test_numbered_files_never_get_names_in_two_ways(files, as_many):
    names = chosen_names(files, many="abc" if as_many else ())
    assert [len(rows) for rows in names.files] == [len(rows) for rows in files]
    kinds = {name.isdecimal() for rows in names.files for name in rows}
    assert len(kinds) <= 1
    assert "" not in {name for rows in names.files for name in rows}


@pytest.fixture
def afids(folder):
    """Four cases, one with a typo and an exchanged pair, one without descriptions."""
    files = {"a": GOOD, "b": changed(_3="IS"), "c": changed(_5="L LV at AC", _6="R LV at AC"), "d": changed()}
    files["e"] = [(label, "") for label, _ in GOOD]
    points = np.random.default_rng(1).uniform(-4, 4, size=(len(GOOD), 3))
    for at, (case, rows) in enumerate(files.items()):
        folder.image(case, array=np.random.default_rng(at).normal(size=(12, 14, 10)).astype(np.float32))
        found = LandmarkSet(tuple(label for label, _ in rows), points + 0.1 * at, np.zeros(len(rows)) + PRESENT)
        path = folder.root / "landmarks" / f"{case}.mrk.json"
        write_markups(path, found, descriptions=[text for _, text in rows])
    return folder.root


def test_a_cohort_with_typed_descriptions_has_one_set_of_landmarks(afids):
    dataset, problems = read_dataset(afids)
    assert dataset.names == tuple(AFIDS) and len(dataset.cases) == 5
    assert all(case.landmarks.present.all() for case in dataset.cases)
    assert [(problem.severity, problem.case) for problem in problems] == [("warning", case) for case in "bce"]
    first, third = dataset.cases[0].landmarks.points, dataset.cases[2].landmarks.points
    np.testing.assert_allclose(third, first + 0.2, atol=1e-9)


def test_points_of_a_rater_are_named_with_the_others(afids):
    rater = afids / "raters" / "jw"
    rater.mkdir(parents=True)
    (rater / "a.mrk.json").write_text((afids / "landmarks" / "e.mrk.json").read_text())
    assert read_dataset(afids)[0].cases[0].raters["jw"].names == tuple(AFIDS)


@pytest.mark.parametrize(
    ("field", "names"), [("labels", [label for label, _ in GOOD]), ("order", [label for label, _ in GOOD])]
)
def test_names_are_what_was_asked_for(field, names, afids):
    dataset, problems = read_dataset(afids, names=field)
    assert (list(dataset.names), problems) == (names, [])


def test_descriptions_that_are_asked_for_and_empty_are_an_error_of_their_case(afids):
    dataset, problems = read_dataset(afids, names="descriptions")
    assert [case.name for case in dataset.cases] == ["a", "b", "c", "d"]
    assert [problem.case for problem in problems if problem.severity == "error"] == ["e"]
    assert any("point '1' has no description" in problem.message for problem in problems)


def test_every_command_takes_the_option(afids, tmp_path, capsys):
    assert main(["convert", str(afids), str(tmp_path / "out"), "--to", "csv", "--names", "labels"]) == 0
    assert ",1," in (tmp_path / "out" / "points.csv").read_text()
    main(["inspect", str(afids), "--headers_only", "--names", "nothing"])
    assert "labels" in capsys.readouterr().err


def test_names_say_nothing_about_a_table(afids, tmp_path):
    assert main(["convert", str(afids), str(tmp_path / "out"), "--to", "csv"]) == 0
    with pytest.raises(UserError, match="--names is for control points of Slicer"):
        read_dataset(tmp_path / "out", names="labels")


def test_two_numbers_of_one_description_leave_the_labels():
    twice = [("1", "AC"), ("2", "AC"), ("3", "PC")]
    names = chosen_names([twice, twice, twice])
    assert names.files == [["1", "2", "3"]] * 3 and "repeated" in names.note
