"""The section "On this computer" of the module for Slicer, with stand-ins and a quick program in place of ours."""

import importlib
import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from LandmarkBundlesLib.landmarks import DEFINED, MISSING, Landmark, read_markups
from slicer_stand_ins import Node, Settings, Volume, write_nrrd

# Takes the words of `auto_config predict` and writes its files: AC at the first voxel of the volume, PC missing. With
# --fixed the points come out as given, and a landmark that is not among them is at 1, 1, 1.
PROGRAM = """#!{python}
import json, sys, time
from pathlib import Path
words = sys.argv[1:]
mode = (Path(__file__).parent / "mode").read_text()
if mode == "slow":
    print("warning: this takes long", flush=True)
    time.sleep(600)
if mode == "fails":
    print("predict 0/1")
    sys.exit(f"error: {{words[2]}}: has the same grey value everywhere; replace the image")
assert words[0] == "predict" and "--overwrite" in words, words
image, results = Path(words[2]), Path(words[3])
head = image.read_bytes().split(b"\\n\\n")[0].decode()
origin = [float(x) for x in head.partition("space origin: (")[2].partition(")")[0].split(",")]
points = {{"AC": {{"position": origin, "positionStatus": "defined"}}, "PC": {{"positionStatus": "missing"}}}}
if "--fixed" in words:
    given = json.loads(Path(words[words.index("--fixed") + 1]).read_text())["markups"][0]["controlPoints"]
    points = {{name: {{"position": [1, 1, 1], "positionStatus": "defined"}} for name in points}}
    points.update({{point["label"]: point for point in given}})
results.mkdir()
rows = [{{**points[name], "label": name, "description": "confidence 0.90"}} for name in ("AC", "PC")]
node = {{"type": "Fiducial", "coordinateSystem": "LPS", "controlPoints": rows}}
(results / "case.mrk.json").write_text(json.dumps({{"markups": [node]}}))
verdict = {{"verdict": "check", "reasons": ["grey values are unusual"]}}
(results / "run.json").write_text(json.dumps({{"verdicts": {{"case": verdict}}}}))
if "--regions" in words:
    (results / "case.regions.nii.gz").write_bytes(b"")
(Path(__file__).parent / "words").write_text(json.dumps(words))
"""
AFFINE = np.array([[2.0, 0, 0, -7], [0, 2, 0, -8], [0, 0, 2, 9], [0, 0, 0, 1]])  # origin in LPS: 7, 8, 9


@pytest.fixture
def place(tmp_path):
    """A folder with a program, two bundles, one of them broken, and a scan."""
    program = tmp_path / "bin" / "auto_config"
    program.parent.mkdir()
    program.write_text(PROGRAM.format(python=sys.executable))
    program.chmod(0o755)
    (program.parent / "mode").write_text("works")
    bundle = tmp_path / "bundles" / "skull"
    (bundle / "configs").mkdir(parents=True)
    (tmp_path / "bundles" / "broken" / "configs").mkdir(parents=True)
    image = {"modality": "CT", "num_channels": 1}
    names = [{"name": "AC", "description": "anterior commissure"}, {"name": "PC"}]
    for name, document in {
        "metadata": {"name": "skull", "network_data_format": {"inputs": {"image": image}}},
        "inference": {},
        "landmarks": {"spatial_dims": 3, "landmarks": names},
    }.items():
        (bundle / "configs" / f"{name}.json").write_text(json.dumps(document))
    (bundle / "models").mkdir()
    for name in ("model.pt", "calibration.json"):
        (bundle / "models" / name).write_bytes(b"")
    (tmp_path / "scans").mkdir()
    write_nrrd(tmp_path / "scans" / "anna.nrrd", np.zeros((4, 4, 4)), AFFINE)
    return tmp_path


def panel(place, **volume):
    widget = importlib.import_module("LandmarkBundles").LandmarkBundlesWidget()
    widget.setup()
    local = widget.local
    local.programEdit.text = str(place / "bin" / "auto_config")
    local.folderEdit.currentPath = str(place / "bundles")
    local.read_folder()
    local.volumeBox.node = Volume("anna", np.zeros((4, 4, 4)), AFFINE, file=place / "scans" / "anna.nrrd", **volume)
    local.bundleBox.setCurrentIndex(local.bundleBox.texts.index("skull"))
    local.show_bundle()
    return widget, local


