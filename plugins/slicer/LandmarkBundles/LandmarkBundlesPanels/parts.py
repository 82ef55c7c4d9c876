"""Small parts of Qt that the sections of the panel share, and how an action fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ctk
import qt
import slicer
from LandmarkBundlesLib.atlas import AtlasError
from LandmarkBundlesLib.landmarks import MarkupsError
from LandmarkBundlesLib.logic import ServerError
from LandmarkBundlesLib.predictions import PredictionError
from LandmarkBundlesLib.programs import ProgramError

TITLE = "Landmark Bundles"
EXPECTED = (ServerError, MarkupsError, PredictionError, ProgramError, AtlasError, OSError, RuntimeError)
"""Errors whose text is for the person at the screen."""


def section(layout: Any, title: str, *, closed: bool = False) -> Any:
    """A section that can be closed; returns its form."""
    box = ctk.ctkCollapsibleButton()
    box.text = title
    box.collapsed = closed
    layout.addWidget(box)
    return qt.QFormLayout(box)


def button(text: str, tip: str, action: Callable[[], None], attempt: Callable[[Callable[[], None]], None]) -> Any:
    """A button whose action fails with a message."""
    made = qt.QPushButton(text)
    made.toolTip = tip
    made.connect("clicked(bool)", lambda _checked=False: attempt(action))
    return made


def row(*widgets: Any) -> Any:
    """Widgets side by side."""
    layout = qt.QHBoxLayout()
    for widget in widgets:
        layout.addWidget(widget)
    return layout


def text_label() -> Any:
    """A label for sentences."""
    label = qt.QLabel("")
    label.wordWrap = True
    return label


def fill(box: Any, texts: list[str]) -> None:
    """Replace the entries of a box; the chosen one stays, if it is still there."""
    chosen = box.currentText
    box.clear()
    box.addItems(texts)
    if chosen in texts:
        box.setCurrentIndex(texts.index(chosen))


def remember(key: str, value: Any) -> None:
    """Keep a value in Slicer's settings."""
    qt.QSettings().setValue(f"LandmarkBundles/{key}", value)


def remembered(key: str, otherwise: str = "") -> str:
    """A value of Slicer's settings."""
    return str(qt.QSettings().value(f"LandmarkBundles/{key}", otherwise) or otherwise)


def show_error(message: str) -> None:
    """A message in a window."""
    slicer.util.errorDisplay(message, windowTitle=TITLE)
