"""`auto_config review`: its page, its table, and what it refuses."""

import csv
import io
import json
from dataclasses import replace
from html.parser import HTMLParser

import nibabel as nib
import numpy as np
import pytest
from blobs import HEAD, write_blobs
from cohorts import head_cohort

from auto_config.bundle_scripts.points.landmark_files import read_markups, write_markups
from auto_config.cli import main
from auto_config.review.cohort import Finding
from auto_config.review.label_errors import find_label_errors
from auto_config.review.page import review_page
from auto_config.review.table import COLUMNS, review_table
from auto_config.review.teaching import case_uncertainty, choose_scans, landmark_uncertainty

EVIL = '<script>alert(1)</script>"&'
VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """Collects tags and text, and sees that every tag is closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.links, self.text = [], [], [], ""
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for name, value in attributes if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert tag in VOID or self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def finding(**changes):
    one = Finding(0, (1,), "shift", 2.5, 7.25, np.array([1.0, -2.0, 3.0]), 1, "unseen", "moved")
    return replace(one, **changes)


@pytest.fixture
def cohort(tmp_path):
    """Names that an attacker chose, and an image for the first case."""
    plain = head_cohort(cases=3)
    affine = plain.affines[0]
    nib.save(nib.Nifti1Image(np.random.default_rng(0).random((100,) * 3, dtype=np.float32), affine), tmp_path / "i.nii")
    return replace(plain, cases=(EVIL, "=cmd()", "-2+3"), names=(EVIL, *plain.names[1:]))


def page_of(cohort, tmp_path, **changes):
    parts = {"suspects": [], "others": [], "scans": [], "notes": [], "shown": 5, **changes}
    return Page(review_page(EVIL, cohort, {EVIL: [tmp_path / "i.nii"]}, **parts))


def test_the_page_is_whole_and_names_are_text(cohort, tmp_path):
    page = page_of(cohort, tmp_path, suspects=[finding(landmarks=(0,), landmark=0)], notes=[EVIL])
    assert "script" not in page.tags
    assert page.text.count(EVIL) >= 4  # title twice, note, case, landmark
    assert page.tags.count("img") == 1
    assert all(link.startswith("data:image/jpeg;base64,") for link in page.links)
    assert "7.25 mm" in page.text


def test_an_image_that_cannot_be_read_leaves_its_text(cohort, tmp_path):
    page = page_of(cohort, tmp_path, suspects=[finding(case=1)])
    assert "img" not in page.tags
    assert "The image cannot be shown." in page.text
    assert "=cmd()" in page.text


def test_suspects_beyond_the_shown_ones_stand_in_the_table_alone(cohort, tmp_path):
    several = [finding(), finding(landmarks=(2,), landmark=2), finding(landmarks=(3,), landmark=3)]
    page = page_of(cohort, tmp_path, suspects=several, shown=1)
    assert page.tags.count("img") == 1
    assert page.tags.count("tr") == 4
    assert "No label is contradicted" in page_of(cohort, tmp_path).text


def test_no_cell_is_a_formula_and_numbers_stay(cohort):
    rows = [finding(case=case) for case in range(3)]
    table = list(csv.DictReader(io.StringIO(review_table(cohort, rows[:2], rows[2:], []))))
    assert [row["case"] for row in table] == [EVIL, "'=cmd()", "'-2+3"]
    assert [row["what"] for row in table] == ["label", "label", "below"]
    assert tuple(table[0]) == COLUMNS
    np.testing.assert_allclose([float(x) for x in table[0]["expected"].split()], [1, -2, 3])
    np.testing.assert_allclose([float(x) for x in table[2]["label"].split()], cohort.labels[2, 1], rtol=1e-5)


def test_how_unsure_models_are_of_a_landmark_and_a_case():
    spread, confidence = np.array([0.0, 4.0, np.nan, np.nan]), np.array([1.0, 1.0, 0.25, np.nan])
    np.testing.assert_allclose(landmark_uncertainty(spread, confidence), [0.0, 1 - np.exp(-1), 0.75, np.nan])
    assert case_uncertainty(spread, confidence) == pytest.approx((1 - np.exp(-1) + 0.75) / 3)
    assert case_uncertainty(np.array([np.nan]), np.array([np.nan])) == np.inf


def test_of_equal_scans_one_is_chosen_before_another_is_repeated():
    looks = np.array([[0.0, 0.0], [0.01, 0.0], [9.0, 9.0], [9.0, 9.01]])
    chosen = choose_scans(np.full(4, 0.5), looks, np.zeros((0, 2)), 2)
    assert len({one.index // 2 for one in chosen}) == 2
    sure = choose_scans(np.array([0.9, 0.1]), np.array([[0.0], [0.0]]), np.array([[0.0], [1.0]]), 5)
    assert [one.index for one in sure] == [0, 1]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A bundle of blobs in which two neighbours of one case are exchanged."""
    folder = tmp_path_factory.mktemp("review")
    write_blobs(folder / "scans", cases=14)
    wrong = folder / "scans" / "landmarks" / "plain0.mrk.json"
    given = read_markups(wrong).ordered(HEAD)
    write_markups(wrong, replace(given, points=given.points[[0, 1, 3, 2]]))
    options = ["--network", "tiny", "--test_fraction", "0"]
    assert main(["create", str(folder / "scans"), str(folder / "bundle"), *options]) == 0
    return folder / "bundle"