def wait(local):
    """Until the prediction has ended, as the timer would."""
    end = time.monotonic() + 120
    while local.run is not None:
        assert time.monotonic() < end
        local.onPoll()
        time.sleep(0.02)


def test_predict_repair_save(slicer, place):
    widget, local = panel(place)
    points = widget.points
    assert local.bundleBox.texts == ["broken (cannot be used)", "skull"]
    assert local.bundleLabel.text == "2 landmarks, CT: AC, PC"
    assert Settings.kept["LandmarkBundles/bundleFolder"] == str(place / "bundles")
    local.regionsBox.checked = True
    widget.attempt(local.onPredict)
    folder = local.folder
    assert local.statusLabel.text.startswith("Predicting")
    assert (local.predictButton.enabled, local.cancelButton.enabled) == (False, True)
    widget.attempt(local.onPredict)
    assert "a prediction runs" in slicer.util.errorDisplay.call_args.args[0]
    wait(local)
    assert local.statusLabel.text == "Done"
    assert not folder.exists()
    assert [row[:2] for row in points.node.rows] == [["AC", Node.PositionDefined], ["PC", Node.PositionMissing]]
    assert points.landmarks() == [Landmark("AC", DEFINED, (7.0, 8.0, 9.0)), Landmark("PC", MISSING)]
    assert "check</b>: look at the points<br>- grey values are unusual" in points.verdictLabel.text
    assert points.atlasLabel.text == "AC: anterior commissure"
    assert Path(slicer.util.loadSegmentation.call_args.args[0]).name == "case.regions.nii.gz"
    widget.attempt(local.onRepair)
    assert "no point was moved" in slicer.util.errorDisplay.call_args.args[0]
    points.node.rows[0][2] = np.array([-70.0, -80.0, 90.0])  # a person drags AC, in RAS
    widget.attempt(local.onRepair)
    wait(local)
    words = json.loads((place / "bin" / "words").read_text())
    assert words[1] == str(place / "bundles" / "skull")
    assert points.landmarks() == [Landmark("AC", DEFINED, (70.0, 80.0, 90.0)), Landmark("PC", DEFINED, (1.0, 1.0, 1.0))]
    points.node.rows[1][2] = np.array([-2.0, -2.0, 2.0])  # PC too; AC stays what the person said
    widget.attempt(local.onRepair)
    wait(local)
    assert points.landmarks() == [Landmark("AC", DEFINED, (70.0, 80.0, 90.0)), Landmark("PC", DEFINED, (2.0, 2.0, 2.0))]
    widget.attempt(local.onSave)
    label = place / "scans" / "landmarks" / "anna.mrk.json"
    assert [p.position for p in read_markups(label.read_text())] == [(70.0, 80.0, 90.0), (2.0, 2.0, 2.0)]
    assert local.statusLabel.text == f"Saved as {label}."
    slicer.util.confirmYesNoDisplay.return_value = False
    points.node.rows[1][1] = Node.PositionMissing
    widget.attempt(local.onSave)
    assert len([p for p in read_markups(label.read_text()) if p.status == DEFINED]) == 2  # not replaced
    widget.cleanup()


def test_a_volume_under_a_transform(slicer, place):
    widget, local = panel(place, parent="shift")
    widget.attempt(local.onPredict)
    wait(local)
    ac = widget.points.landmarks()[0]
    assert ac.position == (7.0, 8.0, 9.0)  # in the scanner's frame, which the label has
    world = widget.logic.landmarks(widget.points.node)[0]
    assert world.position == (7.0 - 10, 8.0 - 20, 9.0 + 30)  # on the screen
    widget.attempt(local.onRepair)
    assert "no point was moved" in slicer.util.errorDisplay.call_args.args[0]
    widget.attempt(local.onSave)
    (saved,) = [p for p in read_markups((place / "scans/landmarks/anna.mrk.json").read_text()) if p.status == DEFINED]
    assert saved.position == (7.0, 8.0, 9.0)
    widget.cleanup()


