"""The atlas of a bundle: definitions, places in the mean shape, drawings of nobody, and slices only where asked for."""

import io
import json
import re

import nibabel as nib
import numpy as np
import pytest
from blobs import HEAD, TEMPLATE, draw, landmark_set, write_blobs
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PillowImage

from auto_config.bundle.atlas.document import (
    DOCUMENT,
    atlas_case,
    atlas_files,
    case_pictures,
    positions,
    without_case_pictures,
)
from auto_config.bundle.atlas.pictures import PANEL, SLICE, case_picture, shape_picture
from auto_config.bundle_scripts.points.landmark_files import write_markups
from auto_config.commands.create import create
from auto_config.datasets import Case, read_dataset
from auto_config.datasets.images import read_image
from auto_config.errors import UserError


def table(points, dims=3):
    rows = [
        {"name": f"point {i}", "slug": f"point_{i}", "mean_offset_mm": None if np.isnan(point).any() else list(point)}
        for i, point in enumerate(points)
    ]
    return {"spatial_dims": dims, "unit": "px" if dims == 2 else "mm", "landmarks": rows}


def opened(picture):
    return np.asarray(PillowImage.open(io.BytesIO(picture)).convert("RGB"), dtype=int)


def red(panel):
    """Middle of the red dot, (column, row)."""
    rows, columns = np.nonzero((panel[..., 0] > 180) & (panel[..., 1] < 90))
    return np.array([columns.mean(), rows.mean()])


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1), st.integers(0, 7))
def test_the_red_dot_is_where_the_landmark_lies(seed, index):
    points = np.random.default_rng(seed).uniform(-40, 60, (8, 3))
    picture = opened(shape_picture(points, index))
    assert picture.shape == (PANEL, 3 * PANEL, 3)
    low, high = points.min(0), points.max(0)
    scale = PANEL * (1 - 2 * 0.16) / (high - low).max()
    at = (points[index] - (low + high) / 2) * scale
    middle = (PANEL - 1) / 2
    # Patient right is on the left, anterior on the right of the sagittal panel, superior and anterior are up.
    expected = [(-at[0], at[1]), (-at[0], at[2]), (at[1], at[2])]
    for number, (right, up) in enumerate(expected):
        panel = picture[:, number * PANEL : (number + 1) * PANEL]
        np.testing.assert_allclose(red(panel), (middle + right, middle - up), atol=1.5)


def test_a_picture_has_one_panel_with_y_down():
    panel = opened(shape_picture(np.array([[0.0, 0.0], [100.0, 100.0], [0.0, 100.0]]), 2))
    assert panel.shape == (PANEL, PANEL, 3)
    column, row = red(panel)
    assert column < PANEL / 2 < row


def test_the_directions_are_left_out_where_cases_lie_in_any_pose():
    points = np.random.default_rng(0).normal(size=(5, 3))
    assert shape_picture(points, 0, upright=False) != shape_picture(points, 0)
    document = json.loads(atlas_files(table(points), None, {}, upright=False)[DOCUMENT])
    assert "axes of no meaning" in document["frame"]


def test_an_atlas_of_fifty_landmarks_is_small():
    points = np.random.default_rng(0).normal(size=(50, 3)) * 60
    assert sum(map(len, atlas_files(table(points), None, {}).values())) < 300_000


def test_what_is_not_known_is_left_open():
    points = np.array([[0.0, 1, 2], [np.nan] * 3, [3.0, 4, 5.004]])
    files = atlas_files(table(points), None, {"point 1": "a tooth"})
    document = json.loads(files.pop(DOCUMENT))
    assert document["landmarks"] == [
        {"name": "point 0", "definition": "", "position_mm": [0, 1, 2], "pictures": ["point_0.png"]},
        {"name": "point 1", "definition": "a tooth", "position_mm": None, "pictures": []},
        {"name": "point 2", "definition": "", "position_mm": [3, 4, 5], "pictures": ["point_2.png"]},
    ]
    assert set(files) == {"atlas/point_0.png", "atlas/point_2.png"}
    flat = json.loads(atlas_files(table(points[:, :2], dims=2), None, {})[DOCUMENT])
    assert flat["frame"].startswith("px from the middle of the picture; x right, y down")


def test_places_are_those_of_the_mean_shape_in_its_mean_pose():
    turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    mean = np.array([[1.0, 2, 3], [-1, 0, 2]])
    shape = {"mean": [*mean.tolist(), None], "spread": [1, 1, None], "rotation": turn.tolist(), "offset": [10, 20, 30]}
    found = positions(table(np.array([[9.0, 9, 9], [9, 9, 9], [7, 8, 9]])), {"shape": shape})
    np.testing.assert_allclose(found, [[8, 21, 33], [10, 19, 32], [7, 8, 9]])
    np.testing.assert_allclose(positions(table(mean), {"shape": None}), mean)


