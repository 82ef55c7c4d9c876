"""Slicer Markups, .fcsv and inline JSON: coordinate systems, units, status, names, errors, atomic writing."""

import json
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auto_config.bundle_scripts.files.text import atomic_write_text
from auto_config.bundle_scripts.points.fcsv_files import read_fcsv, write_fcsv
from auto_config.bundle_scripts.points.landmark_files import (
    read_label,
    read_landmark_file,
    read_markups,
    write_markups,
)
from auto_config.bundle_scripts.points.landmarks import (
    ABSENT,
    PRESENT,
    UNKNOWN,
    LandmarkFileError,
    LandmarkSet,
    name_problem,
)

FEW = settings(max_examples=25, deadline=None, derandomize=True)
NAMES = st.text(min_size=1, max_size=12).filter(lambda name: name_problem(name) is None and "\x85" not in name)
SETS = st.dictionaries(
    NAMES,
    st.one_of(st.lists(st.floats(-1e4, 1e4), min_size=3, max_size=3), st.sampled_from(["absent", "unknown"])),
    min_size=1,
    max_size=6,
).map(LandmarkSet.from_inline)
FCSV_HEAD = "# Markups fiducial file version = 4.11\n# CoordinateSystem = {}\n"
FCSV_COLUMNS = "# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID\n"


def markups(points, **node):
    return {"markups": [{"type": "Fiducial", **node, "controlPoints": points}]}


def point(label="tip", position=(1, 2, 3), **more):
    return {"label": label, "position": list(position), **more}


def saved(folder, document, name="case.mrk.json"):
    path = folder / name
    path.write_text(document if isinstance(document, str) else json.dumps(document), encoding="utf-8")
    return path


def fcsv(folder, *lines, system="RAS", columns=FCSV_COLUMNS):
    return saved(folder, FCSV_HEAD.format(system) + columns + "".join(f"{line}\n" for line in lines), "case.fcsv")


@FEW
@given(landmark_set=SETS)
def test_written_files_are_read_back(landmark_set, tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    write_markups(folder / "a.mrk.json", landmark_set)
    assert read_markups(folder / "a.mrk.json") == landmark_set
    write_fcsv(folder / "a.fcsv", landmark_set)
    assert read_fcsv(folder / "a.fcsv") == landmark_set


def test_markups_are_written_as_slicer_reads_them(tmp_path):
    landmark_set = LandmarkSet.from_inline({"a": [1, 2, 3], "b": "absent", "c": "unknown"})
    write_markups(tmp_path / "a.mrk.json", landmark_set, descriptions=["x", "", ""], node_name="list")
    document = json.loads((tmp_path / "a.mrk.json").read_text())
    assert "markups-schema-v1.0" in document["@schema"]
    (node,) = document["markups"]
    assert (node["type"], node["coordinateSystem"], node["coordinateUnits"]) == ("Fiducial", "LPS", "mm")
    assert node["name"] == "list"
    first, second, third = node["controlPoints"]
    assert (first["label"], first["position"], first["description"]) == ("a", [-1.0, -2.0, 3.0], "x")
    assert [item["positionStatus"] for item in (first, second, third)] == ["defined", "missing", "undefined"]
    assert "position" not in second


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        ({}, [-1, -2, 3]),
        ({"coordinateSystem": "LPS"}, [-1, -2, 3]),
        ({"coordinateSystem": "1"}, [-1, -2, 3]),
        ({"coordinateSystem": "RAS"}, [1, 2, 3]),
        ({"coordinateSystem": "0"}, [1, 2, 3]),
        ({"coordinateSystem": 0}, [1, 2, 3]),
        ({"coordinateSystem": "RAS", "coordinateUnits": "mm"}, [1, 2, 3]),
        ({"coordinateSystem": "RAS", "coordinateUnits": ["um", "UCUM", "micrometer"]}, [0.001, 0.002, 0.003]),
        ({"coordinateSystem": "RAS", "coordinateUnits": "cm"}, [10, 20, 30]),
    ],
)
def test_the_markups_file_says_its_system_and_unit(tmp_path, node, expected):
    found = read_markups(saved(tmp_path, markups([point()], **node)))
    np.testing.assert_allclose(found.points, [expected])


def test_position_status(tmp_path):
    states = ["defined", "missing", "undefined", "preview"]
    points = [point(label=state, positionStatus=state) for state in states] + [
        {"label": "e", "positionStatus": "missing"}
    ]
    found = read_markups(saved(tmp_path, markups(points)))
    assert found.status.tolist() == [PRESENT, ABSENT, UNKNOWN, UNKNOWN, ABSENT]


