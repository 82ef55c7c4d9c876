# ruff: noqa: N802  Slicer's names
"""Annotate landmarks in 3D Slicer with the help of a server that `auto_config serve` started."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import ctk
import qt
import slicer
from LandmarkBundlesLib.landmarks import (
    DEFINED,
    MISSING,
    UNDEFINED,
    Landmark,
    MarkupsError,
    complete,
    titles,
    write_markups,
)
from LandmarkBundlesLib.logic import Bundle, LandmarkServer, Sample, ServerError, describe
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)

DEFAULT_ADDRESS = "http://127.0.0.1:8000"
ADDRESS_SETTING = "LandmarkBundles/serverAddress"
WATCH_MILLISECONDS = 3000


class LandmarkBundles(ScriptedLoadableModule):
    """What Slicer shows about the module."""

    def __init__(self, parent) -> None:  # noqa: ANN001  of Qt
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = "Landmark Bundles"
        parent.categories = ["Informatics"]
        parent.dependencies = ["Markups"]
        parent.contributors = ["The landmark-bundles contributors"]
        parent.helpText = (
            "Finds anatomical landmarks with a server of landmark bundles, takes the corrected points back, and trains "
            "on them. Start the server with: auto_config serve FOLDER --bundles FOLDER"
        )
        parent.acknowledgementText = "Built on MONAI Label and MONAI Bundles."


class LandmarkBundlesLogic(ScriptedLoadableModuleLogic):
    """Between the server's landmarks and the nodes of the scene."""

    def __init__(self) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        self.folder = tempfile.TemporaryDirectory(prefix="landmark_bundles_")

    def show_image(self, server: LandmarkServer, sample: Sample):  # noqa: ANN201  a node of Slicer
        """Load the image of a sample and show it in the slice views."""
        path = server.download(sample, self.folder.name)
        # Pictures whose names differ in a number would else be read as one stack.
        volume = slicer.util.loadVolume(os.fspath(path), {"singleFile": True})
        volume.SetName(sample.image_id)
        slicer.util.setSliceViewerLayers(background=volume, fit=True)
        return volume

    def show_landmarks(self, landmarks: list[Landmark], name: str):  # noqa: ANN201  a node of Slicer
        """A new point list with the landmarks."""
        file = Path(self.folder.name) / "landmarks.mrk.json"
        file.write_text(write_markups(landmarks, name), encoding="utf-8")
        return slicer.util.loadMarkups(os.fspath(file))

    def landmarks(self, node) -> list[Landmark]:  # noqa: ANN001  a node of Slicer
        """The control points of a point list, in LPS mm of the world, also if the list is under a transform."""
        words = {node.PositionDefined: DEFINED, node.PositionMissing: MISSING}
        found = []
        for index in range(node.GetNumberOfControlPoints()):
            status = words.get(node.GetNthControlPointPositionStatus(index), UNDEFINED)
            position = None
            if status == DEFINED:
                ras = [0.0, 0.0, 0.0]
                node.GetNthControlPointPositionWorld(index, ras)
                position = (-ras[0], -ras[1], ras[2])
            found.append(Landmark(node.GetNthControlPointLabel(index), status, position))
        return found