def test_slices_go_through_the_point(tmp_path):
    rng = np.random.default_rng(0)
    nib.save(draw(TEMPLATE, "pir", rng), tmp_path / "a.nii.gz")
    image = read_image(tmp_path / "a.nii.gz")
    panels = opened(case_picture(image, TEMPLATE[3]))
    assert panels.shape == (SLICE, 3 * SLICE, 3)
    for number in range(3):
        panel = panels[:, number * SLICE : (number + 1) * SLICE]
        # The blob of the point is the brightest thing, in the middle of each panel, within the ring.
        assert panel[SLICE // 2, SLICE // 2].min() > 200
        assert ((panel[..., 0] > 180) & (panel[..., 2] < 110)).any()


def cases_of(shapes):
    return [Case(f"case{i}", (), landmark_set(HEAD, points)) for i, points in enumerate(shapes)]


def test_the_case_nearest_to_the_mean_shape_is_taken():
    rng = np.random.default_rng(3)
    noise = [4.0, 2.0, 0.05, 3.0]
    shapes = [TEMPLATE + rng.normal(0, sigma, TEMPLATE.shape) for sigma in noise]
    verdict = {
        "shape": {
            "mean": TEMPLATE.tolist(),
            "spread": [1.0] * 4,
            "rotation": np.eye(3).tolist(),
            "offset": None,
        }
    }
    cases = cases_of(shapes)
    assert atlas_case("nearest", cases, HEAD, verdict).name == "case2"
    assert atlas_case("case3", cases, HEAD, verdict).name == "case3"
    with pytest.raises(UserError, match="--atlas is 'eve'; give the name of a training case, or nearest"):
        atlas_case("eve", cases, HEAD, verdict)
    with pytest.raises(UserError, match="no training case has enough landmarks"):
        atlas_case("nearest", cases, HEAD, {"shape": None})


def test_only_drawings_are_handed_on_unasked():
    files = {**atlas_files(table(TEMPLATE), None, {"point 0": "left eye"}), "configs/train.json": b"{}"}
    document = json.loads(files[DOCUMENT])
    for row in document["landmarks"]:
        row["pictures"].append(f"{row['name']}_slices.jpg")
    shown = {f"atlas/point {i}_slices.jpg": b"?" for i in range(4)}
    changed = {**files, **shown, "atlas/notes.txt": b"?", DOCUMENT: json.dumps(document).encode()}
    assert set(case_pictures(changed)) == {*shown, "atlas/notes.txt"}
    assert without_case_pictures(changed) == files
    assert without_case_pictures({"atlas/a.png": b"?", "LICENSE": b""}) == {"LICENSE": b""}
    assert case_pictures({"LICENSE": b""}) == []


@pytest.mark.parametrize("edited", ["{", "[]", '{"landmarks": [{"definition": "?"}]}', '{"landmarks": "ab"}'])
def test_an_atlas_that_was_edited_wrongly_is_named(edited):
    with pytest.raises(UserError, match=r"atlas/atlas.json: is not what `create` writes"):
        without_case_pictures({DOCUMENT: edited.encode()})


def test_a_landmark_of_an_edited_atlas_may_have_no_pictures():
    edited = {DOCUMENT: json.dumps({"landmarks": [{"name": "A", "definition": "by hand"}]}).encode()}
    assert json.loads(without_case_pictures(edited)[DOCUMENT])["landmarks"][0]["pictures"] == []
    assert case_pictures(edited) == []


def test_what_slicer_says_of_a_point_in_all_files_defines_it(tmp_path):
    truth = write_blobs(tmp_path, cases=4)
    for number, (case, points) in enumerate(truth.items()):
        said = ["outer corner of the eye", f"case {number}", "confidence 0.50", "top" if number else ""]
        write_markups(tmp_path / "landmarks" / f"{case}.mrk.json", landmark_set(HEAD, points), descriptions=said)
    assert read_dataset(tmp_path)[0].properties.descriptions == {"eye_left": "outer corner of the eye"}
    rows = [{"name": name} for name in HEAD]
    rows[0]["description"] = "declared"
    (tmp_path / "landmarks.json").write_text(json.dumps({"landmarks": rows}))
    assert read_dataset(tmp_path)[0].properties.descriptions == {"eye_left": "declared"}


def test_a_bundle_has_its_atlas_and_slices_only_where_asked_for(heads, tmp_path):
    bundle = tmp_path / "bundle"
    options = {"network": "tiny", "stages": 1, "workers": 1, "few_labels": False}
    assert create(heads[0], bundle, **options) == 0
    document = json.loads((bundle / DOCUMENT).read_text())
    assert [row["name"] for row in document["landmarks"]] == list(HEAD)
    assert sorted(path.name for path in (bundle / "atlas").iterdir()) == sorted(
        ["atlas.json", *(picture for row in document["landmarks"] for picture in row["pictures"])]
    )
    for row, place in zip(document["landmarks"], TEMPLATE, strict=True):
        assert np.linalg.norm(np.array(row["position_mm"]) - place) < 4
        assert PillowImage.open(bundle / "atlas" / row["pictures"][0]).size == (3 * PANEL, PANEL)
    assert create(heads[0], bundle, atlas="nearest", overwrite=True, **options) == 0
    rows = json.loads((bundle / DOCUMENT).read_text())["landmarks"]
    assert [len(row["pictures"]) for row in rows] == [2] * 4
    assert PillowImage.open(bundle / "atlas" / rows[0]["pictures"][1]).size == (3 * SLICE, SLICE)
    # No name of a case stands in it.
    names = [item["case"] for item in json.loads((bundle / "data" / "datalist.json").read_text())["training"]]
    assert not re.search("|".join(names), (bundle / DOCUMENT).read_text())
    with pytest.raises(UserError, match="give the name of a training case"):
        create(heads[0], tmp_path / "other", atlas="eve", **options)
    assert not (tmp_path / "other").exists()
