"""Between landmarks and the nodes of Slicer's scene."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import slicer
import vtk
from LandmarkBundlesLib.landmarks import DEFINED, MISSING, UNDEFINED, Landmark, write_markups
from LandmarkBundlesLib.logic import LandmarkServer, Sample


class Scene:
    """What the panel does to the scene; its files are in a temporary folder."""

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="landmark_bundles_")

    def show_image(self, server: LandmarkServer, sample: Sample) -> Any:
        """Load the image of a sample and show it in the slice views; returns its node."""
        path = server.download(sample, self.folder.name)
        # Pictures whose names differ in a number would else be read as one stack.
        volume = slicer.util.loadVolume(os.fspath(path), {"singleFile": True})
        volume.SetName(sample.image_id)
        slicer.util.setSliceViewerLayers(background=volume, fit=True)
        return volume

    def show_landmarks(self, landmarks: Sequence[Landmark], name: str, volume: Any = None) -> Any:
        """A new point list with the landmarks.

        Args:
            landmarks: LPS mm of the world; of the frame of ``volume``, where one is given.
            name: of the node.
            volume: whose parent transform the points get, so that they lie on what it shows.
        """
        file = Path(self.folder.name) / "landmarks.mrk.json"
        file.write_text(write_markups(landmarks, name), encoding="utf-8")
        node = slicer.util.loadMarkups(os.fspath(file))
        node.SetName(name)
        if volume is not None:
            node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
        return node

    def landmarks(self, node: Any, volume: Any = None) -> list[Landmark]:
        """The control points of a point list, whatever transform it is under.

        Args:
            node: the point list.
            volume: in whose own frame, without its parent transforms, the points are wanted; None for the world's.

        Returns:
            LPS mm.
        """
        words = {node.PositionDefined: DEFINED, node.PositionMissing: MISSING}
        to_volume = None if volume is None else from_world_to(volume)
        found = []
        for index in range(node.GetNumberOfControlPoints()):
            status = words.get(node.GetNthControlPointPositionStatus(index), UNDEFINED)
            position = None
            if status == DEFINED:
                ras = [0.0, 0.0, 0.0]
                node.GetNthControlPointPositionWorld(index, ras)
                if to_volume is not None:
                    ras = to_volume.TransformPoint(ras)
                position = (-ras[0], -ras[1], ras[2])
            found.append(Landmark(node.GetNthControlPointLabel(index), status, position))
        return found

    def show_regions(self, file: Path, name: str, volume: Any) -> Any:
        """Load a label map of regions as a segmentation on the volume; returns its node."""
        node = slicer.util.loadSegmentation(os.fspath(file), {"name": name})
        node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
        return node

    @staticmethod
    def write_volume(volume: Any, file: Path) -> None:
        """Write the image of a volume in its own frame, that of the scanner; parent transforms are not applied.

        The node keeps the file that it was loaded from: a storage node of its own writes this one.

        Raises:
            RuntimeError: there is no image, or it has several components (colours), or it cannot be written.
        """
        image = volume.GetImageData()
        if image is None:
            raise RuntimeError(f"{volume.GetName()} has no image; choose another volume")
        if image.GetNumberOfScalarComponents() != 1:
            raise RuntimeError(f"{volume.GetName()} has colours; choose a volume with one grey value for each voxel")
        storage = volume.CreateDefaultStorageNode()
        storage.SetFileName(os.fspath(file))
        storage.SetUseCompression(0)
        if not storage.WriteData(volume) or not file.is_file():
            raise RuntimeError(f"{file}: the volume cannot be written; is the disk full?")

    @staticmethod
    def scan_file(volume: Any) -> Path | None:
        """The file that a volume was loaded from; None for one that comes from elsewhere, such as DICOM."""
        storage = volume.GetStorageNode()
        name = storage.GetFileName() if storage is not None else None
        # A DICOM series is loaded from the first of its files; a label beside that would be hard to find again.
        if not name or volume.GetAttribute("DICOM.instanceUIDs"):
            return None
        return Path(name)

    @staticmethod
    def remove(node: Any) -> None:
        """Take a node out of the scene, if it is still there."""
        if node is not None and slicer.mrmlScene.IsNodePresent(node):
            slicer.mrmlScene.RemoveNode(node)


def from_world_to(volume: Any) -> Any:
    """The transform from the world (RAS mm) to the own frame of a volume, that without its parent transforms."""
    transform = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(None, volume.GetParentTransformNode(), transform)
    return transform
