"""Boxes and point lists that clients send as labels: exact points, and what is missing."""

import numpy as np
import pytest
from label_tools import (
    GRID,
    NAMES,
    POINTS,
    answer,
    box,
    read_label,
    refused_label,
    world,
    write_json,
)
from landmark_app.lib.core.errors import ClientError
from landmark_app.lib.geometry.balls import Grid
from landmark_app.lib.labels.label_forms import label_ending

from auto_config.bundle_scripts.points.fcsv_files import write_fcsv
from auto_config.bundle_scripts.points.landmark_files import write_markups
from auto_config.bundle_scripts.points.landmarks import ABSENT, PRESENT, UNKNOWN, LandmarkSet

# ---------------------------------------------------------------- boxes


def test_centres_of_boxes_are_exact_in_either_system(tmp_path):
    nodes = [box(NAMES[0], POINTS[0]), box(NAMES[1], POINTS[1], system="RAS"), box("F-1", POINTS[2], node="Left eye")]
    label = read_label(write_json(tmp_path / "x.json", {"markups": nodes}), records=[answer()])
    np.testing.assert_allclose(label.landmarks.points, POINTS, atol=1e-9)
    assert label.form == "boxes"


def test_stray_boxes_are_ignored_with_a_note(tmp_path):
    nodes = [
        box("AC", POINTS[0]),
        box("SAM2 ROI-1", [0, 0, 0], node="SAM2 ROI", size=(0, 0, 0)),
        box("SAM2 ROI-1", [0, 0, 0], node="SAM2 ROI"),
        {"type": "ROI", "coordinateSystem": "LPS", "center": None, "controlPoints": []},
    ]
    label = read_label(write_json(tmp_path / "x.json", {"markups": nodes}))
    assert label.landmarks.status.tolist() == [PRESENT, UNKNOWN, UNKNOWN]
    assert sum("was ignored" in note for note in label.notes) == 3


def test_missing_and_deleted_boxes_are_absent(tmp_path):
    nodes = [box("AC", POINTS[0]), box("PC", POINTS[1], positionStatus="missing")]
    label = read_label(write_json(tmp_path / "x.json", {"markups": nodes}), records=[answer()])
    assert label.landmarks.status.tolist() == [PRESENT, ABSENT, ABSENT]


def test_a_model_run_twice_gives_the_same_boxes_twice(tmp_path):
    nodes = [box("AC", POINTS[0]), box("AC", POINTS[0])]
    assert read_label(write_json(tmp_path / "x.json", {"markups": nodes})).landmarks.present[0]
    nodes = [box("AC", POINTS[0]), box("AC", POINTS[0] + 1)]
    refused_label(write_json(tmp_path / "y.json", {"markups": nodes}), "'AC' has two boxes", "delete one")


def test_boxes_that_cannot_be_used(tmp_path):
    refused_label(
        write_json(tmp_path / "a.json", {"markups": [box("R-1", POINTS[0], node="R")]}), "'R-1'", "allowed are 'AC'"
    )
    stray = [box("SAM2 ROI-1", [0, 0, 0], node="SAM2 ROI")]
    refused_label(write_json(tmp_path / "b.json", {"markups": stray}), "no box of a landmark")
    mixed = [box("AC", POINTS[0]), {"type": "Fiducial", "controlPoints": []}]
    refused_label(write_json(tmp_path / "c.json", {"markups": mixed}), "either ROI boxes or one point list")
    refused_label(write_json(tmp_path / "d.json", {"markups": [box("AC", [np.inf, 0, 0])]}), "'AC'", "not finite")
    refused_label(
        write_json(tmp_path / "e.json", {"markups": [box("AC", POINTS[0] + 900)]}), "'AC' at (", "outside the image"
    )
    node = box("AC", POINTS[0]) | {"coordinateSystem": "XYZ"}
    refused_label(
        write_json(tmp_path / "f.json", {"markups": [node]}), "label of image 'case.1': coordinate system 'XYZ'"
    )


# ---------------------------------------------------------------- points


STATED = LandmarkSet(("PC", "AC"), np.array([POINTS[1], [np.nan] * 3]), np.array([PRESENT, ABSENT]))


