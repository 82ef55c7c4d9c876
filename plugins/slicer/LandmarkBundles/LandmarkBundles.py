# ruff: noqa: N802  Slicer's names
"""Annotate landmarks in 3D Slicer: with bundles on this computer, or with a server that `auto_config serve` started."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import qt
import slicer
from LandmarkBundlesLib.bundle_folders import bundles_in
from LandmarkBundlesLib.landmarks import DEFINED, MISSING, Landmark
from LandmarkBundlesLib.predictions import Options, command, image_file, read_outcome
from LandmarkBundlesLib.programs import ProgramError, find_program
from LandmarkBundlesLib.runs import Run, why
from LandmarkBundlesPanels.local_section import LocalSection
from LandmarkBundlesPanels.own_python import checkout
from LandmarkBundlesPanels.parts import EXPECTED, show_error
from LandmarkBundlesPanels.points_section import PointsSection
from LandmarkBundlesPanels.scene import Scene
from LandmarkBundlesPanels.server_section import ServerSection
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)


class LandmarkBundles(ScriptedLoadableModule):
    """What Slicer shows about the module."""

    def __init__(self, parent) -> None:  # noqa: ANN001  of Qt
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = "Landmark Bundles"
        parent.categories = ["Informatics"]
        parent.dependencies = ["Markups"]
        parent.contributors = ["The landmark-bundles contributors"]
        parent.helpText = (
            "Finds anatomical landmarks with a bundle on this computer, or with a server of bundles that takes the "
            "corrected points back and trains on them (auto_config serve FOLDER --bundles FOLDER)."
        )
        parent.acknowledgementText = "Built on MONAI Label and MONAI Bundles."


class LandmarkBundlesLogic(ScriptedLoadableModuleLogic, Scene):
    """Between landmarks and the nodes of the scene, for scripts."""

    def __init__(self) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        Scene.__init__(self)


class LandmarkBundlesWidget(ScriptedLoadableModuleWidget):
    """The panel: predict here or on a server, correct, save or submit, train."""

    def __init__(self, parent=None) -> None:  # noqa: ANN001  of Qt
        ScriptedLoadableModuleWidget.__init__(self, parent)
        self.logic = None
        self.local = None
        self.points = None
        self.server = None

    def setup(self) -> None:
        """Build the panel; Slicer calls it once."""
        ScriptedLoadableModuleWidget.setup(self)
        self.logic = LandmarkBundlesLogic()
        # On the screen the points lie between what finds them and what trains on them; all sections write into them.
        above, middle, below = qt.QVBoxLayout(), qt.QVBoxLayout(), qt.QVBoxLayout()
        for part in (above, middle, below):
            self.layout.addLayout(part)
        self.points = PointsSection(middle, self.logic, self.attempt)
        self.server = ServerSection(below, self.logic, self.points, self.attempt)
        self.local = LocalSection(above, self.logic, self.points, self.attempt)
        self.layout.addStretch(1)
        self._update_buttons()

    def cleanup(self) -> None:
        """End what runs and remove files; Slicer calls it when the module is closed or reloaded."""
        self.local.close()
        self.server.close()
        self.logic.folder.cleanup()

    def attempt(self, action: Callable[[], None]) -> None:
        """Do what a button says, and show why it failed."""
        qt.QApplication.setOverrideCursor(qt.Qt.WaitCursor)
        message = None
        try:
            action()
        except EXPECTED as error:
            message = str(error)
        finally:
            qt.QApplication.restoreOverrideCursor()
        self._update_buttons()
        if message is not None:
            show_error(message)

    def _update_buttons(self) -> None:
        self.local.update()
        self.server.update()
        for button in self.points.buttons:
            button.enabled = self.points.node is not None


class LandmarkBundlesTest(ScriptedLoadableModuleTest):
    """Slicer's self test: points, volumes and transforms through the scene; a real prediction where it can be made."""

    def setUp(self) -> None:
        """Begin with an empty scene."""
        slicer.mrmlScene.Clear(0)

    def runTest(self) -> None:
        """Run the tests."""
        for test in (
            self.test_points_come_back,
            self.test_points_of_a_transformed_volume,
            self.test_a_volume_is_written,
            self.test_the_list_of_bundles,
            self.test_a_bundle_predicts,
        ):
            self.setUp()
            test()

    def test_points_come_back(self) -> None:
        """Defined, missing and undefined points, in LPS."""
        sent = [Landmark("AC", DEFINED, (1.0, 2.0, 3.0)), Landmark("PC", MISSING), Landmark("Nose")]
        logic = LandmarkBundlesLogic()
        found = logic.landmarks(logic.show_landmarks(sent, "test"))
        self.assertEqual([(item.name, item.status) for item in found], [(item.name, item.status) for item in sent])
        for axis in range(3):
            self.assertAlmostEqual(found[0].position[axis], sent[0].position[axis], places=4)
        self.delayDisplay("The points came back")

    def test_points_of_a_transformed_volume(self) -> None:
        """Points of a volume move with its parent transform, and come back in its own frame."""
        logic = LandmarkBundlesLogic()
        volume = self._volume()
        transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
        matrix = slicer.util.arrayFromTransformMatrix(transform)
        matrix[:3, 3] = (10.0, 20.0, 30.0)
        slicer.util.updateTransformMatrixFromArray(transform, matrix)
        volume.SetAndObserveTransformNodeID(transform.GetID())
        node = logic.show_landmarks([Landmark("AC", DEFINED, (1.0, 2.0, 3.0))], "test", volume)
        world, own = logic.landmarks(node)[0].position, logic.landmarks(node, volume)[0].position
        for axis in range(3):
            self.assertAlmostEqual(own[axis], (1.0, 2.0, 3.0)[axis], places=4)
            self.assertAlmostEqual(world[axis], (-9.0, -18.0, 33.0)[axis], places=4)
        self.delayDisplay("The points follow the volume")

    def test_a_volume_is_written(self) -> None:
        """As NRRD, and the node keeps its own file."""
        volume = self._volume()
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "case.nrrd"
            Scene.write_volume(volume, file)
            again = slicer.util.loadVolume(str(file))
        self.assertEqual(slicer.util.arrayFromVolume(again).shape, slicer.util.arrayFromVolume(volume).shape)
        self.assertIsNone(Scene.scan_file(volume))
        self.delayDisplay("The volume was written")

    def test_the_list_of_bundles(self) -> None:
        """A broken bundle is in the list with its problem."""
        with tempfile.TemporaryDirectory() as folder:
            configs = Path(folder) / "broken" / "configs"
            configs.mkdir(parents=True)
            (configs / "metadata.json").write_text(json.dumps({"name": "broken"}), encoding="utf-8")
            (bundle,) = bundles_in(Path(folder))
        self.assertIn("has no configs/inference.json", bundle.problem)
        self.delayDisplay("The list of bundles says what is wrong")

    def test_a_bundle_predicts(self) -> None:
        """The demo bundle of the repository, if `auto_config` is on the search path."""
        environment, root = slicer.util.startupEnvironment(), checkout()
        try:
            program = find_program("", environment)
        except ProgramError as error:
            self.delayDisplay(f"Not tested: {error}")
            return
        if root is None:
            self.delayDisplay("Not tested: the module does not lie in the repository, which has the demo bundle")
            return
        (bundle,) = [one for one in bundles_in(root / "bundles") if one.path.name == "brain_mri_afids32_demo"]
        with tempfile.TemporaryDirectory() as text:
            folder = Path(text)
            Scene.write_volume(self._volume(), image_file(folder))
            run = Run(command(program, bundle.path, folder, Options()), folder / "log.txt", environment)
            while run.status() is None:
                slicer.app.processEvents()
                time.sleep(0.1)
            self.assertEqual(run.status(), 0, why(run.lines(), run.status() or 0))
            outcome = read_outcome(folder, run.lines())
        self.assertEqual([point.name for point in outcome.landmarks], list(bundle.landmarks))
        self.delayDisplay("The demo bundle predicted")

    @staticmethod
    def _volume():  # noqa: ANN205  a node of Slicer
        import numpy as np

        axes = np.meshgrid(*[np.linspace(-1, 1, size) for size in (24, 28, 30)], indexing="ij")
        voxels = 100 * np.exp(-2 * sum(axis**2 for axis in axes))
        return slicer.util.addVolumeFromArray(voxels.astype(np.float32), np.diag([5.0, 5.0, 5.0, 1.0]))
