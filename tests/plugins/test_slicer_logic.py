"""The module for Slicer without Slicer: its files of points and its requests."""

import ast
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from LandmarkBundlesLib.landmarks import (
    DEFINED,
    MISSING,
    UNDEFINED,
    Landmark,
    MarkupsError,
    check,
    complete,
    from_answer,
    read_markups,
    titles,
    write_markups,
)
from LandmarkBundlesLib.logic import Bundle, LandmarkServer, Sample, ServerError, describe, multipart
from LandmarkBundlesLib.verdicts import Verdict
from slicer_stand_ins import FakeServer

from auto_config.bundle_scripts.points import landmark_files
from auto_config.bundle_scripts.points.landmarks import ABSENT, PRESENT, UNKNOWN

MODULE = Path(__file__).parents[2] / "plugins" / "slicer" / "LandmarkBundles"
NAMES = ("AC", "Größe, 1", "nose Tip")
POINTS = [
    Landmark("AC", DEFINED, (1.5, -2.25, 3.125), "seen"),
    Landmark("Größe, 1", MISSING),
    Landmark("nose Tip", UNDEFINED),
]
NUMBERS = st.floats(-1e4, 1e4)


@given(st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS), max_size=5))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_points_come_back(positions):
    points = [Landmark(f"L {i}", DEFINED, position) for i, position in enumerate(positions)]
    assert read_markups(write_markups(points)) == points


def test_the_files_are_those_of_the_server(tmp_path):
    file = tmp_path / "x.mrk.json"
    file.write_text(write_markups(POINTS), encoding="utf-8")
    read = landmark_files.read_markups(file)
    assert read.names == NAMES
    assert read.status.tolist() == [PRESENT, ABSENT, UNKNOWN]
    assert read.points[0].tolist() == [-1.5, 2.25, 3.125]
    landmark_files.write_markups(file, read)
    again = read_markups(file.read_text(encoding="utf-8"))
    assert [(p.name, p.status, p.position) for p in again] == [(p.name, p.status, p.position) for p in POINTS]


def test_the_answers_of_the_server_are_ras():
    answer = [
        {"name": "AC", "world": [1.0, 2.0, 3.0], "present": True, "confidence": 0.876},
        {"name": "PC", "world": [9.0, 9.0, 9.0], "present": False, "confidence": None},
    ]
    assert from_answer(answer) == [
        Landmark("AC", DEFINED, (-1.0, -2.0, 3.0), "confidence 0.88"),
        Landmark("PC", MISSING),
    ]


@pytest.mark.parametrize(("system", "expected"), [("LPS", (1, 2, 3)), ("RAS", (-1, -2, 3)), ("0", (-1, -2, 3))])
def test_coordinate_systems(system, expected):
    node = {"type": "Fiducial", "coordinateSystem": system, "controlPoints": [{"label": "A", "position": [1, 2, 3]}]}
    assert read_markups(json.dumps({"markups": [node]}))[0].position == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "no markups file"),
        ("[]", "no markups file"),
        ('{"markups": [{"coordinateSystem": "IJK"}]}', "coordinate system IJK"),
        ('{"markups": [{"coordinateUnits": "m"}]}', "in m; save them in mm"),
        ('{"markups": [{"controlPoints": [{"label": "A"}]}]}', "'A' has no position"),
        ('{"markups": [{"controlPoints": [{"label": "A", "position": [1, 2]}]}]}', "three numbers"),
        ('{"markups": [{"controlPoints": [{"label": "A", "position": [1, 2, NaN]}]}]}', "not finite"),
    ],
)
def test_files_that_are_none(text, said):
    with pytest.raises(MarkupsError, match=said):
        read_markups(text)


def test_what_is_sent_is_checked():
    check(POINTS, NAMES)
    with pytest.raises(MarkupsError, match="'AC' is no landmark of this bundle; rename the point to one of PC"):
        check(POINTS, ("PC",))
    with pytest.raises(MarkupsError, match="'AC' occurs 2 times"):
        check([POINTS[0], POINTS[0]], NAMES)
    with pytest.raises(MarkupsError, match="no landmark is placed"):
        check([POINTS[2]], NAMES)
    assert complete([POINTS[1]], NAMES) == [Landmark("AC"), POINTS[1], Landmark("nose Tip")]


def test_an_image_may_have_any_number_of_a_landmark():
    many = [Landmark("AC", DEFINED, (1.0, 2.0, 3.0)), POINTS[1], Landmark("AC", DEFINED, (4.0, 5.0, 6.0))]
    check(many, NAMES, many=("AC",))
    assert complete(many, NAMES) == [many[0], many[2], many[1], Landmark("nose Tip")]
    assert titles(complete(many, NAMES)) == ["AC (1)", "AC (2)", "Größe, 1", "nose Tip"]
    assert read_markups(write_markups(many)) == many


