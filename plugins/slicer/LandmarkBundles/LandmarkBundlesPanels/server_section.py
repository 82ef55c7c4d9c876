# ruff: noqa: N802  Slicer's names
"""The sections of the server: connect, next image, find, submit, train."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
from LandmarkBundlesLib.landmarks import UNDEFINED
from LandmarkBundlesLib.logic import Bundle, LandmarkServer, Sample, ServerError, describe

from .parts import TITLE, button, fill, remember, remembered, section, text_label
from .points_section import PointsSection
from .scene import Scene

DEFAULT_ADDRESS = "http://127.0.0.1:8000"
WATCH_MILLISECONDS = 3000


class ServerSection:
    """Images, predictions and trainings of a server that `auto_config serve` started.

    Args:
        layout: of the panel.
        scene: where the nodes are.
        points: the section of the points.
        attempt: runs what a button does and shows why it failed.
    """

    def __init__(
        self, layout: Any, scene: Scene, points: PointsSection, attempt: Callable[[Callable[[], None]], None]
    ) -> None:
        self.scene, self.points, self.attempt = scene, points, attempt
        self.server: LandmarkServer | None = None
        self.bundles: dict[str, Bundle] = {}
        self.sample: Sample | None = None
        self.volume: Any = None
        self._build_server(layout)
        self._build_training(layout)
        self.timer = qt.QTimer()
        self.timer.setInterval(WATCH_MILLISECONDS)
        self.timer.connect("timeout()", self.onWatch)

    def close(self) -> None:
        """Stop asking the server."""
        self.timer.stop()

    def update(self) -> None:
        """Which buttons can be pressed."""
        connected = bool(self.bundles)
        for one in (self.nextButton, self.trainButton, self.stopButton):
            one.enabled = connected
        self.inferButton.enabled = connected and self.sample is not None
        self.submitButton.enabled = self.sample is not None and self.points.belong_to(self)

    def _build_server(self, layout: Any) -> None:
        form = section(layout, "Server", closed=True)
        self.addressEdit = qt.QLineEdit()
        self.addressEdit.text = remembered("serverAddress", DEFAULT_ADDRESS)
        self.tokenEdit = qt.QLineEdit()
        self.tokenEdit.echoMode = qt.QLineEdit.Password
        self.tokenEdit.placeholderText = "only where the server asks for one"
        self.bundleBox = qt.QComboBox()
        self.bundleBox.connect("currentIndexChanged(int)", lambda _index: self.update())
        self.strategyBox = qt.QComboBox()
        self.imageLabel = qt.QLabel("none")
        self.connectButton = self._button("Connect", "Ask the server what it offers", self.onConnect)
        self.nextButton = self._button("Next image", "Load an image that has no final label yet", self.onNext)
        self.inferButton = self._button("Find landmarks", "Let the bundle find them; then drag points", self.onInfer)
        self.submitButton = self._button("Submit", "Store the points as the final label of the image", self.onSubmit)
        form.addRow("Address:", self.addressEdit)
        form.addRow("Token:", self.tokenEdit)
        form.addRow(self.connectButton)
        form.addRow("Bundle:", self.bundleBox)
        form.addRow("Order:", self.strategyBox)
        form.addRow(self.nextButton)
        form.addRow("Image:", self.imageLabel)
        form.addRow(self.inferButton)
        form.addRow(self.submitButton)

    def _build_training(self, layout: Any) -> None:
        form = section(layout, "Training on the server", closed=True)
        self.epochsBox = qt.QSpinBox()
        self.epochsBox.minimum = 1
        self.epochsBox.maximum = 100000
        self.epochsBox.value = 50
        self.continueBox = qt.QCheckBox("Go on from the weights in use")
        self.continueBox.checked = True
        self.trainButton = self._button("Train", "Train the bundle on all final labels", self.onTrain)
        self.stopButton = self._button("Stop", "Stop; the best weights so far stay", self.onStop)
        self.statusLabel = text_label()
        form.addRow("Epochs:", self.epochsBox)
        form.addRow(self.continueBox)
        form.addRow(self.trainButton)
        form.addRow(self.stopButton)
        form.addRow("Status:", self.statusLabel)

    def onConnect(self) -> None:
        """Ask the server for its bundles."""
        server = LandmarkServer(self.addressEdit.text, self.tokenEdit.text)
        bundles = server.bundles()
        strategies = server.strategies()
        self.server, self.bundles = server, {bundle.name: bundle for bundle in bundles}
        fill(self.bundleBox, list(self.bundles))
        fill(self.strategyBox, strategies)
        remember("serverAddress", self.addressEdit.text)
        self.onWatch()

    def onNext(self) -> None:
        """Load the next image; the point list before it goes."""
        sample = self._asked().next_sample(self.strategyBox.currentText or "random")
        if sample is None:
            slicer.util.infoDisplay("All images have a final label.", windowTitle=TITLE)
            return
        self.points.clear()
        self.scene.remove(self.volume)
        self.sample = sample
        self.volume = self.scene.show_image(self._asked(), sample)
        self.imageLabel.text = sample.image_id
        self._begin()

    def onInfer(self) -> None:
        """Let the bundle find the landmarks of the image."""
        landmarks, verdict = self._asked().find(self._bundle().name, self._image().image_id)
        self._begin()
        self.points.show(landmarks, verdict)

    def onSubmit(self) -> None:
        """Store the points as the final label."""
        bundle, image = self._bundle(), self._image()
        if not self.points.belong_to(self):
            raise ServerError("the points are not those of the server's image; press Find landmarks or Next image")
        landmarks = self.points.landmarks()
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

    def _begin(self) -> None:
        bundle = self._bundle()
        self.points.begin(self, self._image().image_id, bundle.landmarks, bundle.many, atlas=bundle.atlas)

    def _button(self, text: str, tip: str, action: Callable[[], None]) -> Any:
        return button(text, tip, action, self.attempt)

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