class LandmarkBundlesWidget(ScriptedLoadableModuleWidget):
    """The panel: connect, next image, find, correct, submit, train."""

    def __init__(self, parent=None) -> None:  # noqa: ANN001  of Qt
        ScriptedLoadableModuleWidget.__init__(self, parent)
        self.logic = None
        self.server: LandmarkServer | None = None
        self.bundles: dict[str, Bundle] = {}
        self.sample: Sample | None = None
        self.volume = None
        self.points = None

    def setup(self) -> None:
        """Build the panel; Slicer calls it once."""
        ScriptedLoadableModuleWidget.setup(self)
        self.logic = LandmarkBundlesLogic()
        self._build_server_section()
        self._build_image_section()
        self._build_training_section()
        self.layout.addStretch(1)
        self.timer = qt.QTimer()
        self.timer.setInterval(WATCH_MILLISECONDS)
        self.timer.connect("timeout()", self.onWatch)
        self._update_buttons()

    def cleanup(self) -> None:
        """Stop asking the server; Slicer calls it when the module is closed or reloaded."""
        self.timer.stop()
        self.logic.folder.cleanup()

    # The panel -------------------------------------------------------------------------------------------------------

    def _section(self, title: str):  # noqa: ANN202  of Qt
        box = ctk.ctkCollapsibleButton()
        box.text = title
        self.layout.addWidget(box)
        return qt.QFormLayout(box)

    def _button(self, text: str, tip: str, action: Callable[[], None]):  # noqa: ANN202  of Qt
        button = qt.QPushButton(text)
        button.toolTip = tip
        button.connect("clicked(bool)", lambda _checked=False: self.attempt(action))
        return button

    def _build_server_section(self) -> None:
        form = self._section("Server")
        self.addressEdit = qt.QLineEdit()
        self.addressEdit.text = qt.QSettings().value(ADDRESS_SETTING, DEFAULT_ADDRESS)
        self.tokenEdit = qt.QLineEdit()
        self.tokenEdit.echoMode = qt.QLineEdit.Password
        self.tokenEdit.placeholderText = "only where the server asks for one"
        self.bundleBox = qt.QComboBox()
        self.bundleBox.connect("currentIndexChanged(int)", lambda _index: self._update_buttons())
        self.connectButton = self._button("Connect", "Ask the server what it offers", self.onConnect)
        form.addRow("Address:", self.addressEdit)
        form.addRow("Token:", self.tokenEdit)
        form.addRow(self.connectButton)
        form.addRow("Bundle:", self.bundleBox)

    def _build_image_section(self) -> None:
        form = self._section("Image")
        self.strategyBox = qt.QComboBox()
        self.imageLabel = qt.QLabel("none")
        self.nextButton = self._button("Next image", "Load an image that has no final label yet", self.onNext)
        self.inferButton = self._button("Find landmarks", "Let the bundle find them; then drag points", self.onInfer)
        self.landmarkBox = qt.QComboBox()
        self.placeButton = self._button("Place", "Place the chosen landmark with the next click", self.onPlace)
        self.anotherButton = self._button(
            "Another", "Place one more of the chosen landmark, where an image may have any number of it", self.onAnother
        )
        self.missingButton = self._button("Missing", "The chosen landmark is not in this image", self.onMissing)
        self.jumpButton = self._button("Show", "Move the slices to the chosen landmark", self.onShow)
        self.submitButton = self._button("Submit", "Store the points as the final label of the image", self.onSubmit)
        form.addRow("Order:", self.strategyBox)
        form.addRow(self.nextButton)
        form.addRow("Image:", self.imageLabel)
        form.addRow(self.inferButton)
        form.addRow("Landmark:", self.landmarkBox)
        row = qt.QHBoxLayout()
        for button in (self.placeButton, self.anotherButton, self.missingButton, self.jumpButton):
            row.addWidget(button)
        form.addRow(row)
        form.addRow(self.submitButton)

    def _build_training_section(self) -> None:
        form = self._section("Training")
        self.epochsBox = qt.QSpinBox()
        self.epochsBox.minimum = 1
        self.epochsBox.maximum = 100000
        self.epochsBox.value = 50
        self.continueBox = qt.QCheckBox("Go on from the weights in use")
        self.continueBox.checked = True
        self.trainButton = self._button("Train", "Train the bundle on all final labels", self.onTrain)
        self.stopButton = self._button("Stop", "Stop; the best weights so far stay", self.onStop)
        self.statusLabel = qt.QLabel("")
        self.statusLabel.wordWrap = True
        form.addRow("Epochs:", self.epochsBox)
        form.addRow(self.continueBox)
        form.addRow(self.trainButton)
        form.addRow(self.stopButton)
        form.addRow("Status:", self.statusLabel)

    # What buttons do -------------------------------------------------------------------------------------------------

    def attempt(self, action: Callable[[], None]) -> None:
        """Do what a button says, and show why it failed."""
        qt.QApplication.setOverrideCursor(qt.Qt.WaitCursor)
        message = None
        try:
            action()
        except (ServerError, MarkupsError, OSError, RuntimeError) as error:
            message = str(error)
        finally:
            qt.QApplication.restoreOverrideCursor()
        self._update_buttons()
        if message is not None:
            slicer.util.errorDisplay(message, windowTitle="Landmark Bundles")

    def onConnect(self) -> None:
        """Ask the server for its bundles."""
        server = LandmarkServer(self.addressEdit.text, self.tokenEdit.text)
        bundles = server.bundles()
        strategies = server.strategies()
        self.server, self.bundles = server, {bundle.name: bundle for bundle in bundles}
        _fill(self.bundleBox, list(self.bundles))
        _fill(self.strategyBox, strategies)
        qt.QSettings().setValue(ADDRESS_SETTING, self.addressEdit.text)
        self.onWatch()

    def onNext(self) -> None:
        """Load the next image; the point list before it goes."""
        sample = self._asked().next_sample(self.strategyBox.currentText or "random")
        if sample is None:
            slicer.util.infoDisplay("All images have a final label.", windowTitle="Landmark Bundles")
            return
        self._remove(self.points)
        self._remove(self.volume)
        self.points, self.sample = None, sample
        self.volume = self.logic.show_image(self._asked(), sample)
        self.imageLabel.text = sample.image_id
        self._show([])

    def onInfer(self) -> None:
        """Let the bundle find the landmarks of the image."""
        self._show(self._asked().infer(self._bundle().name, self._image().image_id))

    def onPlace(self) -> None:
        """Place the chosen landmark with the next click."""
        index = self.landmarkBox.currentIndex
        self.points.UnsetNthControlPointPosition(index)
        self.points.SetControlPointPlacementStartIndex(index)
        selection = slicer.app.applicationLogic().GetSelectionNode()
        selection.SetReferenceActivePlaceNodeClassName("vtkMRMLMarkupsFiducialNode")
        selection.SetActivePlaceNodeID(self.points.GetID())
        slicer.modules.markups.logic().StartPlaceMode(False)

    def onAnother(self) -> None:
        """Place one more of the chosen landmark with the next click."""
        landmarks, index = self.logic.landmarks(self.points), self.landmarkBox.currentIndex
        name = landmarks[index].name
        if name not in self._bundle().many:
            raise MarkupsError(f"an image has one '{name}'; press Place to move it")
        last = max(place for place, landmark in enumerate(landmarks) if landmark.name == name)
        landmarks.insert(last + 1, Landmark(name))
        self._show(landmarks)
        self.landmarkBox.setCurrentIndex(last + 1)
        self.onPlace()

    def onMissing(self) -> None:
        """Say that the chosen landmark, or this one of several, is not in the image."""
        self.points.SetNthControlPointPositionMissing(self.landmarkBox.currentIndex)

    def onShow(self) -> None:
        """Move the slices to the chosen landmark."""
        index = self.landmarkBox.currentIndex
        slicer.modules.markups.logic().JumpSlicesToNthPointInMarkup(self.points.GetID(), index, True)

    def onSubmit(self) -> None:
        """Store the points as the final label."""
        bundle, image = self._bundle(), self._image()
        landmarks = self.logic.landmarks(self.points)
        self._asked().submit(image.image_id, landmarks, bundle)
        undecided = [landmark.name for landmark in landmarks if landmark.status == UNDEFINED]
        more = f" Not decided: {', '.join(undecided)}." if undecided else ""
        slicer.util.showStatusMessage(f"{image.image_id} is submitted.{more}", 5000)

    def onTrain(self) -> None:
        """Start a training."""
        pretrained = bool(self.continueBox.checked)
        self._asked().train(self._bundle().name, max_epochs=int(self.epochsBox.value), pretrained=pretrained)
        self.onWatch()

    def onStop(self) -> None:
        """Stop the training."""
        self._asked().stop_training()
        self.onWatch()

    def onWatch(self) -> None:
        """Show how the training is, and ask again while it runs."""
        try:
            task = self._asked().training()
        except ServerError as error:
            self.timer.stop()
            self.statusLabel.text = str(error)
            return
        self.statusLabel.text = describe(task)
        if task is not None and task.get("status") in ("SUBMITTED", "RUNNING"):
            self.timer.start()
        else:
            self.timer.stop()

    # Helpers ---------------------------------------------------------------------------------------------------------

    def _asked(self) -> LandmarkServer:
        if self.server is None:
            raise ServerError("no server yet; give its address and press Connect")
        return self.server

    def _bundle(self) -> Bundle:
        bundle = self.bundles.get(self.bundleBox.currentText)
        if bundle is None:
            raise ServerError("no bundle is chosen; press Connect and choose one")
        return bundle

    def _image(self) -> Sample:
        if self.sample is None:
            raise ServerError("no image yet; press Next image")
        return self.sample

    def _show(self, landmarks: list[Landmark]) -> None:
        """Replace the point list."""
        shown = complete(landmarks, self._bundle().landmarks)
        self._remove(self.points)
        self.points = self.logic.show_landmarks(shown, self._image().image_id)
        _fill(self.landmarkBox, titles(shown))

    @staticmethod
    def _remove(node) -> None:  # noqa: ANN001  a node of Slicer
        if node is not None and slicer.mrmlScene.IsNodePresent(node):
            slicer.mrmlScene.RemoveNode(node)

    def _update_buttons(self) -> None:
        connected = bool(self.bundles)
        for button in (self.nextButton, self.trainButton, self.stopButton):
            button.enabled = connected
        self.inferButton.enabled = connected and self.sample is not None
        for button in (
            self.placeButton,
            self.anotherButton,
            self.missingButton,
            self.jumpButton,
            self.submitButton,
        ):
            button.enabled = self.points is not None