def test_a_bundle_without_weights_is_reviewed_from_its_points(bundle, tmp_path, capsys):
    output, table = tmp_path / "page.html", tmp_path / "table.csv"
    assert main(["review", str(bundle), "--output", str(output), "--csv", str(table)]) == 0
    said = capsys.readouterr().out
    assert "14 labelled cases, judged: 14 cases by the other points and cases alone, no network" in said
    page = Page(output.read_text(encoding="utf-8"))
    assert not [link for link in page.links if not link.startswith("data:")]
    rows = list(csv.DictReader(io.StringIO(table.read_text(encoding="utf-8"))))
    assert rows
    assert rows[0]["case"] == "plain0"


def test_predictions_of_other_weights_count_for_nothing(bundle, tmp_path, capsys):
    import shutil

    import torch

    root = shutil.copytree(bundle, tmp_path / "bundle")
    fold = root / "models" / "fold_0"
    fold.mkdir()
    torch.save({"a": torch.ones(1)}, fold / "model.pt")
    kept = {"weights": "others", "landmarks": list(HEAD), "cases": {}}
    (fold / "out_of_fold.json").write_text(json.dumps(kept), encoding="utf-8")
    assert main(["review", str(root), "--output", str(tmp_path / "page.html")]) == 0
    assert "out_of_fold.json: is of other weights, and counts for nothing" in capsys.readouterr().out


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--top", "0"], "--top 0: must be 1 or more"),
        (["--scans", "-1"], "--scans -1: must be 1 or more"),
        (["--false_alarms", "0.7"], "must be above 0 and below 0.5"),
        (["--output", "nowhere/page.html"], "the folder does not exist"),
        (["--csv", "."], "is a folder"),
        (["--predictions", "nowhere"], "is not there"),
        (["--unlabelled", "nowhere"], "is not there"),
    ],
)
@pytest.mark.usefixtures("elsewhere")
def test_options_that_cannot_be_end_in_one_line(bundle, options, message, capsys, tmp_path):
    assert main(["review", str(bundle), *options]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert message in said[-1]
    assert not list(tmp_path.iterdir())


def test_something_else_than_a_bundle(tmp_path, capsys):
    assert main(["review", str(tmp_path)]) == 2
    assert "is no bundle" in capsys.readouterr().err


def test_a_cohort_without_errors_names_nobody():
    assert find_label_errors(head_cohort(3), 0.0002) == []
