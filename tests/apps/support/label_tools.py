"""Images, label maps and boxes as clients would send them, made by the tests."""

import json

import itk
import nibabel as nib
import numpy as np
import pytest
from landmark_app.lib.core.errors import ClientError
from landmark_app.lib.core.served import Served
from landmark_app.lib.geometry.balls import Grid
from landmark_app.lib.labels.label_forms import read_client_label

from auto_config.bundle_scripts.grid.label_map import draw_balls
from auto_config.bundle_scripts.points.landmarks import ABSENT, PRESENT, LandmarkSet

NAMES = ("AC", "PC", "Left eye")
BUNDLES = {"brain": NAMES}
# Rotated about z, of uneven spacing, with an axis flipped: nothing works by chance.
TURN = np.deg2rad(20)
AFFINE = np.array(
    [
        [-1.5 * np.cos(TURN), -0.8 * np.sin(TURN), 0.0, 30.0],
        [-1.5 * np.sin(TURN), 0.8 * np.cos(TURN), 0.0, -20.0],
        [0.0, 0.0, 2.0, 5.0],
        [0.0, 0.0, 0.0, 1.0],
    ]
)
SHAPE = (30, 40, 24)
GRID = Grid(SHAPE, AFFINE)
RADIUS = 4.0


def world(*voxel):
    """World mm of a voxel of the test image."""
    return AFFINE[:3, :3] @ np.asarray(voxel, dtype=float) + AFFINE[:3, 3]


POINTS = np.array([world(8.3, 10.2, 7.7), world(20.1, 30.4, 15.2), world(9.9, 28.8, 4.1)])


def answer(points=POINTS, names=NAMES, present=None, model="brain", confidence=0.9, **more):
    """What the server served."""
    present = np.ones(len(names), bool) if present is None else np.asarray(present, bool)
    return Served(
        model=model,
        landmarks=LandmarkSet(names, np.where(present[:, None], points, np.nan), np.where(present, PRESENT, ABSENT)),
        confidence=dict.fromkeys(names, confidence),
        uncertainty_mm=more.get("uncertainty_mm", {}),
        radius_mm=RADIUS,
        calibrated_radius_mm=more.get("calibrated_radius_mm", {}),
        time=more.get("time", 0.0),
        verdict=more.get("verdict", ""),
    )


def balls(points=POINTS):
    return draw_balls(np.asarray(points), SHAPE, AFFINE, RADIUS)


def save(path, labels, affine=AFFINE):
    """Write a label map, NIfTI or through ITK, `affine` being RAS."""
    if path.name.endswith((".nii", ".nii.gz")):
        nib.save(nib.Nifti1Image(labels, affine), path)
        return path
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image = itk.image_from_array(np.ascontiguousarray(labels.T))
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection(itk.matrix_from_array(np.ascontiguousarray(lps[:3, :3] / spacing)))
    itk.imwrite(image, str(path))
    return path


def box(name, point, *, node=None, system="LPS", size=(5.0, 5.0, 5.0), **more):
    """A box as Slicer writes it: the node renamed, the name kept in the control point."""
    sign = np.array([-1.0, -1.0, 1.0]) if system == "LPS" else np.ones(3)
    center = (np.asarray(point) * sign).tolist()
    return {
        "type": "ROI",
        "name": node or "Detection ROI - 1",
        "coordinateSystem": system,
        "center": center,
        "size": list(size),
        "controlPoints": [{"id": "1", "label": name, "description": "", "position": center, **more}],
    }


def write_json(path, content):
    path.write_text(json.dumps(content))
    return path


INFO = {"label_info": [{"name": name, "idx": k} for k, name in enumerate(NAMES, start=1)]}


def read_label(path, info=None, records=(), bundles=BUNDLES, grid=GRID, **more):
    """A label as the app reads it."""
    return read_client_label(
        path, image="case.1", grid=grid, bundles=bundles, info=INFO if info is None else info, records=records, **more
    )


def refused_label(path, *parts, **more):
    """The message for a label that cannot be used."""
    with pytest.raises(ClientError) as caught:
        read_label(path, **more)
    assert caught.value.status == 400
    assert "\n" not in caught.value.message
    assert str(path.parent) not in caught.value.message
    for part in parts:
        assert part in caught.value.message, caught.value.message
    return caught.value.message
