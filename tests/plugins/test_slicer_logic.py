"""The module for Slicer without Slicer: its files of points, its requests, and its panel with stand-ins."""

import importlib
import json
import sys
import threading
import types
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
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


class FakeServer(BaseHTTPRequestHandler):
    """Answers as the app does, and keeps what it was asked."""

    asked: list = []  # noqa: RUF012  filled by the instances that http.server makes
    training = {"status": "RUNNING", "stats": {"epoch": 1, "max_epochs": 2}}  # noqa: RUF012
    many: list = []  # noqa: RUF012

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.asked.append((self.command, self.path, dict(self.headers), body))
        labels = {"nose Tip": 2, "AC": 1}
        known = {
            "/info/": {
                "bundles": {"head": {"trained": True}, "gone": {"trained": False}},
                "models": {"head_points": {"labels": labels, "many": self.many}},
                "strategies": {"random": {}},
            },
            "/activelearning/random": {"id": "case 1", "path": "/nowhere/case 1.nii.gz"},
            "/activelearning/first": {},
            "/infer/head_points?image=case%201&output=json": {
                "landmarks": [{"name": "AC", "world": [1, 2, 3], "present": True, "confidence": 0.5}]
            },
            "/datastore/label?image=case%201&tag=final": {},
            "/train/head": {},
            "/train/": self.training,
        }
        if self.path.startswith("/datastore/image?"):
            self.reply(200, b"voxels")
        elif self.path in known:
            self.reply(200, json.dumps(known[self.path]).encode())
        else:
            self.reply(409, json.dumps({"error": "bundle 'new' has no weights yet"}).encode())

    do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815

    def reply(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_words) -> None:
        """Nothing on the screen."""


@pytest.fixture
def address():
    FakeServer.asked.clear()
    http = ThreadingHTTPServer(("127.0.0.1", 0), FakeServer)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{http.server_port}"
    http.shutdown()
    http.server_close()


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


class Node:
    """A point list of Slicer, as far as the module asks it; RAS."""

    PositionUndefined, PositionPreview, PositionDefined, PositionMissing = range(4)

    def __init__(self, landmarks):
        states = {DEFINED: self.PositionDefined, MISSING: self.PositionMissing, UNDEFINED: self.PositionUndefined}
        self.rows = [[p.name, states[p.status], np.array(p.position or (0, 0, 0)) * [-1, -1, 1]] for p in landmarks]

    def GetNumberOfControlPoints(self):  # noqa: N802
        return len(self.rows)

    def GetNthControlPointLabel(self, index):  # noqa: N802
        return self.rows[index][0]

    def GetNthControlPointPositionStatus(self, index):  # noqa: N802
        return self.rows[index][1]

    def GetNthControlPointPositionWorld(self, index, position):  # noqa: N802
        position[:] = self.rows[index][2]

    def GetID(self):  # noqa: N802
        return "vtkMRMLMarkupsFiducialNode1"

    def UnsetNthControlPointPosition(self, index):  # noqa: N802
        self.rows[index][1] = self.PositionUndefined

    def SetControlPointPlacementStartIndex(self, index):  # noqa: N802
        self.placed_next = index

    def SetNthControlPointPositionMissing(self, index):  # noqa: N802
        self.rows[index][1] = self.PositionMissing


class Box(MagicMock):
    """A combo box."""

    def __init__(self, *_args, **_kwargs):
        super().__init__()
        self.texts, self.currentIndex = [], 0

    @property
    def currentText(self):  # noqa: N802
        return self.texts[self.currentIndex] if self.texts else ""

    def addItems(self, texts):  # noqa: N802
        self.texts.extend(texts)

    def clear(self):
        self.texts, self.currentIndex = [], 0

    def setCurrentIndex(self, index):  # noqa: N802
        self.currentIndex = index

    def _get_child_mock(self, **kwargs):
        return MagicMock(**kwargs)


@pytest.fixture
def slicer(monkeypatch):
    """Slicer's modules, as far as the panel needs them."""

    class Base:
        def __init__(self, parent=None):
            self.parent, self.layout = parent, MagicMock()

        def setup(self):
            pass

    scripted = types.ModuleType("slicer.ScriptedLoadableModule")
    for name in ("", "Logic", "Test", "Widget"):
        setattr(scripted, f"ScriptedLoadableModule{name}", type(name, (Base,), {}))
    fake, qt = MagicMock(), MagicMock()
    fake.util.loadMarkups = lambda path: Node(read_markups(Path(path).read_text(encoding="utf-8")))
    qt.QComboBox = Box
    for name in ("QLineEdit", "QLabel", "QSpinBox", "QCheckBox", "QPushButton"):
        getattr(qt, name).side_effect = lambda *_: MagicMock(text="")
    modules = {"slicer": fake, "slicer.ScriptedLoadableModule": scripted, "qt": qt, "ctk": MagicMock()}
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delitem(sys.modules, "LandmarkBundles", raising=False)
    yield fake
    sys.modules.pop("LandmarkBundles", None)