def test_a_training_in_words():
    assert describe(None) == "No training yet"
    stats = {"epoch": 3, "max_epochs": 50, "loss": 0.25, "mre_mm": 1.5, "best_mre_mm": 1.25, "seconds_left": 120}
    line = describe({"status": "RUNNING", "stats": stats, "details": ["x"]})
    assert line == "Running, epoch 3/50, loss 0.2500, error 1.50 mm, best 1.25 mm, 2 min left"
    assert describe({"status": "ERROR", "stats": {"error": "no label"}}) == "Error, no label"
    assert describe({"status": "DONE", "details": ["a", "the end"]}) == "Done, the end"


def test_requests(address, tmp_path):
    server = LandmarkServer(address + "/", token="a secret")
    (bundle,) = server.bundles()
    assert (bundle.name, bundle.landmarks, bundle.trained) == ("head", ("AC", "nose Tip"), True)
    assert FakeServer.asked[-1][2]["Authorization"] == "Bearer a secret"
    assert server.strategies() == ["random"]
    assert server.next_sample("first") is None
    sample = server.next_sample()
    assert sample == Sample("case 1", "/nowhere/case 1.nii.gz", "case 1.nii.gz")
    assert server.download(sample, tmp_path).read_bytes() == b"voxels"
    here = Sample("case 1", str(tmp_path / "case 1.nii.gz"), "case 1.nii.gz")
    assert server.download(here, "/nowhere") == tmp_path / "case 1.nii.gz"
    assert server.infer("head", "case 1") == [Landmark("AC", DEFINED, (-1.0, -2.0, 3.0), "confidence 0.50")]
    assert server.find("head", "case 1")[1] == Verdict("check", ("the shape does not fit",), ("views",))
    assert bundle.atlas["AC"].definition == "anterior commissure"
    server.submit("case 1", POINTS, Bundle("head", NAMES, True))
    method, _, headers, body = FakeServer.asked[-1]
    assert (method, headers["Content-Type"].partition(";")[0]) == ("PUT", "multipart/form-data")
    assert b'name="label"; filename="landmarks.mrk.json"' in body
    assert write_markups(POINTS).encode() in body
    server.train("head", max_epochs=7)
    assert json.loads(FakeServer.asked[-1][3]) == {"pretrained": True, "max_epochs": 7}
    assert server.training()["status"] == "RUNNING"
    server.stop_training()
    assert FakeServer.asked[-1][:2] == ("DELETE", "/train/")


def test_failures_are_one_line(address):
    server = LandmarkServer(address)
    with pytest.raises(ServerError, match="bundle 'new' has no weights yet") as refused:
        server.infer("new", "case 1")
    assert refused.value.status == 409
    with pytest.raises(MarkupsError):
        server.submit("case 1", POINTS, Bundle("head", ("PC",), True))
    assert FakeServer.asked[-1][0] == "POST"  # nothing was sent
    with pytest.raises(ServerError, match="is the server running"):
        LandmarkServer("http://127.0.0.1:1", timeout=2).bundles()
    for wrong in ("", "localhost:8000", "file:///etc/passwd"):
        with pytest.raises(ServerError, match="is no address"):
            LandmarkServer(wrong)


def test_a_form_is_read_as_it_was_written(tmp_path):
    from email import message_from_bytes

    file = tmp_path / "a.bin"
    file.write_bytes(bytes(range(256)))
    body, kind = multipart({"params": "{}"}, {"label": file})
    parts = message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode() + body).get_payload()
    assert parts[0].get_payload(decode=True) == b"{}"
    assert parts[1].get_payload(decode=True) == bytes(range(256))


def test_all_files_are_in_the_extension():
    listed = (MODULE / "CMakeLists.txt").read_text().replace("${MODULE_NAME}", "LandmarkBundles")
    files = {str(path.relative_to(MODULE)) for path in MODULE.rglob("*") if path.suffix in (".py", ".png")}
    assert "LandmarkBundlesPanels/local_section.py" in files
    assert files == {line.strip() for line in listed.splitlines() if line.strip().endswith((".py", ".png"))}


def test_the_module_is_written_for_the_python_of_its_oldest_slicer():
    for path in sorted(MODULE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        new = [call for call in calls if ast.unparse(call.func) == "zip" and "strict" in {k.arg for k in call.keywords}]
        assert not new, path


def test_the_logic_knows_no_slicer():
    for path in sorted((MODULE / "LandmarkBundlesLib").glob("*.py")):
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        named = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
        named += [str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)]
        assert not {name.split(".")[0] for name in named} & {"slicer", "qt", "ctk", "vtk", "LandmarkBundlesPanels"}, (
            path
        )


def test_the_icon_is_a_picture():
    assert (MODULE / "Resources/Icons/LandmarkBundles.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
