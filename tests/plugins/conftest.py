"""The module for Slicer is found as Slicer finds it: by the folder of its file. Slicer itself is stood in for."""

import os
import sys
import threading
import types
import unittest
from http.server import ThreadingHTTPServer
from pathlib import Path
from unittest.mock import MagicMock

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "plugins" / "slicer" / "LandmarkBundles"))

from LandmarkBundlesLib.landmarks import read_markups
from slicer_stand_ins import Box, FakeServer, Node, NodeBox, PathEdit, Settings, Transform


@pytest.fixture
def address():
    """Of a server that answers as the app does."""
    FakeServer.asked.clear()
    http = ThreadingHTTPServer(("127.0.0.1", 0), FakeServer)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{http.server_port}"
    http.shutdown()
    http.server_close()


@pytest.fixture
def slicer(monkeypatch):
    """Slicer's modules, as far as the panel needs them."""

    class Base:
        def __init__(self, parent=None):
            self.parent, self.layout = parent, MagicMock()

        def setup(self):
            pass

    scripted = types.ModuleType("slicer.ScriptedLoadableModule")
    for name in ("", "Logic", "Widget"):
        setattr(scripted, f"ScriptedLoadableModule{name}", type(name, (Base,), {}))
    scripted.ScriptedLoadableModuleTest = type("Test", (unittest.TestCase,), {"delayDisplay": MagicMock()})
    fake, qt, ctk = MagicMock(), MagicMock(), MagicMock()
    fake.util.loadMarkups = lambda path: Node(read_markups(Path(path).read_text(encoding="utf-8")))
    fake.util.startupEnvironment = lambda: dict(os.environ)
    fake.vtkMRMLTransformNode.GetTransformBetweenNodes = Transform.between
    fake.qMRMLNodeComboBox = NodeBox
    qt.QComboBox, qt.QSettings, ctk.ctkPathLineEdit = Box, Settings, PathEdit
    monkeypatch.setattr(Settings, "kept", {})
    for name in ("QLineEdit", "QLabel", "QSpinBox", "QCheckBox", "QPushButton"):
        getattr(qt, name).side_effect = lambda *_: MagicMock(text="", checked=False)
    vtk = MagicMock(vtkGeneralTransform=Transform)
    modules = {"slicer": fake, "slicer.ScriptedLoadableModule": scripted, "qt": qt, "ctk": ctk, "vtk": vtk}
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    _forget()
    yield fake
    _forget()


def _forget():
    """Import the module anew, with the stand-ins of each test."""
    for name in [name for name in sys.modules if name.split(".")[0] in ("LandmarkBundles", "LandmarkBundlesPanels")]:
        del sys.modules[name]
