"""The command `convert`: what it refuses, says, and leaves as it was."""

import json
from pathlib import Path

import pytest
from format_examples import EXAMPLES, POINTS

from auto_config.cli import main
from auto_config.commands.convert import convert, convert_dataset
from auto_config.datasets import read_dataset
from auto_config.datasets import writing as writing_module
from auto_config.errors import UserError


@pytest.fixture
def scans(tmp_path):
    root = tmp_path / "scans"
    root.mkdir()
    EXAMPLES["csv"][1](root)
    return root


def listing(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_the_command_writes_and_says_what_to_do_next(scans, tmp_path, capsys):
    assert main(["convert", str(scans), str(tmp_path / "out"), "--to", "markups", "--from", "csv"]) == 0
    said = capsys.readouterr().out
    assert "2 cases with 2 landmarks written as markups" in said
    assert f"auto_config inspect {tmp_path / 'out'}" in said
    assert listing(tmp_path / "out") == [
        "cases.csv",
        "images/ann.nii.gz",
        "images/ben.nii.gz",
        "landmarks.json",
        "landmarks/ann.mrk.json",
        "landmarks/ben.mrk.json",
    ]
    assert read_dataset(tmp_path / "out")[0].cases[0].landmarks.to_inline() == POINTS


def test_images_are_linked_copied_or_named_by_their_paths(scans, tmp_path):
    convert(str(scans), str(tmp_path / "linked"), to="nnlandmark")
    image = tmp_path / "linked" / "imagesTr" / "ann_0000.nii.gz"
    assert image.readlink() == Path("../../scans/images/ann.nii.gz")
    convert(str(scans), str(tmp_path / "copied"), to="nnlandmark", images="copy")
    copied = tmp_path / "copied" / "imagesTr" / "ann_0000.nii.gz"
    assert not copied.is_symlink()
    assert copied.read_bytes() == image.read_bytes()
    convert(str(scans), str(tmp_path / "listed"))
    assert listing(tmp_path / "listed") == ["datalist.json"]
    document = json.loads((tmp_path / "listed" / "datalist.json").read_text())
    assert document["training"][0]["image"] == "../scans/images/ann.nii.gz"
    convert(str(scans), str(tmp_path / "whole"), images="copy")
    assert listing(tmp_path / "whole") == ["datalist.json", "images/ann.nii.gz", "images/ben.nii.gz"]


def test_nothing_is_overwritten_unless_asked(scans, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    convert(str(scans), str(out), to="csv_wide")  # an empty folder is filled
    before = (out / "points.csv").read_text()
    (out / "mine.txt").write_text("x")
    with pytest.raises(UserError, match="add --overwrite"):
        convert(str(scans), str(out), to="csv")
    assert (out / "points.csv").read_text() == before
    convert(str(scans), str(out), to="csv", overwrite=True)
    assert listing(out) == ["landmarks.json", "points.csv"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "scans"]


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        ("scans", {"overwrite": True}, "is or holds the source"),
        (".", {"overwrite": True}, "is or holds the source"),
        ("out.csv", {"to": "csv"}, "a folder is written"),
        ("out", {"to": "dicom"}, "--to is 'dicom'; allowed are markups"),
        ("out", {"to": "coco"}, "holds pictures, these are volumes; use markups"),
        ("out", {"to": "markups", "images": "refer"}, "use link"),
        ("out", {"images": "move"}, "--images is 'move'"),
        ("out", {"from_": "nobody"}, "and the benchmarks afids"),
        ("out", {"from_": "afids", "to": "csv"}, "writes a datalist"),
        ("out", {"from_": "afids", "landmarks": ["AC"]}, "--landmarks is not for public benchmarks"),
        ("out", {"complete": True}, "--complete is for public benchmarks"),
    ],
)
def test_what_is_refused_leaves_nothing_behind(scans, tmp_path, target, options, message):
    before = listing(tmp_path)
    with pytest.raises(UserError, match=message):
        convert(str(scans), str(tmp_path / target), **options)
    assert listing(tmp_path) == before


def test_a_conversion_that_fails_leaves_the_old_target(scans, tmp_path, monkeypatch):
    convert(str(scans), str(tmp_path / "out"), to="csv")
    before = (tmp_path / "out" / "points.csv").read_bytes()

    def full(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(writing_module, "_write_declarations", full)
    with pytest.raises(OSError, match="disk full"):
        convert(str(scans), str(tmp_path / "out"), to="markups", overwrite=True)
    assert (tmp_path / "out" / "points.csv").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "scans"]


def test_an_image_inside_the_target_is_not_thrown_away(scans, tmp_path):
    convert(str(scans), str(tmp_path / "whole"), images="copy")
    convert(str(tmp_path / "whole"), str(tmp_path / "list"), to="csv")
    with pytest.raises(UserError, match=r"lies in .*whole, which is replaced"):
        convert(str(tmp_path / "list"), str(tmp_path / "whole"), overwrite=True)


def test_cases_with_errors_are_named_and_the_others_written(scans, tmp_path, capsys):
    path = scans / "points.csv"
    path.write_text(path.read_text().replace('ann,"AC",1.0', 'ann,"AC",here'))
    assert convert(str(scans), str(tmp_path / "out")) == 1
    said = capsys.readouterr().out
    assert "error: " in said
    assert "line 2" in said
    assert [case.name for case in read_dataset(tmp_path / "out")[0].cases] == ["ben"]
    path.write_text("case,landmark,x_ras,y_ras,z_ras\nann,AC,x,y,z\n")
    with pytest.raises(UserError, match=r"no case can be converted; the first of .*line 2"):
        convert(str(scans), str(tmp_path / "none"))


def test_what_is_lost_is_said(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    EXAMPLES["datalist"][1](source)
    document = json.loads((source / "datalist.json").read_text())
    document["training"][0]["case"] = "a/b?"
    document["test"][0]["label"] = {"AC": [1000, 0, 0], "PC, left": [1, 2, 3]}
    (source / "datalist.json").write_text(json.dumps(document))
    done = convert_dataset(source, tmp_path / "out", to="labelmap")
    assert len(done.losses) == 3
    assert "landmarks of single raters are lost" in done.losses[0]
    assert done.losses[1] == "1 point ('ben: AC') outside the image, which a label map cannot hold"
    assert "case 'a/b?' cannot be file names and are renamed, the first to 'a_b_'" in done.losses[2]


def test_two_landmarks_in_one_voxel_of_a_label_map_are_said(scans, tmp_path):
    path = scans / "points.csv"
    path.write_text(path.read_text().replace("3.0,-2.0,1.0", "1.1,2.1,3.1"))
    done = convert_dataset(scans, tmp_path / "out", to="labelmap")
    assert done.losses == ("2 points ('ann: PC, left', 'ben: PC, left') in the voxel of another landmark",)


def test_channels_need_a_format_that_holds_them(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    EXAMPLES["datalist"][1](source)
    document = json.loads((source / "datalist.json").read_text())
    for section in ("training", "test"):
        document[section][0]["image"] = [document[section][0]["image"]] * 2
    (source / "datalist.json").write_text(json.dumps(document))
    with pytest.raises(UserError, match="several channel files, --to json holds one; use csv"):
        convert_dataset(source, tmp_path / "out", to="json")
    for to in ("csv", "csv_wide", "nnlandmark", "datalist"):
        convert_dataset(source, tmp_path / to, to=to)
        assert [len(case.image) for case in read_dataset(tmp_path / to)[0].cases] == [2, 2]