def test_several_nodes_with_their_own_systems_are_one_set(tmp_path):
    document = markups([point("a")], coordinateSystem="RAS")
    document["markups"] += markups([point("b")], coordinateSystem="LPS")["markups"]
    found = read_markups(saved(tmp_path, document))
    assert found.to_inline() == {"a": [1, 2, 3], "b": [-1, -2, 3]}


def test_the_name_is_the_description_only_where_all_labels_are_numbers_and_all_descriptions_differ(tmp_path):
    afids = [point("1", description="AC"), point("2", description="PC")]
    assert read_markups(saved(tmp_path, markups(afids))).names == ("AC", "PC")
    for second in ({"description": ""}, {"description": "AC"}, {"label": "b", "description": "PC"}):
        points = [point("1", description="AC"), {**point("2"), **second}]
        assert read_markups(saved(tmp_path, markups(points))).names == ("1", second.get("label", "2"))
    path = fcsv(tmp_path, "1,1,2,3,0,0,0,1,1,1,0,1,AC,", "2,1,2,4,0,0,0,1,1,1,0,2,PC,", system="0")
    assert read_fcsv(path).to_inline() == {"AC": [1, 2, 3], "PC": [1, 2, 4]}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "JSON object"),
        ({}, "no list 'markups'"),
        ({"markups": 5}, "list of point lists"),
        (markups([point("a"), point("a")]), "'a' occurs more than once"),
        (markups([point("a", (1, 2, float("nan")))]), "landmark 'a' .* not finite"),
        (markups([point("a", (1, 2, float("inf")))]), "landmark 'a' .* not finite"),
        (markups([point("a", (1, 2))]), "landmark 'a' .* three numbers"),
        (markups([{"label": "a"}]), "landmark 'a' .* three numbers"),
        (markups([point("a", positionStatus="maybe")]), "landmark 'a' has positionStatus 'maybe'"),
        (markups([point("")]), "give the landmark a name"),
        (markups([point("$a")]), "rename the landmark"),
        (markups([point()], coordinateSystem="IJK"), "LPS or RAS"),
        (markups([point()], coordinateSystem="world"), "allowed are RAS"),
        (markups([point()], coordinateUnits="pixel"), "coordinateUnits 'pixel'"),
        ({"markups": [{"type": "Model", "controlPoints": []}]}, "type 'Model'.*point list"),
    ],
)
def test_a_wrong_markups_file_gets_one_line_with_file_and_remedy(tmp_path, document, message):
    path = saved(tmp_path, document)
    with pytest.raises(LandmarkFileError, match=message) as caught:
        read_markups(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("system", "expected"), [("0", [1, 2, 3]), ("RAS", [1, 2, 3]), ("1", [-1, -2, 3]), ("LPS", [-1, -2, 3])]
)
def test_the_fcsv_header_says_the_system(tmp_path, system, expected):
    path = fcsv(tmp_path, "id,1,2,3,0,0,0,1,1,1,0,tip,,", system=system)
    assert read_fcsv(path).points.tolist() == [expected]


def test_fcsv_columns_come_from_the_header_and_names_may_be_quoted(tmp_path):
    path = fcsv(tmp_path, '"a, ""b""",3,2,1', columns="# columns = label,z,y,x\n")
    assert read_fcsv(path).to_inline() == {'a, "b"': [1, 2, 3]}


def test_fcsv_of_slicer_5_has_the_status_behind_its_columns(tmp_path):
    lines = [f"{code},1,2,3,0,0,0,1,1,1,0,{name},,,{code},0" for code, name in enumerate("updm")]
    assert read_fcsv(fcsv(tmp_path, *lines)).status.tolist() == [UNKNOWN, UNKNOWN, PRESENT, ABSENT]


SLICER_3 = '#Fiducial List file x\n#numPoints = 2\n#label,x,y,z,sel,vis\nAC,1,2,3,1,1\n"PC, old",-4,5,6,0,1\n\n'
PLASTIMATCH = (
    "# Fiducial List file /tmp/x.fcsv\n# version = 2\n# name = plastimatch-fiducials\n# numPoints = 2\n"
    '# color = 0.4,1,1\n# columns = label,x,y,z,sel,vis\nAC,1,2,3,1,1\n"PC, old",-4,5,6,0,1\n'
)