def test_the_panel_works_through_an_image(slicer, address):
    module = importlib.import_module("LandmarkBundles")
    widget = module.LandmarkBundlesWidget()
    widget.setup()
    assert widget.nextButton.enabled is False
    widget.attempt(widget.onNext)
    assert "press Connect" in slicer.util.errorDisplay.call_args.args[0]
    widget.addressEdit.text, widget.tokenEdit.text = address, ""
    widget.attempt(widget.onConnect)
    assert widget.bundleBox.texts == ["head"]
    assert "epoch 1/2" in widget.statusLabel.text
    widget.timer.start.assert_called()
    assert (widget.nextButton.enabled, widget.inferButton.enabled) == (True, False)
    widget.attempt(widget.onNext)
    assert widget.imageLabel.text == "case 1"
    assert slicer.util.loadVolume.call_args.args[0].endswith("case 1.nii.gz")
    assert [row[:2] for row in widget.points.rows] == [["AC", 0], ["nose Tip", 0]]
    widget.attempt(widget.onInfer)
    assert [row[:2] for row in widget.points.rows] == [["AC", Node.PositionDefined], ["nose Tip", 0]]
    widget.points.rows[0][2] = np.array([4.0, 5.0, 6.0])  # a person drags it, in RAS
    widget.landmarkBox.setCurrentIndex(1)
    widget.attempt(widget.onPlace)
    assert widget.points.placed_next == 1
    slicer.modules.markups.logic().StartPlaceMode.assert_called_once()
    widget.attempt(widget.onMissing)
    widget.attempt(widget.onSubmit)
    sent = FakeServer.asked[-1]
    assert sent[:2] == ("PUT", "/datastore/label?image=case%201&tag=final")
    text = sent[3][sent[3].index(b"\r\n\r\n", sent[3].index(b"landmarks.mrk.json")) + 4 :].partition(b"\r\n--")[0]
    assert read_markups(text.decode()) == [Landmark("AC", DEFINED, (-4.0, -5.0, 6.0)), Landmark("nose Tip", MISSING)]
    widget.epochsBox.value, widget.continueBox.checked = 5, False
    widget.attempt(widget.onTrain)
    assert json.loads(FakeServer.asked[-2][3]) == {"pretrained": False, "max_epochs": 5}
    slicer.util.errorDisplay.reset_mock()
    widget.points.rows[0][0] = "typed wrongly"
    widget.attempt(widget.onSubmit)
    assert "'typed wrongly' is no landmark" in slicer.util.errorDisplay.call_args.args[0]
    folder = Path(widget.logic.folder.name)
    widget.cleanup()
    assert not folder.exists()


def sent_landmarks():
    """The points of the label that was sent last."""
    body = next(body for method, _, _, body in reversed(FakeServer.asked) if method == "PUT")
    text = body[body.index(b"\r\n\r\n", body.index(b"landmarks.mrk.json")) + 4 :].partition(b"\r\n--")[0]
    return read_markups(text.decode())


def test_the_panel_adds_one_more_where_there_may_be_many(slicer, address, monkeypatch):
    monkeypatch.setattr(FakeServer, "many", ["AC"])
    widget = importlib.import_module("LandmarkBundles").LandmarkBundlesWidget()
    widget.setup()
    widget.addressEdit.text, widget.tokenEdit.text = address, ""
    for step in (widget.onConnect, widget.onNext, widget.onInfer, widget.onAnother):
        widget.attempt(step)
    assert not slicer.util.errorDisplay.called
    assert widget.landmarkBox.texts == ["AC (1)", "AC (2)", "nose Tip"]
    assert (widget.landmarkBox.currentIndex, widget.points.placed_next) == (1, 1)
    widget.points.rows[1][1:] = [Node.PositionDefined, np.array([4.0, 5.0, 6.0])]  # a person clicks, in RAS
    widget.attempt(widget.onSubmit)
    first, second, nose = sent_landmarks()
    assert [(point.name, point.position) for point in (first, second)] == [
        ("AC", (-1.0, -2.0, 3.0)),
        ("AC", (-4.0, -5.0, 6.0)),
    ]
    assert nose.status == UNDEFINED
    widget.landmarkBox.setCurrentIndex(2)
    widget.attempt(widget.onAnother)
    assert "an image has one 'nose Tip'" in slicer.util.errorDisplay.call_args.args[0]
    widget.cleanup()


def test_all_files_are_in_the_extension():
    listed = (MODULE / "CMakeLists.txt").read_text().replace("${MODULE_NAME}", "LandmarkBundles")
    files = [path.relative_to(MODULE) for path in MODULE.rglob("*") if path.suffix in (".py", ".png")]
    assert len(files) == 5
    assert all(str(file) in listed for file in files)


def test_the_icon_is_a_picture():
    assert (MODULE / "Resources/Icons/LandmarkBundles.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
