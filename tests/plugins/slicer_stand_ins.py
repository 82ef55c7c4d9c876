"""Stand-ins for Slicer, Qt and a server, as far as the module asks them."""

import json
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
from LandmarkBundlesLib.landmarks import DEFINED, MISSING, UNDEFINED

SHIFTS = {"shift": (10.0, 20.0, 30.0)}
"""Transforms by their ids: RAS mm that they add."""


class FakeServer(BaseHTTPRequestHandler):
    """Answers as the app does, and keeps what it was asked."""

    asked: list = []  # noqa: RUF012  filled by the instances that http.server makes
    training = {"status": "RUNNING", "stats": {"epoch": 1, "max_epochs": 2}}  # noqa: RUF012
    many: list = []  # noqa: RUF012

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.asked.append((self.command, self.path, dict(self.headers), body))
        labels = {"nose Tip": 2, "AC": 1}
        atlas = [{"name": "AC", "definition": "anterior commissure"}]
        verdict = {"verdict": "check", "reasons": ["the shape does not fit"], "not_judged": ["views"]}
        known = {
            "/info/": {
                "bundles": {"head": {"trained": True}, "gone": {"trained": False}},
                "models": {"head_points": {"labels": labels, "many": self.many, "atlas": atlas}},
                "strategies": {"random": {}},
            },
            "/activelearning/random": {"id": "case 1", "path": "/nowhere/case 1.nii.gz"},
            "/activelearning/first": {},
            "/infer/head_points?image=case%201&output=json": {
                "landmarks": [{"name": "AC", "world": [1, 2, 3], "present": True, "confidence": 0.5}],
                "verdict": verdict,
            },
            "/datastore/label?image=case%201&tag=final": {},
            "/train/head": {},
            "/train/": self.training,
        }
        if self.path.startswith("/datastore/image?"):
            self.reply(200, b"voxels")
        elif self.path in known:
            self.reply(200, json.dumps(known[self.path]).encode())
        else:
            self.reply(409, json.dumps({"error": "bundle 'new' has no weights yet"}).encode())

    do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815

    def reply(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_words) -> None:
        """Nothing on the screen."""


class Node:
    """A point list of Slicer, as far as the module asks it; RAS."""

    PositionUndefined, PositionPreview, PositionDefined, PositionMissing = range(4)

    def __init__(self, landmarks):
        states = {DEFINED: self.PositionDefined, MISSING: self.PositionMissing, UNDEFINED: self.PositionUndefined}
        self.shift = np.zeros(3)
        self.rows = [[p.name, states[p.status], np.array(p.position or (0, 0, 0)) * [-1, -1, 1]] for p in landmarks]

    def GetNumberOfControlPoints(self):  # noqa: N802
        return len(self.rows)

    def GetNthControlPointLabel(self, index):  # noqa: N802
        return self.rows[index][0]

    def GetNthControlPointPositionStatus(self, index):  # noqa: N802
        return self.rows[index][1]

    def GetNthControlPointPositionWorld(self, index, position):  # noqa: N802
        position[:] = self.rows[index][2] + self.shift

    def SetAndObserveTransformNodeID(self, name):  # noqa: N802
        self.shift = np.array(SHIFTS.get(name, (0.0, 0.0, 0.0)))

    def SetName(self, name):  # noqa: N802
        self.name = name

    def GetID(self):  # noqa: N802
        return "vtkMRMLMarkupsFiducialNode1"

    def UnsetNthControlPointPosition(self, index):  # noqa: N802
        self.rows[index][1] = self.PositionUndefined

    def SetControlPointPlacementStartIndex(self, index):  # noqa: N802
        self.placed_next = index

    def SetNthControlPointPositionMissing(self, index):  # noqa: N802
        self.rows[index][1] = self.PositionMissing


