"""Labels over a running server: every form comes in, what was served comes back unrounded, and scores follow."""

import json

import nibabel as nib
import numpy as np
import pytest
import requests
from app_tools import BALL_RADIUS_MM, NAMES, oblique_affine, true_world, write_volume
from label_tools import box

from auto_config.bundle_scripts.grid.label_map import draw_balls
from auto_config.bundle_scripts.points.landmark_files import read_markups, write_markups
from auto_config.bundle_scripts.points.landmarks import ABSENT, PRESENT, LandmarkSet

pytestmark = pytest.mark.usefixtures("warm_python")

SHAPE = (34, 30, 26)
AFFINE = oblique_affine("pir")
TRUTH = true_world(AFFINE, SHAPE)
TOLERANCE_MM = 1e-3
IMAGES = ("case.1", "case.2", "case.10", "forms")
LABEL_INFO = {"label_info": [{"name": name, "idx": k} for k, name in enumerate(NAMES, start=1)]}


@pytest.fixture(scope="module")
def running(server, bundles, tmp_path_factory):
    folder = tmp_path_factory.mktemp("label_studies")
    for name in IMAGES:
        write_volume(folder / f"{name}.nii.gz", AFFINE)
    return server(bundles, folder)


def put(running, image, path, tag="final", params=None):
    with path.open("rb") as stream:
        return requests.put(
            f"{running.url}/datastore/label",
            params={"image": image, "tag": tag},
            data={"params": json.dumps(params or {})},
            files={"label": (path.name, stream)},
            timeout=120,
        )


def canonical(running, image, tag="final"):
    return read_markups(running.studies / "labels" / tag / f"{image}.mrk.json")


def labels_of(running, image):
    return running.get("/datastore/?output=all")["objects"][image]["labels"]


def served_label_map(running, image):
    """The label map that the server gives for an image, and its affine."""
    status, _, body = running.infer("head", image, {"result_extension": ".nii"}, output="image")
    assert status == 200, body
    volume = nib.Nifti1Image.from_bytes(body)
    return np.asarray(volume.dataobj).copy(), volume.affine


def write_map(path, labels, affine=AFFINE):
    nib.save(nib.Nifti1Image(labels, affine), path)
    return path


def write_fcsv(path, names, points):
    """A table of points as Slicer writes it."""
    rows = [f"{k},{x},{y},{z},0,0,0,1,1,1,0,{name},," for k, (name, (x, y, z)) in enumerate(zip(names, points))]  # noqa: B905
    columns = "id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID"
    head = [
        "# Markups fiducial file version = 4.11",
        "# CoordinateSystem = LPS",
        f"# columns = {columns}",
    ]
    path.write_text("\n".join([*head, *rows]) + "\n", encoding="utf-8")
    return path


def test_one_correction_leaves_the_others_as_they_were_served(running, tmp_path):
    labels, affine = served_label_map(running, "case.1")
    assert set(np.unique(labels)) == set(range(len(NAMES) + 1))
    moved = np.roll(labels == 3, 2, axis=1)  # to a free place
    labels[labels == 3] = 0
    labels[moved] = 3
    labels[labels == 4] = 0  # not in the image, says the annotator
    back = write_map(tmp_path / "back.nii.gz", labels, affine)
    answer = put(running, "case.1", back, params=LABEL_INFO)
    assert answer.status_code == 200, answer.text
    saved = canonical(running, "case.1")
    assert saved.names == NAMES
    assert saved.status.tolist() == [PRESENT, PRESENT, PRESENT, ABSENT]
    np.testing.assert_allclose(saved.points[:2], TRUTH[:2], atol=TOLERANCE_MM)
    center = affine[:3] @ [*np.argwhere(moved).mean(axis=0), 1.0]
    np.testing.assert_allclose(saved.points[2], center, atol=TOLERANCE_MM)
    assert running.get("/datastore/label/info?label=case.1&tag=final")["kept"] == sorted(NAMES[:2])
    again = requests.get(f"{running.url}/datastore/label", params={"label": "case.1", "tag": "final"}, timeout=60)
    assert again.content == back.read_bytes()
    assert "case.1.nii.gz" in again.headers["content-disposition"]


