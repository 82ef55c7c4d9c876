"""The panel of the module for Slicer with stand-ins: an image of a server from connecting to training."""

import importlib
import json
from pathlib import Path

import numpy as np
from LandmarkBundlesLib.landmarks import DEFINED, MISSING, UNDEFINED, Landmark, read_markups
from slicer_stand_ins import SHIFTS, FakeServer, Node, Volume


def panel():
    widget = importlib.import_module("LandmarkBundles").LandmarkBundlesWidget()
    widget.setup()
    return widget


def test_the_panel_works_through_an_image(slicer, address):
    widget = panel()
    server, points = widget.server, widget.points
    assert server.nextButton.enabled is False
    widget.attempt(server.onNext)
    assert "press Connect" in slicer.util.errorDisplay.call_args.args[0]
    server.addressEdit.text, server.tokenEdit.text = address, ""
    widget.attempt(server.onConnect)
    assert server.bundleBox.texts == ["head"]
    assert "epoch 1/2" in server.statusLabel.text
    server.timer.start.assert_called()
    assert (server.nextButton.enabled, server.inferButton.enabled) == (True, False)
    widget.attempt(server.onNext)
    assert server.imageLabel.text == "case 1"
    assert slicer.util.loadVolume.call_args.args[0].endswith("case 1.nii.gz")
    assert [row[:2] for row in points.node.rows] == [["AC", 0], ["nose Tip", 0]]
    assert points.atlasLabel.text == "AC: anterior commissure"
    widget.attempt(server.onInfer)
    assert [row[:2] for row in points.node.rows] == [["AC", Node.PositionDefined], ["nose Tip", 0]]
    assert "check</b>: look at the points<br>- the shape does not fit<br>not judged: views" in points.verdictLabel.text
    points.node.rows[0][2] = np.array([4.0, 5.0, 6.0])  # a person drags it, in RAS
    widget.attempt(points.onNextOpen)
    assert (points.landmarkBox.currentIndex, points.node.placed_next) == (1, 1)
    assert points.atlasLabel.text == ""
    slicer.modules.markups.logic().StartPlaceMode.assert_called_once()
    widget.attempt(points.onMissing)
    widget.attempt(points.onNextOpen)
    assert "every landmark is placed" in slicer.util.errorDisplay.call_args.args[0]
    widget.attempt(server.onSubmit)
    assert FakeServer.asked[-1][:2] == ("PUT", "/datastore/label?image=case%201&tag=final")
    assert sent_landmarks() == [Landmark("AC", DEFINED, (-4.0, -5.0, 6.0)), Landmark("nose Tip", MISSING)]
    server.epochsBox.value, server.continueBox.checked = 5, False
    widget.attempt(server.onTrain)
    assert json.loads(FakeServer.asked[-2][3]) == {"pretrained": False, "max_epochs": 5}
    slicer.util.errorDisplay.reset_mock()
    points.node.rows[0][0] = "typed wrongly"
    widget.attempt(server.onSubmit)
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
    widget = panel()
    server, points = widget.server, widget.points
    server.addressEdit.text, server.tokenEdit.text = address, ""
    for step in (server.onConnect, server.onNext, server.onInfer, points.onAnother):
        widget.attempt(step)
    assert not slicer.util.errorDisplay.called
    assert points.landmarkBox.texts == ["AC (1)", "AC (2)", "nose Tip"]
    assert (points.landmarkBox.currentIndex, points.node.placed_next) == (1, 1)
    assert "look at the points" in points.verdictLabel.text
    points.node.rows[1][1:] = [Node.PositionDefined, np.array([4.0, 5.0, 6.0])]  # a person clicks, in RAS
    widget.attempt(server.onSubmit)
    first, second, nose = sent_landmarks()
    assert [(point.name, point.position) for point in (first, second)] == [
        ("AC", (-1.0, -2.0, 3.0)),
        ("AC", (-4.0, -5.0, 6.0)),
    ]
    assert nose.status == UNDEFINED
    points.landmarkBox.setCurrentIndex(2)
    widget.attempt(points.onAnother)
    assert "an image has one 'nose Tip'" in slicer.util.errorDisplay.call_args.args[0]
    widget.cleanup()


def test_the_self_test_of_the_module(slicer, monkeypatch, tmp_path):
    """With stand-ins; with the real ones it runs in Slicer."""
    module = importlib.import_module("LandmarkBundles")
    moved = {}
    slicer.util.addVolumeFromArray = lambda voxels, affine: Volume("v", voxels.T, affine)
    slicer.util.arrayFromVolume = lambda volume: volume.voxels.T
    slicer.util.loadVolume = lambda path: moved["written"]
    slicer.mrmlScene.AddNewNodeByClass.return_value.GetID = lambda: "shift"
    slicer.util.arrayFromTransformMatrix = lambda node: np.eye(4)
    slicer.util.updateTransformMatrixFromArray = lambda node, matrix: moved.update(matrix=matrix)
    write = module.Scene.write_volume
    monkeypatch.setattr(
        module.Scene, "write_volume", staticmethod(lambda v, file: (moved.update(written=v), write(v, file)))
    )
    slicer.util.startupEnvironment = lambda: {"PATH": str(tmp_path)}  # no program: the last test says so
    tests = module.LandmarkBundlesTest("runTest")
    tests.runTest()
    assert tuple(moved["matrix"][:3, 3]) == SHIFTS["shift"]
    said = [call.args[0] for call in tests.delayDisplay.call_args_list]
    assert len(said) == 5
    assert said[-1].startswith("Not tested: no auto_config on the search path")