def test_failures_are_lines_and_nothing_is_left(slicer, place):
    widget, local = panel(place)
    (place / "bin" / "mode").write_text("fails")
    widget.attempt(local.onPredict)
    folder = local.folder
    wait(local)
    assert local.statusLabel.text == "anna: has the same grey value everywhere; replace the image"
    assert slicer.util.errorDisplay.call_args.args[0] == local.statusLabel.text
    assert not folder.exists()
    assert widget.points.node is None
    local.programEdit.text = str(place / "gone")
    widget.attempt(local.onPredict)
    assert "is not there; give the folder of an environment" in slicer.util.errorDisplay.call_args.args[0]
    (place / "text").write_text("no program")
    local.programEdit.text = str(place / "text")
    widget.attempt(local.onPredict)
    assert "cannot be started" in slicer.util.errorDisplay.call_args.args[0]
    local.programEdit.text = str(place / "bin" / "auto_config")
    (place / "bundles" / "skull" / "models" / "calibration.json").unlink()
    local.read_folder()
    local.regionsBox.checked = True
    widget.attempt(local.onPredict)
    assert "is not calibrated, so it has no regions" in slicer.util.errorDisplay.call_args.args[0]
    local.regionsBox.checked = False
    local.volumeBox.node.components = 3
    local.programEdit.text = str(place / "bin" / "auto_config")
    widget.attempt(local.onPredict)
    assert "has colours" in slicer.util.errorDisplay.call_args.args[0]
    assert (local.run, local.folder) == (None, None)
    local.volumeBox.node = None
    widget.attempt(local.onPredict)
    assert "no volume is chosen" in slicer.util.errorDisplay.call_args.args[0]
    local.bundleBox.setCurrentIndex(0)
    local.show_bundle()
    assert "has no configs/metadata.json" in local.bundleLabel.text
    assert local.predictButton.enabled is False
    widget.attempt(local.onPredict)
    assert "has no configs/metadata.json" in slicer.util.errorDisplay.call_args.args[0]
    local.folderEdit.currentPath = str(place / "nowhere")
    local.read_folder()
    assert (local.bundleBox.texts, "cannot be read" in local.statusLabel.text) == ([], True)
    local.folderEdit.currentPath = str(place / "scans")
    local.read_folder()
    assert "holds no bundles" in local.statusLabel.text
    widget.cleanup()


def test_cancel(slicer, place):
    widget, local = panel(place)
    (place / "bin" / "mode").write_text("slow")
    widget.attempt(local.onPredict)
    run, folder = local.run, local.folder
    end = time.monotonic() + 60
    while "this takes long" not in local.statusLabel.text:
        assert time.monotonic() < end
        local.onPoll()
        time.sleep(0.02)
    widget.attempt(local.onCancel)
    assert run.status() is not None
    assert (local.statusLabel.text, local.run, folder.exists()) == ("Cancelled", None, False)
    assert local.predictButton.enabled is True
    widget.attempt(local.onPredict)
    run, folder = local.run, local.folder
    widget.cleanup()  # Slicer is closed
    assert run.status() is not None
    assert not folder.exists()


def test_place_by_hand_then_repair(slicer, place):
    widget, local = panel(place)
    widget.attempt(local.onEmpty)
    points = widget.points
    assert [row[1] for row in points.node.rows] == [Node.PositionUndefined] * 2
    # The first open landmark behind the chosen one is next, with its definition.
    assert points.node.placed_next == points.landmarkBox.currentIndex
    points.node.rows[0][1:] = [Node.PositionDefined, np.array([-5.0, -5.0, 5.0])]
    widget.attempt(local.onRepair)
    wait(local)
    assert [p.position for p in points.landmarks()] == [(5.0, 5.0, 5.0), (1.0, 1.0, 1.0)]
    widget.cleanup()


def test_pictures_of_the_atlas(slicer, place):
    atlas = place / "bundles" / "skull" / "atlas"
    atlas.mkdir()
    (atlas / "ac.png").write_bytes(b"x")
    rows = [{"name": "AC", "definition": "where fibres cross", "pictures": ["ac.png"]}]
    (atlas / "atlas.json").write_text(json.dumps({"landmarks": rows}))
    widget, local = panel(place)
    shown = sys.modules["qt"].QPixmap
    shown.return_value.width.return_value = 100
    widget.attempt(local.onPredict)
    wait(local)
    assert widget.points.atlasLabel.text == "AC: where fibres cross"
    assert Path(shown.call_args.args[0]).name == "ac.png"
    assert widget.points.pictureLabel.visible is True
    widget.points.landmarkBox.setCurrentIndex(1)
    widget.points.show_atlas()
    assert (widget.points.atlasLabel.text, widget.points.pictureLabel.visible) == ("", False)
    (atlas / "atlas.json").write_text("{")
    widget.attempt(local.onPredict)
    wait(local)
    assert "is no atlas" in slicer.util.errorDisplay.call_args.args[0]
    assert len(widget.points.node.rows) == 2  # the points are shown all the same
    widget.cleanup()