@pytest.mark.parametrize("text", [SLICER_3, PLASTIMATCH, SLICER_3.replace("#label", "label")])
def test_fcsv_of_slicer_3_names_its_columns_and_is_asked_for_its_system(tmp_path, text):
    path = saved(tmp_path, text, "case.fcsv")
    with pytest.raises(
        LandmarkFileError, match=r"--coordinates ras, lps or voxel .*Slicer 3, BRAINSTools and plastimatch"
    ):
        read_fcsv(path)
    assert read_fcsv(path, system="RAS").to_inline() == {"AC": [1, 2, 3], "PC, old": [-4, 5, 6]}
    assert read_fcsv(path, system="LPS").to_inline() == {"AC": [-1, -2, 3], "PC, old": [4, -5, 6]}
    affine = np.diag([2.0, 2, 2, 1])
    assert read_fcsv(path, system="IJK", image_affine=affine).to_inline()["AC"] == [2, 4, 6]
    # The other remedy that the message names.
    path.write_text("# CoordinateSystem = LPS\n" + text, encoding="utf-8")
    assert read_fcsv(path).to_inline()["AC"] == [-1, -2, 3]
    with pytest.raises(LandmarkFileError, match="says LPS, --coordinates says RAS; leave the option out"):
        read_fcsv(path, system="RAS")


def test_cells_behind_other_columns_than_slicers_are_no_status(tmp_path):
    path = fcsv(tmp_path, "tip,1,2,3,1,1", columns="# columns = label,x,y,z\n")
    with pytest.raises(LandmarkFileError, match="'tip' has 6 cells for 4 columns"):
        read_fcsv(path)


