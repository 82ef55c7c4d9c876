"""What a file is, is seen by its content, and one broken picture does not decide for all."""

import unicodedata

import pytest
from format_examples import EXAMPLES

from auto_config.datasets import read_dataset


@pytest.mark.parametrize("ending", [".json", ".JSON"])
def test_markups_that_are_called_json_beside_their_images(ending, folder):
    for case in ("ann", "ben"):
        folder.case(case)
        path = folder.root / "landmarks" / f"{case}.mrk.json"
        path.rename(folder.root / "images" / f"{case}{ending}")
    (folder.root / "landmarks").rmdir()
    for image in (folder.root / "images").iterdir():
        image.rename(folder.root / image.name)
    (folder.root / "images").rmdir()
    dataset, problems = read_dataset(folder.root)
    assert problems == []
    assert (dataset.format, [case.name for case in dataset.cases]) == ("json", ["ann", "ben"])
    assert dataset.cases[0].landmarks.to_inline()["AC"] == [1.0, 2.0, 3.0]


def test_other_json_beside_images_is_still_no_landmark_file(folder):
    folder.case("ann")
    (folder.root / "images" / "ann.json").write_text('{"EchoTime": 0.1}')
    dataset, problems = read_dataset(folder.root)
    assert (dataset.format, problems) == ("markups", [])


@pytest.mark.parametrize("name", ["labelme", "isbi_txt", "payer_csv"])
def test_a_first_picture_that_cannot_be_read_is_named_alone(name, tmp_path):
    EXAMPLES[name][1](tmp_path)
    first = min(tmp_path.rglob("*.png"))
    first.write_text("version https://git-lfs.github.com/spec/v1\n")
    dataset, problems = read_dataset(tmp_path)
    assert dataset.spatial_dims == 2 and len(dataset.cases) == 1
    # A landmark that only the lost case has is a problem of the data set, not of another case.
    errors = {problem.case for problem in problems if problem.severity == "error" and problem.case is not None}
    assert errors == {first.stem}


@pytest.mark.parametrize(("image", "label"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_names_that_differ_in_unicode_form_only_are_equal(image, label, folder):
    folder.image(unicodedata.normalize(image, "jürgen"))
    folder.label(unicodedata.normalize(label, "jürgen"))
    dataset, problems = read_dataset(folder.root)
    assert problems == []
    assert [case.name for case in dataset.cases] == [unicodedata.normalize(image, "jürgen")]