def test_a_volume_of_dicom_is_saved_where_the_user_says(slicer, place):
    widget, local = panel(place)
    local.volumeBox.node.attributes["DICOM.instanceUIDs"] = "1.2.3"
    widget.attempt(local.onPredict)
    wait(local)
    dialog = sys.modules["qt"].QFileDialog.getSaveFileName
    dialog.return_value = ""
    widget.attempt(local.onSave)
    assert not list(place.rglob("*.mrk.json"))
    dialog.return_value = str(place / "labels" / "anna")
    widget.attempt(local.onSave)
    assert [path.name for path in place.rglob("*.mrk.json")] == ["anna.mrk.json"]
    widget.cleanup()


def test_slicers_own_python_asks_first(slicer, place, monkeypatch):
    widget, local = panel(place)
    local.howBox.setCurrentIndex(1)
    own = sys.modules["LandmarkBundlesPanels.own_python"]
    monkeypatch.setattr(own.sys, "version_info", (3, 9, 10))
    widget.attempt(local.onPredict)
    assert "has Python 3.9, and landmark-bundles needs 3.10" in slicer.util.errorDisplay.call_args.args[0]
    monkeypatch.undo()
    python = place / "bin" / "PythonSlicer"
    monkeypatch.setattr(own.shutil, "which", lambda name: str(python) if name == "PythonSlicer" else None)
    assert local.own_python.program() == (str(python), "-m", "auto_config")  # it is installed here
    monkeypatch.setattr(own.importlib.util, "find_spec", lambda name: None)
    slicer.util.confirmOkCancelDisplay.return_value = False
    with pytest.raises(own.ProgramError, match="use an environment of its own"):
        local.own_python.program()
    assert not slicer.util.pip_install.called
    slicer.util.confirmOkCancelDisplay.return_value = True
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)  # the extension is not there
    with pytest.raises(own.ProgramError, match="restart Slicer"):
        local.own_python.program()
    assert slicer.util.pip_install.call_args.args[0] == [str(Path(__file__).parents[2])]
    assert "3 GB" in slicer.util.confirmOkCancelDisplay.call_args.args[0]
    widget.cleanup()


def test_points_are_stored_where_they_belong(slicer, place, address):
    widget, local = panel(place)
    server = widget.server
    server.addressEdit.text, server.tokenEdit.text = address, ""
    for step in (server.onConnect, server.onNext):
        widget.attempt(step)
    assert (server.submitButton.enabled, local.saveButton.enabled) == (True, False)
    widget.attempt(local.onPredict)
    wait(local)
    server.update()
    assert (server.submitButton.enabled, local.saveButton.enabled) == (False, True)
    widget.attempt(server.onSubmit)
    assert "are not those of the server's image" in slicer.util.errorDisplay.call_args.args[0]
    widget.attempt(server.onInfer)
    assert (server.submitButton.enabled, local.saveButton.enabled) == (True, False)
    for step in (local.onSave, local.onRepair):
        slicer.util.errorDisplay.reset_mock()
        widget.attempt(step)
        assert "no points of this computer" in slicer.util.errorDisplay.call_args.args[0]
    assert not list(place.rglob("*.mrk.json"))
    widget.cleanup()


def test_a_volume_that_is_gone(slicer, place):
    widget, local = panel(place)
    widget.attempt(local.onPredict)
    slicer.mrmlScene.IsNodePresent.return_value = False
    wait(local)
    assert "was removed meanwhile" in local.statusLabel.text
    slicer.mrmlScene.IsNodePresent.return_value = True
    widget.attempt(local.onPredict)
    wait(local)
    widget.points.node.rows[0][2] = np.array([1.0, 1.0, 1.0])
    slicer.mrmlScene.IsNodePresent.return_value = False
    widget.attempt(local.onRepair)
    assert "is not in the scene any more" in slicer.util.errorDisplay.call_args.args[0]
    widget.cleanup()