def test_every_form_is_exact_and_the_ones_before_are_kept(running, tmp_path):
    rng = np.random.default_rng(0)
    sent = []

    def check(path, points, tolerance=TOLERANCE_MM):
        answer = put(running, "forms", path, params=LABEL_INFO)
        assert answer.status_code == 200, answer.text
        saved = canonical(running, "forms")
        assert saved.names == NAMES
        np.testing.assert_allclose(saved.points, points, atol=tolerance)
        sent.append(path.read_bytes())

    points = TRUTH + rng.uniform(-1, 1, TRUTH.shape)
    write_markups(tmp_path / "a.mrk.json", LandmarkSet(NAMES, points, np.full(4, PRESENT)))
    check(tmp_path / "a.mrk.json", points)
    points = TRUTH + rng.uniform(-1, 1, TRUTH.shape)
    check(write_fcsv(tmp_path / "b.fcsv", (f'"{name}"' for name in NAMES), points * [-1, -1, 1]), points)
    points = TRUTH + rng.uniform(-1, 1, TRUTH.shape)
    boxes = [box(name, point) for name, point in zip(NAMES, points, strict=True)]
    stray = box("SAM2 ROI", TRUTH[0], node="SAM2 ROI - 1", size=(50.0, 50.0, 50.0))
    (tmp_path / "c.json").write_text(json.dumps({"markups": [*boxes, stray]}))
    check(tmp_path / "c.json", points)
    notes = running.get("/datastore/label/info?label=forms&tag=final")["notes"]
    assert any("SAM2 ROI" in note and "ignored" in note for note in notes)
    # Another grid: a part of the image, voxels of half the size along one axis. The world is what counts.
    finer = AFFINE @ np.diag([0.5, 1.0, 1.0, 1.0])
    finer[:3, 3] += AFFINE[:3, :3] @ [1.0, 1.0, 0.0]
    points = TRUTH + [[0, 0, -6], [0, 0, 6], [0, 0, 0], [0, 0, 0]]  # apart, so that balls are whole
    labels = draw_balls(points, (62, 28, 26), finer, BALL_RADIUS_MM)
    check(write_map(tmp_path / "d.nii.gz", labels, finer), points, tolerance=0.5)
    history = running.studies / "labels" / "final" / "uploads" / "forms"
    assert [path.read_bytes() for path in sorted(history.glob("*/upload/*"))] == sent


def _two_pieces(folder):
    labels = draw_balls(TRUTH, SHAPE, AFFINE, BALL_RADIUS_MM)
    labels[1:3, 1:3, 1:3] = 4
    return write_map(folder / "x.nii.gz", labels)


def _elsewhere(folder):
    away = AFFINE.copy()
    away[:3, 3] += 500.0
    return write_map(folder / "x.nii.gz", draw_balls(TRUTH, SHAPE, AFFINE, BALL_RADIUS_MM), away)


def _nameless_value(folder):
    labels = draw_balls(TRUTH, SHAPE, AFFINE, BALL_RADIUS_MM)
    labels[labels == 4] = 9
    return write_map(folder / "x.nii.gz", labels)


def _half_a_file(folder):
    path = write_map(folder / "x.nii.gz", draw_balls(TRUTH, SHAPE, AFFINE, BALL_RADIUS_MM))
    path.write_bytes(path.read_bytes()[:200])
    return path


def _text(name, content):
    def write(folder):
        (folder / name).write_text(content, encoding="utf-8")
        return folder / name

    return write


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (_text("x.json", '{"F-1": [0, 0, 0]}'), "'F-1' is not among the landmarks"),
        (_text("x.json", '{"Nose tip": [900, 0, 0]}'), "'Nose tip' at (900.0, 0.0, 0.0) mm RAS lies outside the image"),
        (_text("x.mrk.json", '{"markups": ['), "not valid JSON"),
        (_text("x.txt", "Nose tip 1 2 3"), "the file is called 'x.txt'; its name must end with one of"),
        (lambda folder: write_map(folder / "x.nii.gz", np.zeros(SHAPE, np.uint8)), "the label map is empty"),
        (_two_pieces, "landmark 'EAR left' is at two places"),
        (_elsewhere, "no labelled voxel lies inside the image"),
        (_nameless_value, "the value 9 without a name"),
        (_half_a_file, "the label map cannot be read"),
    ],
)
def test_errors_are_clear_and_change_nothing(running, tmp_path, write, said):
    answer = put(running, "case.2", write(tmp_path), params=LABEL_INFO)
    assert answer.status_code == 400
    assert said in answer.json()["error"]
    assert str(running.studies) not in answer.text
    assert labels_of(running, "case.2") == {}
    assert not (running.studies / "labels" / "final" / "uploads" / "case.2").exists()


def test_scores_and_the_next_image(running, tmp_path):
    status, _, body = running.infer("head", "case.10", {"save_label": True, "label_tag": "original"}, output="json")
    assert status == 200, body
    corrected = {name: (point + [0.0, 2.75, 0.0]).tolist() for name, point in zip(NAMES, TRUTH, strict=True)}
    (tmp_path / "x.json").write_text(json.dumps(corrected | {NAMES[3]: "absent"}))
    assert put(running, "case.10", tmp_path / "x.json").status_code == 200
    answer = requests.post(f"{running.url}/scoring/landmark_error?run_sync=true", json={}, timeout=120)
    assert answer.status_code == 200, answer.text
    assert answer.json()["images"]["case.10"]["mre_mm"] == pytest.approx(2.75, abs=TOLERANCE_MM)
    info = running.get("/datastore/?output=all")["objects"]["case.10"]["image"]["info"]["landmark_error"]
    assert info["sdr"] == {"2": 0.0, "2.5": 0.0, "3": 100.0, "4": 100.0}
    assert info["absent_but_offered"] == [NAMES[3]]
    left = [image for image in IMAGES if "final" not in labels_of(running, image)]
    for strategy in ("first", "random", "uncertainty"):
        answer = requests.post(f"{running.url}/activelearning/{strategy}", json={}, timeout=60)
        assert answer.json()["id"] in (left[:1] if strategy == "first" else left)