@pytest.mark.parametrize("ending", [".mrk.json", ".fcsv", ".json"])
def test_point_lists_say_themselves_what_is_missing(tmp_path, ending):
    path = tmp_path / f"x{ending}"
    if ending == ".fcsv":
        write_fcsv(path, STATED)
    elif ending == ".mrk.json":
        write_markups(path, STATED)
    else:
        write_json(path, STATED.to_inline())
    label = read_label(path, records=[answer()])
    assert label.landmarks.names == NAMES
    assert label.landmarks.status.tolist() == [ABSENT, PRESENT, UNKNOWN]
    np.testing.assert_allclose(label.landmarks.points[1], POINTS[1], atol=1e-9)
    assert label.confidence == {"PC": 0.9}


def test_a_point_list_with_numbers_for_labels_is_known_by_its_descriptions(tmp_path):
    numbers = LandmarkSet.from_inline({"1": list(POINTS[0]), "2": list(POINTS[1])})
    # `ac` is AC in other letters.
    write_markups(tmp_path / "x.mrk.json", numbers, descriptions=["ac", "PC"])
    label = read_label(tmp_path / "x.mrk.json")
    np.testing.assert_allclose(label.landmarks.ordered(["AC", "PC"]).points, POINTS[:2], atol=1e-9)
    words = LandmarkSet.from_inline({"first": list(POINTS[0]), "second": list(POINTS[1])})
    write_markups(tmp_path / "y.mrk.json", words, descriptions=["AC", "PC"])
    label = read_label(tmp_path / "y.mrk.json")
    np.testing.assert_allclose(label.landmarks.ordered(["AC", "PC"]).points, POINTS[:2], atol=1e-9)


def test_point_lists_that_cannot_be_used(tmp_path):
    refused_label(
        write_json(tmp_path / "a.json", {"F-1": [0, 0, 0]}), "'F-1' is not among the landmarks", "allowed are 'AC'"
    )
    refused_label(write_json(tmp_path / "b.json", {"AC": [0, 0]}), "'AC' has 2 coordinates")
    refused_label(write_json(tmp_path / "c.json", {"AC": list(POINTS[0]), "ac": list(POINTS[0])}), "more than once")
    refused_label(write_json(tmp_path / "d.json", {}), "no landmark")
    refused_label(
        write_json(tmp_path / "j.json", {"AC": [list(POINTS[0]), list(POINTS[1])]}), "'AC' has a list of points"
    )
    refused_label(write_json(tmp_path / "e.json", [1]), "must hold a JSON object")
    refused_label(
        write_json(tmp_path / "f.json", {"AC": list(POINTS[0] * [-1, -1, 1])}), "'AC' at (", "LPS and RAS swapped"
    )
    (tmp_path / "g.mrk.json").write_text('{"markups": [')
    refused_label(tmp_path / "g.mrk.json", "label of image 'case.1'", "not valid JSON")
    (tmp_path / "h.fcsv").write_bytes(b"\xff\xfe\x00")
    refused_label(tmp_path / "h.fcsv", "UTF-8")
    (tmp_path / "i.json").write_text("[" * 100000)
    refused_label(tmp_path / "i.json", "not valid JSON")


def test_a_models_own_point_outside_the_image_is_unknown(tmp_path):
    path = write_json(tmp_path / "x.json", {"AC": list(POINTS[0]), "PC": [900.0, 0.0, 0.0]})
    label = read_label(path, outside="unknown")
    assert label.landmarks.status.tolist() == [PRESENT, UNKNOWN, UNKNOWN]
    assert any("'PC' at (900.0" in note for note in label.notes)


def test_the_border_of_the_image_counts_as_inside():
    assert GRID.inside(np.array([world(-0.5, 0, 0), world(29.5, 39.5, 23.5), world(29.6, 0, 0)])).tolist() == [
        True,
        True,
        False,
    ]
    assert Grid((4, 4), np.eye(3)).inside(np.array([[3.5, 0.0], [3.6, 0.0]])).tolist() == [True, False]


@pytest.mark.parametrize(
    ("name", "ending"),
    [("a.b.nii.gz", ".nii.gz"), ("A.SEG.NRRD", ".seg.nrrd"), ("x.mrk.json", ".mrk.json"), ("x.json", ".json")],
)
def test_endings(name, ending):
    assert label_ending(name) == ending


def test_other_endings_are_refused():
    with pytest.raises(ClientError, match=r"ends with one of .*'\.stl'"):
        label_ending("x.stl")
