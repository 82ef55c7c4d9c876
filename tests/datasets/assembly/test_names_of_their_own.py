"""A data set in which most landmarks are in one case only is an error of `inspect` and `create`."""

import json

import nibabel as nib
import numpy as np
import pytest

from auto_config.bundle_scripts.points.landmark_files import write_markups
from auto_config.bundle_scripts.points.landmarks import LandmarkSet
from auto_config.commands.create import create
from auto_config.commands.inspect import inspect
from auto_config.errors import UserError

WORDS = ["nose", "chin", "brow", "ear", "jaw", "lip", "cheek", "neck", "hair", "eye", "tooth", "tongue"]


def write(folder, cases):
    for number, (case, names) in enumerate(cases.items()):
        array = np.random.default_rng(number).normal(size=(16, 16, 16)).astype(np.float32)
        nib.save(nib.Nifti1Image(array, np.diag([-1.0, -1, 1, 1])), folder / f"{case}.nii.gz")
        points = {name: [-1.0 - index, -5.0, 4.0] for index, name in enumerate(names)}
        write_markups(folder / f"{case}.mrk.json", LandmarkSet.from_inline(points))


@pytest.mark.parametrize(
    ("cases", "words"),
    [
        ({"a": WORDS[:4], "b": WORDS[4:8], "c": WORDS[8:]}, ["no landmark is in two cases", "each case has 4"]),
        (
            {"a": [*WORDS[:4], "top"], "b": [*WORDS[4:8], "top"], "c": [*WORDS[8:11], "top"]},
            ["11 of 12 landmarks are in one case only", "the cases have 4 to 5"],
        ),
    ],
)
def test_it_is_one_error_with_the_likely_reason(tmp_path, capsys, cases, words):
    (tmp_path / "set").mkdir()
    write(tmp_path / "set", cases)
    assert inspect(tmp_path / "set", workers=1) == 2
    text = capsys.readouterr().out
    for word in (*words, "give the same point the same name", "1 error that would train wrongly, 0 warnings"):
        assert word in text
    with pytest.raises(UserError, match="no bundle was written"):
        create(tmp_path / "set", tmp_path / "bundle", workers=1)


def test_a_case_with_more_landmarks_than_the_others_is_no_error(tmp_path, capsys):
    write(tmp_path, {"a": WORDS, "b": WORDS[:4]})
    assert inspect(tmp_path, workers=1) == 0
    assert "0 errors" in capsys.readouterr().out


def names_of(bundle):
    return [row["name"] for row in json.loads((bundle / "configs" / "landmarks.json").read_text())["landmarks"]]


def points_of(bundle):
    return [case["label"] for case in json.loads((bundle / "data" / "datalist.json").read_text())["training"]]


def test_its_remedies_give_the_right_points(tmp_path, capsys):
    source = tmp_path / "set"
    source.mkdir()
    options = {"network": "tiny", "stages": 1, "patch_size": [16, 16, 16], "test_fraction": 0, "workers": 1}
    own = {"a": WORDS[:4], "b": WORDS[4:8], "c": WORDS[8:]}
    write(source, own)
    assert inspect(source, workers=1) == 2
    assert "in the same order in all files, give --names order" in " ".join(capsys.readouterr().out.split())
    assert inspect(source, names="order", workers=1) == 0
    assert create(source, tmp_path / "ordered", names="order", **options) == 0
    assert names_of(tmp_path / "ordered") == ["1", "2", "3", "4"]
    place = {str(number + 1): [-1.0 - number, -5.0, 4.0] for number in range(4)}
    assert points_of(tmp_path / "ordered") == [place] * 3

    write(source, dict.fromkeys(own, WORDS[:4]))
    assert create(source, tmp_path / "renamed", **options) == 0
    assert names_of(tmp_path / "renamed") == WORDS[:4]
    assert points_of(tmp_path / "renamed") == [dict(zip(WORDS[:4], place.values(), strict=True))] * 3


def test_a_table_is_not_advised_to_count(tmp_path, capsys):
    write(tmp_path, {"a": [], "b": []})
    rows = [f"{case}.nii.gz,{name},1,2,3" for case, names in (("a", WORDS[:4]), ("b", WORDS[4:8])) for name in names]
    for path in tmp_path.glob("*.mrk.json"):
        path.unlink()
    (tmp_path / "points.csv").write_text("\n".join(["image,landmark,x_ras_mm,y_ras_mm,z_ras_mm", *rows]) + "\n")
    assert inspect(tmp_path / "points.csv", workers=1) == 2
    text = capsys.readouterr().out
    assert "no landmark is in two cases" in text and "--names" not in text