class Box(MagicMock):
    """A combo box."""

    def __init__(self, *_args, **_kwargs):
        super().__init__()
        self.texts, self.currentIndex = [], 0

    @property
    def currentText(self):  # noqa: N802
        return self.texts[self.currentIndex] if self.texts else ""

    def addItems(self, texts):  # noqa: N802
        self.texts.extend(texts)

    def clear(self):
        self.texts, self.currentIndex = [], 0

    def setCurrentIndex(self, index):  # noqa: N802
        self.currentIndex = index

    def _get_child_mock(self, **kwargs):
        return MagicMock(**kwargs)


class Transform:
    """`vtkGeneralTransform`, from the world to a node under a transform of `SHIFTS`."""

    def __init__(self):
        self.shift = np.zeros(3)

    def TransformPoint(self, point):  # noqa: N802
        return tuple(np.asarray(point) - self.shift)

    @staticmethod
    def between(source, target, transform):
        assert source is None  # the world
        transform.shift = np.array(SHIFTS.get(target, (0.0, 0.0, 0.0)))


class Volume:
    """A volume node.

    Args:
        name: Of the node.
        voxels: (I, J, K).
        affine: (4, 4) voxel to RAS mm of its own frame.
        parent: Id of its transform, of `SHIFTS`.
        file: That it was loaded from.
        components: Of a voxel.
    """

    def __init__(self, name, voxels, affine, *, parent=None, file=None, components=1):
        self.name, self.voxels, self.affine = name, voxels, affine
        self.parent, self.file, self.components = parent, file, components
        self.attributes = {}

    def GetName(self):  # noqa: N802
        return self.name

    def GetTransformNodeID(self):  # noqa: N802
        return self.parent

    def SetAndObserveTransformNodeID(self, name):  # noqa: N802
        self.parent = name

    def GetParentTransformNode(self):  # noqa: N802
        return self.parent

    def GetAttribute(self, name):  # noqa: N802
        return self.attributes.get(name)

    def GetImageData(self):  # noqa: N802
        return None if self.voxels is None else MagicMock(GetNumberOfScalarComponents=lambda: self.components)

    def GetStorageNode(self):  # noqa: N802
        return None if self.file is None else MagicMock(GetFileName=lambda: str(self.file))

    def CreateDefaultStorageNode(self):  # noqa: N802
        return Storage()


class Storage:
    """A storage node that writes NRRD as Slicer does, in LPS."""

    def SetFileName(self, name):  # noqa: N802
        self.path = Path(name)

    def SetUseCompression(self, wanted):  # noqa: N802
        assert wanted == 0

    def WriteData(self, volume):  # noqa: N802
        write_nrrd(self.path, volume.voxels, volume.affine)
        return 1


def write_nrrd(path, voxels, affine):
    """Voxels (I, J, K) and their affine to RAS mm as NRRD in LPS."""
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    vectors = ["(" + ",".join(repr(float(x)) for x in column) + ")" for column in lps[:3].T]
    lines = [
        "NRRD0004",
        "type: float",
        "dimension: 3",
        "space: left-posterior-superior",
        f"sizes: {' '.join(map(str, voxels.shape))}",
        f"space directions: {' '.join(vectors[:3])}",
        "kinds: domain domain domain",
        "endian: little",
        "encoding: raw",
        f"space origin: {vectors[3]}",
    ]
    path.write_bytes("\n".join([*lines, "", ""]).encode() + voxels.astype("<f4").tobytes(order="F"))


class PathEdit(MagicMock):
    """`ctkPathLineEdit`."""

    Dirs = 1

    def __init__(self, *_args, **_kwargs):
        super().__init__()
        self.currentPath = ""

    def _get_child_mock(self, **kwargs):
        return MagicMock(**kwargs)


class NodeBox(MagicMock):
    """`qMRMLNodeComboBox`."""

    def __init__(self, *_args, **_kwargs):
        super().__init__()
        self.node = None

    def currentNode(self):  # noqa: N802
        return self.node

    def _get_child_mock(self, **kwargs):
        return MagicMock(**kwargs)


class Settings:
    """`QSettings`, which all of Slicer shares."""

    kept: dict = {}  # noqa: RUF012  emptied by the fixture

    def value(self, key, otherwise=None):
        return self.kept.get(key, otherwise)

    def setValue(self, key, value):  # noqa: N802
        self.kept[key] = value
