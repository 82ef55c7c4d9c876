# ruff: noqa: N802  Slicer's names
"""The section of the points: which landmark, what it is, place it, say that it is missing; what the bundle says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import qt
import slicer
from LandmarkBundlesLib.atlas import AtlasEntry
from LandmarkBundlesLib.landmarks import UNDEFINED, Landmark, MarkupsError, complete, titles
from LandmarkBundlesLib.verdicts import Verdict

from .parts import button, fill, row, section, text_label
from .scene import Scene

PICTURE_WIDTH = 320
"""Pixels on the screen."""


class PointsSection:
    """The points of one image, wherever they come from.

    Args:
        layout: of the panel.
        scene: where the nodes are.
        attempt: runs what a button does and shows why it failed.
    """

    def __init__(self, layout: Any, scene: Scene, attempt: Callable[[Callable[[], None]], None]) -> None:
        self.scene = scene
        self.owner: Any = None
        self.node: Any = None
        self.volume: Any = None
        self.names: tuple[str, ...] = ()
        self.many: tuple[str, ...] = ()
        self.atlas: Mapping[str, AtlasEntry] = {}
        self.name = ""
        form = section(layout, "Points")
        self.verdictLabel = text_label()
        self.landmarkBox = qt.QComboBox()
        self.landmarkBox.connect("currentIndexChanged(int)", lambda _index: self.show_atlas())
        self.placeButton = button("Place", "Place the chosen landmark with the next click", self.onPlace, attempt)
        self.anotherButton = button(
            "Another",
            "Place one more of the chosen landmark, where an image may have any number of it",
            self.onAnother,
            attempt,
        )
        self.missingButton = button("Missing", "The chosen landmark is not in this image", self.onMissing, attempt)
        self.jumpButton = button("Show", "Move the slices to the chosen landmark", self.onShow, attempt)
        self.nextButton = button("Next open", "The next landmark that is not placed yet", self.onNextOpen, attempt)
        self.atlasLabel = text_label()
        self.pictureLabel = qt.QLabel("")
        form.addRow("Verdict:", self.verdictLabel)
        form.addRow("Landmark:", self.landmarkBox)
        form.addRow(row(*self.buttons))
        form.addRow(self.atlasLabel)
        form.addRow(self.pictureLabel)

    @property
    def buttons(self) -> tuple[Any, ...]:
        """Those that need points."""
        return (self.placeButton, self.anotherButton, self.missingButton, self.jumpButton, self.nextButton)

    def begin(
        self,
        owner: Any,
        name: str,
        names: Sequence[str],
        many: Sequence[str] = (),
        *,
        atlas: Mapping[str, AtlasEntry] | None = None,
        volume: Any = None,
    ) -> None:
        """Other points from now on: those of another image or bundle.

        Args:
            owner: the section that they belong to; no other one may store them.
            name: of the point list.
            names: landmarks of the bundle, in its order.
            many: those that an image may have any number of.
            atlas: of the bundle.
            volume: in whose own frame the points are given; None for the world.
        """
        self.owner = owner
        self.name, self.names, self.many = name, tuple(names), tuple(many)
        self.atlas, self.volume = atlas or {}, volume
        self.show([], None)

    def show(self, landmarks: Sequence[Landmark], verdict: Verdict | None) -> None:
        """Replace the point list; ``verdict`` is None where nothing was predicted."""
        shown = complete(landmarks, self.names)
        self.scene.remove(self.node)
        self.node = self.scene.show_landmarks(shown, self.name, self.volume)
        fill(self.landmarkBox, titles(shown))
        self.verdictLabel.text = "" if verdict is None else verdict.html
        self.show_atlas()

    def clear(self) -> None:
        """Take the points out of the scene."""
        self.scene.remove(self.node)
        self.node = None

    def landmarks(self) -> list[Landmark]:
        """The points as they are now, in the frame of the volume or the world.

        Raises:
            MarkupsError: there are none.
        """
        if self.node is None:
            raise MarkupsError("no points yet; find or place some")
        return self.scene.landmarks(self.node, self.volume)

    def belong_to(self, owner: Any) -> bool:
        """Whether there are points, and they are those of a section."""
        return self.node is not None and self.owner is owner

    def show_atlas(self) -> None:
        """Definition and picture of the chosen landmark, where the bundle has them."""
        name = self._chosen_name()
        entry = self.atlas.get(name)
        self.atlasLabel.text = f"{name}: {entry.definition}" if entry is not None and entry.definition else ""
        pictures = entry.pictures if entry is not None else ()
        self.pictureLabel.visible = bool(pictures)
        if pictures:
            self._show_picture(pictures[0], len(pictures))

    def onPlace(self) -> None:
        """Place the chosen landmark with the next click."""
        index = self.landmarkBox.currentIndex
        self.node.UnsetNthControlPointPosition(index)
        self.node.SetControlPointPlacementStartIndex(index)
        selection = slicer.app.applicationLogic().GetSelectionNode()
        selection.SetReferenceActivePlaceNodeClassName("vtkMRMLMarkupsFiducialNode")
        selection.SetActivePlaceNodeID(self.node.GetID())
        slicer.modules.markups.logic().StartPlaceMode(False)

    def onAnother(self) -> None:
        """Place one more of the chosen landmark with the next click."""
        landmarks, index = self.landmarks(), self.landmarkBox.currentIndex
        name = landmarks[index].name
        if name not in self.many:
            raise MarkupsError(f"an image has one '{name}'; press Place to move it")
        last = max(place for place, landmark in enumerate(landmarks) if landmark.name == name)
        landmarks.insert(last + 1, Landmark(name))
        said = self.verdictLabel.text
        self.show(landmarks, None)
        self.verdictLabel.text = said
        self.landmarkBox.setCurrentIndex(last + 1)
        self.onPlace()

    def onMissing(self) -> None:
        """Say that the chosen landmark, or this one of several, is not in the image."""
        self.node.SetNthControlPointPositionMissing(self.landmarkBox.currentIndex)

    def onShow(self) -> None:
        """Move the slices to the chosen landmark."""
        index = self.landmarkBox.currentIndex
        slicer.modules.markups.logic().JumpSlicesToNthPointInMarkup(self.node.GetID(), index, True)

    def onNextOpen(self) -> None:
        """Choose the next landmark that nobody has decided on, with its definition and picture, and place it."""
        landmarks, here = self.landmarks(), self.landmarkBox.currentIndex
        count = len(landmarks)
        order = [(here + step) % count for step in range(1, count + 1)]
        index = next((i for i in order if landmarks[i].status == UNDEFINED), None)
        if index is None:
            raise MarkupsError("every landmark is placed or said to be missing")
        self.landmarkBox.setCurrentIndex(index)
        self.show_atlas()
        self.onPlace()

    def _chosen_name(self) -> str:
        """Of the landmark; its title has a number where there are several."""
        index = self.landmarkBox.currentIndex
        if self.node is None or not 0 <= index < self.node.GetNumberOfControlPoints():
            return ""
        return str(self.node.GetNthControlPointLabel(index))

    def _show_picture(self, file: Path, count: int) -> None:
        picture = qt.QPixmap(str(file))
        if picture.width() > PICTURE_WIDTH:
            picture = picture.scaledToWidth(PICTURE_WIDTH, qt.Qt.SmoothTransformation)
        self.pictureLabel.setPixmap(picture)
        self.pictureLabel.toolTip = f"{file.name}, the first of {count}" if count > 1 else file.name