class LandmarkBundlesTest(ScriptedLoadableModuleTest):
    """Slicer's self test: points go into the scene and come back the same."""

    def setUp(self) -> None:
        """Begin with an empty scene."""
        slicer.mrmlScene.Clear(0)

    def runTest(self) -> None:
        """Run the test."""
        self.setUp()
        self.test_points_come_back()

    def test_points_come_back(self) -> None:
        """Defined, missing and undefined points, in LPS."""
        sent = [Landmark("AC", DEFINED, (1.0, 2.0, 3.0)), Landmark("PC", MISSING), Landmark("Nose")]
        logic = LandmarkBundlesLogic()
        found = logic.landmarks(logic.show_landmarks(sent, "test"))
        self.assertEqual([(item.name, item.status) for item in found], [(item.name, item.status) for item in sent])
        for axis in range(3):
            self.assertAlmostEqual(found[0].position[axis], sent[0].position[axis], places=4)
        self.delayDisplay("The points came back")


def _fill(box, texts: list[str]) -> None:  # noqa: ANN001  of Qt
    """Replace the entries of a box; the chosen one stays, if it is still there."""
    chosen = box.currentText
    box.clear()
    box.addItems(texts)
    if chosen in texts:
        box.setCurrentIndex(texts.index(chosen))
