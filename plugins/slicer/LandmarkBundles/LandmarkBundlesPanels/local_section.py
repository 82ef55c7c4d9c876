# ruff: noqa: N802  Slicer's names
"""The section of predictions on this computer: bundles of a folder, a program in a process of its own, repair, save."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ctk
import qt
import slicer
from LandmarkBundlesLib.atlas import AtlasEntry, AtlasError, read_atlas
from LandmarkBundlesLib.bundle_folders import LocalBundle, bundles_in
from LandmarkBundlesLib.label_files import label_file, save_label
from LandmarkBundlesLib.landmarks import UNDEFINED, Landmark
from LandmarkBundlesLib.predictions import (
    LEVELS,
    Options,
    Outcome,
    PredictionError,
    command,
    image_file,
    progress,
    read_outcome,
    set_by_person,
)
from LandmarkBundlesLib.programs import find_program
from LandmarkBundlesLib.runs import Run, why

from .own_python import OwnPython
from .parts import TITLE, button, fill, remember, remembered, row, section, show_error, text_label
from .points_section import PointsSection
from .scene import Scene

POLL_MILLISECONDS = 300
DEVICES = ("", "cpu", "cuda")
ELSEWHERE, SLICER = "An environment of its own", "Slicer's own Python"


class LocalSection:
    """Predictions without a server.

    Args:
        layout: of the panel.
        scene: where the nodes are.
        points: the section of the points.
        attempt: runs what a button does and shows why it failed.
    """

    def __init__(
        self,
        layout: Any,
        scene: Scene,
        points: PointsSection,
        attempt: Callable[[Callable[[], None]], None],
    ) -> None:
        self.scene, self.points, self.attempt = scene, points, attempt
        self.own_python = OwnPython()
        self.bundles: dict[str, LocalBundle] = {}
        self.run: Run | None = None
        self.folder: Path | None = None
        self.asked: tuple[LocalBundle, Any] | None = None  # bundle and volume of the prediction that runs
        self.shown: tuple[LocalBundle, Any] | None = None  # those of the points on the screen
        self.served: tuple[Landmark, ...] = ()
        self.fixed: tuple[str, ...] = ()
        self.pending: tuple[str, ...] = ()
        self.regions: Any = None
        self._build(layout)
        self.timer = qt.QTimer()
        self.timer.setInterval(POLL_MILLISECONDS)
        self.timer.connect("timeout()", self.onPoll)
        self.read_folder(quiet=True)

    def _build(self, layout: Any) -> None:
        form = section(layout, "On this computer")
        self.folderEdit = ctk.ctkPathLineEdit()
        self.folderEdit.filters = ctk.ctkPathLineEdit.Dirs
        self.folderEdit.currentPath = remembered("bundleFolder")
        self.folderEdit.toolTip = "A folder that holds bundles, or a bundle"
        self.folderEdit.connect("currentPathChanged(QString)", lambda _path: self.read_folder())
        self.bundleBox = qt.QComboBox()
        self.bundleBox.connect("currentIndexChanged(int)", lambda _index: self.show_bundle())
        self.bundleLabel = text_label()
        self.volumeBox = slicer.qMRMLNodeComboBox()
        self.volumeBox.nodeTypes = ["vtkMRMLScalarVolumeNode"]
        self.volumeBox.showChildNodeTypes = False  # label maps
        self.volumeBox.addEnabled = False
        self.volumeBox.removeEnabled = False
        self.volumeBox.noneEnabled = True
        self.volumeBox.setMRMLScene(slicer.mrmlScene)
        self.volumeBox.connect("currentNodeChanged(vtkMRMLNode*)", lambda _node: self.update())
        self.howBox = qt.QComboBox()
        self.howBox.addItems([ELSEWHERE, SLICER])
        self.programEdit = qt.QLineEdit()
        self.programEdit.text = remembered("program")
        self.programEdit.placeholderText = "folder of the environment; empty: auto_config on the search path"
        self.levelBox = qt.QComboBox()
        self.levelBox.addItems([f"{level:g}" for level in LEVELS])
        self.levelBox.setCurrentIndex(LEVELS.index(0.9))
        self.deviceBox = qt.QComboBox()
        self.deviceBox.addItems(["a GPU if there is one", *DEVICES[1:]])
        self.regionsBox = qt.QCheckBox("Show the regions that hold the landmarks")
        self.presentBox = qt.QCheckBox("Call every landmark present")
        attempt = self.attempt
        self.refreshButton = button("Refresh", "Read the folder again", self.read_folder, attempt)
        self.placeButton = button(
            "Place by hand", "All points open; the atlas says what each is", self.onEmpty, attempt
        )
        self.predictButton = button("Predict here", "Let the bundle find the landmarks", self.onPredict, attempt)
        self.repairButton = button(
            "Repair the rest",
            "The points that you moved or set stay; the others are found again",
            self.onRepair,
            attempt,
        )
        self.cancelButton = button("Cancel", "End the prediction that runs", self.onCancel, attempt)
        self.saveButton = button(
            "Save as label",
            "Into landmarks/ beside the scan, where `auto_config create` finds it",
            self.onSave,
            attempt,
        )
        self.statusLabel = text_label()
        form.addRow("Bundles:", self.folderEdit)
        form.addRow("Bundle:", self.bundleBox)
        form.addRow(self.bundleLabel)
        form.addRow("Volume:", self.volumeBox)
        form.addRow("Run with:", self.howBox)
        form.addRow("Environment:", self.programEdit)
        form.addRow("Probability:", self.levelBox)
        form.addRow("Device:", self.deviceBox)
        form.addRow(self.regionsBox)
        form.addRow(self.presentBox)
        form.addRow(row(self.predictButton, self.cancelButton, self.placeButton, self.refreshButton))
        form.addRow(row(self.repairButton, self.saveButton))
        form.addRow("Status:", self.statusLabel)

    # The list ---------------------------------------------------------------------------------------------------------

    def read_folder(self, quiet: bool = False) -> None:
        """Fill the list of bundles from the folder, which is remembered."""
        text = str(self.folderEdit.currentPath or "").strip()
        try:
            found = bundles_in(Path(text)) if text else []
        except OSError as error:
            found = []
            self.statusLabel.text = "" if quiet else f"{text}: cannot be read ({error.strerror or error})"
        else:
            if text:
                remember("bundleFolder", text)
            empty = bool(text) and not found and not quiet
            self.statusLabel.text = f"{text}: holds no bundles; choose a folder that does" if empty else ""
        self.bundles = {}
        for bundle in found:
            # Two copies of a bundle have one name; the folder tells them apart.
            title = bundle.title if bundle.title not in self.bundles else f"{bundle.title} in {bundle.path.name}"
            self.bundles[title] = bundle
        fill(self.bundleBox, list(self.bundles))
        self.show_bundle()

    def show_bundle(self) -> None:
        """What the chosen bundle finds, or why it cannot be used."""
        bundle = self.bundles.get(self.bundleBox.currentText)
        self.bundleLabel.text = "" if bundle is None else bundle.summary
        self.update()

    def update(self) -> None:
        """Which buttons can be pressed."""
        running = self.run is not None
        bundle = self.bundles.get(self.bundleBox.currentText)
        ready = bundle is not None and not bundle.problem and self.volumeBox.currentNode() is not None
        self.predictButton.enabled = ready and not running
        self.placeButton.enabled = ready and not running
        self.cancelButton.enabled = running
        mine = self.points.belong_to(self)
        self.repairButton.enabled = mine and not running
        self.saveButton.enabled = mine and not running

    # What buttons do --------------------------------------------------------------------------------------------------

    def onPredict(self) -> None:
        """Predict the chosen volume with the chosen bundle."""
        self._start(self._bundle(), self._volume(), [])

    def onRepair(self) -> None:
        """Predict again with the points that a person set."""
        bundle, volume = self._mine()
        fixed = set_by_person(self.served, self.points.landmarks(), self.fixed)
        if not fixed:
            raise PredictionError("no point was moved or set; drag some points to their places first")
        self._start(bundle, volume, fixed)

    def onEmpty(self) -> None:
        """All landmarks of the bundle, none placed yet."""
        self._show(self._bundle(), self._volume(), None, ())
        self.points.onNextOpen()

    def onCancel(self) -> None:
        """End the prediction that runs."""
        self.close()
        self.statusLabel.text = "Cancelled"

    def onSave(self) -> None:
        """Store the points as the label of the scan, beside it."""
        bundle, volume = self._mine()
        landmarks = self.points.landmarks()
        scan = self.scene.scan_file(volume)
        if scan is None:
            text = qt.QFileDialog.getSaveFileName(
                slicer.util.mainWindow(), "Save the label", f"{volume.GetName()}.mrk.json", "Markups (*.mrk.json)"
            )
            if not text:
                return
            file = Path(text if text.endswith(".mrk.json") else f"{text}.mrk.json")
        else:
            file = label_file(scan)
        if file.exists() and not slicer.util.confirmYesNoDisplay(f"{file} is there. Replace it?", windowTitle=TITLE):
            return
        save_label(file, landmarks, bundle.landmarks, bundle.many)
        undecided = [point.name for point in landmarks if point.status == UNDEFINED]
        more = f" Not decided, and not stored: {', '.join(undecided)}." if undecided else ""
        self.statusLabel.text = f"Saved as {file}.{more}"

    def onPoll(self) -> None:
        """How far the prediction is; its result when it has ended."""
        if self.run is None:
            self.timer.stop()
            return
        status, lines = self.run.status(), self.run.lines()
        if status is None:
            self.statusLabel.text = progress(lines, self.run.seconds())
            return
        self.timer.stop()
        try:
            self._take(status, lines)
        except (PredictionError, OSError, ValueError, RuntimeError) as error:
            self.statusLabel.text = str(error)
            show_error(str(error))
        finally:
            self.close()

    def close(self) -> None:
        """End the prediction that runs, and remove its folder."""
        self.timer.stop()
        run, self.run = self.run, None
        if run is not None:
            run.cancel()
        folder, self.folder = self.folder, None
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        self.update()

    # Helpers ----------------------------------------------------------------------------------------------------------

    def _mine(self) -> tuple[LocalBundle, Any]:
        """Bundle and volume of the points on the screen."""
        if self.shown is None or not self.points.belong_to(self):
            raise PredictionError("no points of this computer; press Predict here, or Place by hand")
        return self.shown

    def _start(self, bundle: LocalBundle, volume: Any, fixed: list[Landmark]) -> None:
        if self.run is not None:
            raise PredictionError("a prediction runs; wait for it, or press Cancel")
        if not slicer.mrmlScene.IsNodePresent(volume):
            raise PredictionError("the volume is not in the scene any more; load it again, and press Predict here")
        if self.regionsBox.checked and not bundle.calibrated:
            raise PredictionError(
                f"{bundle.name} is not calibrated, so it has no regions; untick the box of the regions"
            )
        program, environment = self._program()
        self.folder = Path(tempfile.mkdtemp(prefix="landmark_bundles_"))
        try:
            self.scene.write_volume(volume, image_file(self.folder))
            words = command(program, bundle.path, self.folder, self._options(), fixed)
            self.run = Run(words, self.folder / "log.txt", environment)
        except Exception:
            self.close()
            raise
        self.asked, self.pending = (bundle, volume), tuple(point.name for point in fixed)
        self.statusLabel.text = progress([], 0)
        self.timer.start()
        self.update()

    def _take(self, status: int, lines: list[str]) -> None:
        assert self.folder is not None and self.asked is not None  # set by whoever started the run
        bundle, volume = self.asked
        if status != 0:
            # Nobody knows the temporary file; the volume has a name.
            raise PredictionError(why(lines, status).replace(str(image_file(self.folder)), volume.GetName()))
        outcome = read_outcome(self.folder, lines)
        if not slicer.mrmlScene.IsNodePresent(volume):
            raise PredictionError("the volume was removed meanwhile; its points are not shown")
        self._show(bundle, volume, outcome, self.pending)
        said = "; ".join(outcome.notes)
        self.statusLabel.text = f"Done{f' ({said})' if said else ''}"

    def _show(self, bundle: LocalBundle, volume: Any, outcome: Outcome | None, fixed: tuple[str, ...]) -> None:
        self.scene.remove(self.regions)
        self.regions = None
        name, atlas = f"{volume.GetName()} landmarks", self._atlas(bundle)
        self.points.begin(self, name, bundle.landmarks, bundle.many, atlas=atlas, volume=volume)
        if outcome is not None:
            self.points.show(outcome.landmarks, outcome.verdict)
            if outcome.regions is not None:
                self.regions = self.scene.show_regions(outcome.regions, f"{volume.GetName()} regions", volume)
        # As they came back from the scene, so that its rounding moves no point.
        self.served, self.fixed = tuple(self.points.landmarks()), fixed
        self.shown = (bundle, volume)
        self.update()

    def _atlas(self, bundle: LocalBundle) -> dict[str, AtlasEntry]:
        """A broken atlas is said, and does not keep anybody from placing points."""
        try:
            return read_atlas(bundle.path)
        except AtlasError as error:
            show_error(str(error))
            return {}

    def _program(self) -> tuple[tuple[str, ...], dict[str, str]]:
        """The first words of the command, and the environment for it."""
        if self.howBox.currentText == SLICER:
            return self.own_python.program(), dict(os.environ)
        environment = slicer.util.startupEnvironment()
        program = find_program(self.programEdit.text, environment)
        remember("program", self.programEdit.text)
        return program, environment

    def _options(self) -> Options:
        chosen = self.deviceBox.currentIndex
        return Options(
            level=LEVELS[self.levelBox.currentIndex],
            device=DEVICES[chosen] if 0 <= chosen < len(DEVICES) else "",
            regions=bool(self.regionsBox.checked),
            all_present=bool(self.presentBox.checked),
        )

    def _bundle(self) -> LocalBundle:
        bundle = self.bundles.get(self.bundleBox.currentText)
        if bundle is None:
            raise PredictionError("no bundle is chosen; choose a folder that holds bundles, and one of them")
        if bundle.problem:
            raise PredictionError(bundle.problem)
        return bundle

    def _volume(self) -> Any:
        volume = self.volumeBox.currentNode()
        if volume is None:
            raise PredictionError("no volume is chosen; load one and choose it")
        return volume