def test_fcsv_in_voxels_needs_the_image(tmp_path):
    path = fcsv(tmp_path, "id,1,2,3,0,0,0,1,1,1,0,tip,,", system="IJK")
    with pytest.raises(LandmarkFileError, match=r"IJK .* needs the image"):
        read_fcsv(path)
    affine = np.array([[0, -2, 0, 5], [1, 0, 0, 0], [0, 0, 3, 0], [0, 0, 0, 1.0]])
    assert read_fcsv(path, image_affine=affine).points.tolist() == [[1, 1, 9]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,1,2,3,0,0,0,1,1,1,0,tip,,\n", "no line '# CoordinateSystem"),
        (FCSV_HEAD.format("RAS") + "id,1,2,x,0,0,0,1,1,1,0,tip,,\n", "landmark 'tip' .* three numbers"),
        (FCSV_HEAD.format("RAS") + "id,1,2,nan,0,0,0,1,1,1,0,tip,,\n", "landmark 'tip' .* not finite"),
        (FCSV_HEAD.format("RAS") + "id,1\n", "2 of 14 columns"),
        (FCSV_HEAD.format("RAS") + "# columns = id,x,y\n", "no 'z', 'label'"),
        (
            FCSV_HEAD.format("RAS") + "a,1,2,3,0,0,0,1,1,1,0,t,,\nb,1,2,3,0,0,0,1,1,1,0,t,,\n",
            "'t' occurs more than once",
        ),
        (FCSV_HEAD.format("RAS") + "a,1,2,3,0,0,0,1,1,1,0,t,,,9,0\n", "landmark 't' has position status '9'"),
    ],
)
def test_a_wrong_fcsv_gets_one_line_with_file_and_remedy(tmp_path, text, message):
    path = saved(tmp_path, text, "case.fcsv")
    with pytest.raises(LandmarkFileError, match=message) as caught:
        read_fcsv(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_2d_point_has_the_first_two_lps_coordinates(tmp_path):
    landmark_set = LandmarkSet.from_inline({"a": [10.5, 20]})
    for path, write in ((tmp_path / "a.mrk.json", write_markups), (tmp_path / "a.fcsv", write_fcsv)):
        write(path, landmark_set)
        assert read_landmark_file(path, spatial_dims=2) == landmark_set
        assert read_landmark_file(path).points.tolist() == [[-10.5, -20, 0]]


def test_read_label_takes_inline_points_and_every_file_in_the_wanted_order(tmp_path):
    inline = {"a": [1.0, 2.0, 3.0], "b": "absent"}
    landmark_set = LandmarkSet.from_inline(inline)
    write_markups(tmp_path / "x.mrk.json", landmark_set)
    write_fcsv(tmp_path / "x.fcsv", landmark_set)
    atomic_write_text(tmp_path / "x.json", json.dumps(inline))
    for label in (inline, tmp_path / "x.mrk.json", str(tmp_path / "x.fcsv"), tmp_path / "x.json"):
        found = read_label(label, ["new", "b", "a"])
        assert found.to_inline() == {"new": "unknown", "b": "absent", "a": [1, 2, 3]}
        assert read_label(label) == landmark_set


def test_read_label_refuses_the_label_of_another_data_set():
    with pytest.raises(LandmarkFileError, match="none of 'AC'"):
        read_label({"tip": [1, 2, 3]}, ["AC"])


def test_files_that_cannot_be_read_are_named(tmp_path):
    for name in ("gone.mrk.json", "gone.fcsv", "gone.txt"):
        with pytest.raises(LandmarkFileError, match=name):
            read_landmark_file(tmp_path / name)
    (tmp_path / "latin.json").write_bytes('{"é": [1, 2, 3]}'.encode("latin-1"))
    with pytest.raises(LandmarkFileError, match="UTF-8"):
        read_landmark_file(tmp_path / "latin.json")


def test_a_name_twice_in_inline_json_is_an_error(tmp_path):
    with pytest.raises(LandmarkFileError, match="'a' occurs more than once"):
        read_landmark_file(saved(tmp_path, '{"a": [1, 2, 3], "a": "absent"}', "x.json"))


def test_byte_order_mark_and_windows_line_ends_are_read(tmp_path):
    text = (FCSV_HEAD.format("RAS") + FCSV_COLUMNS + "i,1,2,3,0,0,0,1,1,1,0,tip,,\n").replace("\n", "\r\n")
    (tmp_path / "a.fcsv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read_fcsv(tmp_path / "a.fcsv").to_inline() == {"tip": [1, 2, 3]}


def test_writing_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    atomic_write_text(tmp_path / "a.txt", "old")

    def fail(_handle):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        atomic_write_text(tmp_path / "a.txt", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def node(kind, points, **more):
    return {"type": kind, "controlPoints": points, **more}


@pytest.mark.parametrize(
    ("nodes", "names"),
    [
        ([node("Line", [point("L-1"), point("L-2")], name="TCD")], ["TCD 1", "TCD 2"]),
        ([node("Line", [point("TCD-1"), point("TCD-2")], name="TCD")], ["TCD 1", "TCD 2"]),
        ([node("Line", [point("near"), point("")], name="TCD")], ["near", "TCD 2"]),
        ([node("Line", [point(""), point("2")])], ["Line 1", "Line 2"]),
        ([node("Angle", [point("a"), point("b"), point("c")])], ["a", "b", "c"]),
        ([node("ClosedCurve", [point("OC-1"), point("OC-2"), point("OC-3")], name="rim")], ["rim 1", "rim 2", "rim 3"]),
        ([node("Plane", [point("P-1")], name="midsagittal")], ["midsagittal"]),
        ([node("Fiducial", [point("F-1")]), node("Curve", [point("C_1-1")], name="arch")], ["F-1", "arch"]),
    ],
)
def test_points_of_other_markups_are_called_by_their_markup(tmp_path, nodes, names):
    assert list(read_markups(saved(tmp_path, {"markups": nodes})).names) == names


def test_a_region_of_interest_is_its_centre(tmp_path):
    roi = node("ROI", [point("R-1", (9, 9, 9))], name="box", center=[1, 2, 3], coordinateSystem="LPS")
    assert read_markups(saved(tmp_path, {"markups": [roi]})).to_inline() == {"box": [-1, -2, 3]}
    centimetres = roi | {"coordinateUnits": "cm", "coordinateSystem": "RAS"}
    assert read_markups(saved(tmp_path, {"markups": [centimetres]})).to_inline() == {"box": [10, 20, 30]}


def test_two_lines_without_name_are_an_error(tmp_path):
    lines = [node("Line", [point("L-1"), point("L-2")]), node("Line", [point("L_1-1"), point("L_1-2")])]
    with pytest.raises(LandmarkFileError, match="'Line 1' occurs more than once"):
        read_markups(saved(tmp_path, {"markups": lines}))


def test_wanted_names_choose_between_labels_and_descriptions(tmp_path):
    path = tmp_path / "a.mrk.json"
    numbered = LandmarkSet.from_inline({"1": [1, 2, 3], "2": [4, 5, 6], "3": [7, 8, 9]})
    write_markups(path, numbered, descriptions=["AC", "PC", ""])
    # The file alone says numbers, because a description is empty.
    assert read_landmark_file(path).names == ("1", "2", "3")
    found = read_label(path, ["PC", "AC"])
    np.testing.assert_array_equal(found.points, [[4, 5, 6], [1, 2, 3]])
    np.testing.assert_array_equal(read_label(path, ["3", "1"]).points, [[7, 8, 9], [1, 2, 3]])
    write_markups(path, LandmarkSet.from_inline({"1": [1, 2, 3], "2": [4, 5, 6]}), descriptions=["AC", "PC"])
    # The file alone says words; a bundle whose landmarks are numbers wants the labels.
    assert read_landmark_file(path).names == ("AC", "PC")
    np.testing.assert_array_equal(read_label(path, ["2"]).points, [[4, 5, 6]])
    words = LandmarkSet.from_inline({"first": [1, 2, 3], "second": [4, 5, 6]})
    write_markups(path, words, descriptions=["AC", "PC"])
    np.testing.assert_array_equal(read_label(path, ["PC"]).points, [[4, 5, 6]])
    with pytest.raises(LandmarkFileError, match="but none of"):
        read_label(path, ["neither"])
