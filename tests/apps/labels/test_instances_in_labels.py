"""Landmarks of which an image may have any number, in every form that clients send."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from label_tools import AFFINE, GRID, RADIUS, SHAPE, box, save, world, write_json
from landmark_app.lib.core.errors import ClientError
from landmark_app.lib.core.names import KnownNames
from landmark_app.lib.core.served import Served
from landmark_app.lib.labels.label_forms import read_client_label

from auto_config.bundle_scripts.grid.label_map import draw_balls
from auto_config.bundle_scripts.points.fcsv_files import write_fcsv
from auto_config.bundle_scripts.points.landmark_files import write_markups
from auto_config.bundle_scripts.points.landmarks import ABSENT, PRESENT, UNKNOWN, LandmarkSet

NAMES = ("nasion", "suture")
BUNDLES = {"skull": NAMES}
MANY = {"suture": 5.0}
NASION = world(8.3, 10.2, 17.7)
# The balls of the first two touch: 7 mm apart, with a radius of 4 mm.
SUTURES = np.array([world(8.3, 10.2, 7.7), world(8.3, 18.9, 7.6), world(20.4, 30.1, 15.2)])


def landmarks(sutures=SUTURES, nasion=NASION):
    points = np.array([nasion, *sutures])
    return LandmarkSet.from_rows(["nasion", *["suture"] * len(sutures)], points, [PRESENT] * len(points), MANY)


def answer(found=None, time=0.0):
    found = landmarks() if found is None else found
    each = [0.9, 0.8, 0.7]
    return Served("skull", found, {"nasion": 0.95, "suture": 0.8}, {}, RADIUS, {}, time, {"suture": each})


def drawn(found) -> np.ndarray:
    """The label map of a set, as the server draws it."""
    rows = found.rows()
    values = np.array([index + 1 for index, *_ in rows])
    return draw_balls(np.array([point for _, point, _ in rows]), SHAPE, AFFINE, RADIUS, values)


def ball(point) -> np.ndarray:
    return draw_balls(np.asarray(point)[None], SHAPE, AFFINE, RADIUS) > 0


def read(path, records=None, info=None, **more):
    records = [answer()] if records is None else records
    given = {"image": "a", "grid": GRID, "bundles": BUNDLES, "info": info or {}, "records": records, "many": MANY}
    return read_client_label(path, **{**given, **more})


def read_map(tmp_path, labels, records=None, affine=AFFINE, **more):
    return read(save(tmp_path / "label.nii.gz", labels, affine), records, **more)


def same_points(found, expected, atol=1e-9):
    """Whether two sets of points are the same, in whatever order."""
    distances = np.linalg.norm(np.asarray(found)[:, None] - np.asarray(expected)[None], axis=-1)
    return distances.shape[0] == distances.shape[1] and bool((distances.min(axis=1) <= atol).all())


def test_untouched_balls_keep_their_points_also_where_they_touch(tmp_path):
    labels = drawn(landmarks())
    label = read_map(tmp_path, labels)
    assert label.landmarks == landmarks()
    assert label.kept == NAMES
    assert label.confidence == {"nasion": 0.95, "suture": 0.8}
    assert label.notes == ()


def test_a_cropped_and_flipped_map_is_the_same(tmp_path):
    labels = drawn(landmarks())
    flip = np.diag([-1.0, 1, 1, 1])
    flip[0, 3] = SHAPE[0] - 1
    crop = np.eye(4)
    crop[2, 3] = 3
    label = read_map(tmp_path, labels[::-1, :, 3:].copy(), affine=AFFINE @ flip @ crop)
    assert same_points(label.landmarks.instances["suture"], SUTURES)


def test_a_ball_that_was_moved_leaves_the_others_their_points(tmp_path):
    moved = world(14, 30, 5)
    labels = drawn(landmarks())
    labels[ball(SUTURES[2])] = 0
    labels[ball(moved)] = 2
    label = read_map(tmp_path, labels)
    found = label.landmarks.instances["suture"]
    np.testing.assert_allclose(found[:2], SUTURES[:2])
    np.testing.assert_allclose(found[2:], [moved], atol=0.1)
    assert label.kept == ("nasion",)


def test_one_of_two_that_touch_was_erased(tmp_path):
    labels = drawn(landmarks())
    labels[draw_balls(SUTURES, SHAPE, AFFINE, RADIUS) == 2] = 0
    label = read_map(tmp_path, labels)
    np.testing.assert_allclose(label.landmarks.instances["suture"], SUTURES[[0, 2]])


def test_one_that_was_erased_is_gone_and_said(tmp_path):
    labels = drawn(landmarks())
    labels[ball(SUTURES[2])] = 0
    label = read_map(tmp_path, labels)
    assert same_points(label.landmarks.instances["suture"], SUTURES[:2])
    assert label.notes == ("'suture' has 2 instances, 3 were offered",)


def test_all_erased_is_absent(tmp_path):
    labels = drawn(landmarks())
    labels[labels == 2] = 0
    label = read_map(tmp_path, labels)
    assert label.landmarks.status.tolist() == [PRESENT, ABSENT]
    assert label.landmarks.instances["suture"].shape == (0, 3)
    assert "stored as absent" in label.notes[0]


def test_one_that_was_added_is_an_instance_also_beside_a_served_one(tmp_path):
    labels = drawn(landmarks())
    far, beside = world(22, 8, 18), SUTURES[2] - [0.0, 7.5, 0.0]
    labels[ball(far) & (labels == 0)] = 2
    labels[ball(beside) & (labels == 0)] = 2
    label = read_map(tmp_path, labels)
    found = label.landmarks.instances["suture"]
    np.testing.assert_allclose(found[:3], SUTURES)
    assert len(found) == 5
    for point in (far, beside):
        assert np.linalg.norm(found - point, axis=1).min() < 0.5


def test_what_is_painted_onto_a_ball_moves_it(tmp_path):
    labels = drawn(landmarks())
    grown = ball(SUTURES[2]) | ball(SUTURES[2] + [2.0, 0.0, 0.0])
    labels[grown] = 2
    label = read_map(tmp_path, labels)
    found = label.landmarks.instances["suture"]
    assert len(found) == 3
    np.testing.assert_allclose(found[:2], SUTURES[:2])
    np.testing.assert_allclose(found[2], GRID.world(np.flatnonzero(grown)).mean(axis=0), atol=1e-5)


def test_what_other_landmarks_took_of_a_ball_does_not_move_it(tmp_path):
    labels = drawn(landmarks())
    labels[drawn(landmarks()) == 1] = 0
    labels[ball(SUTURES[2] + [3.0, 0.0, 0.0])] = 1
    label = read_map(tmp_path, labels)
    np.testing.assert_allclose(label.landmarks.instances["suture"], SUTURES)


def test_without_anything_served_each_piece_is_an_instance(tmp_path):
    labels = drawn(landmarks(SUTURES[1:]))
    label = read_map(tmp_path, labels, [], info={"model": "skull_edit"})
    assert same_points(label.landmarks.instances["suture"], SUTURES[1:], atol=0.3)
    assert label.kept == ()


def test_other_landmarks_are_still_at_one_place(tmp_path):
    labels = drawn(landmarks())
    labels[ball(world(22, 8, 18))] = 1
    with pytest.raises(ClientError, match="'nasion' is at two places"):
        read_map(tmp_path, labels)


@given(
    sutures=st.lists(st.tuples(st.floats(4, 25), st.floats(4, 35), st.floats(3, 20)), min_size=1, max_size=5),
    seed=st.integers(0, 5),
)
@settings(max_examples=25, deadline=None, derandomize=True)
def test_what_is_served_comes_back(tmp_path_factory, sutures, seed):
    """However the instances lie, the untouched map gives all of them that have a voxel of their own."""
    rng = np.random.default_rng(seed)
    points = np.array([world(*voxel) for voxel in sutures])
    points = points[[k for k, p in enumerate(points) if all(np.linalg.norm(p - q) > 2.5 for q in points[:k])]]
    served = landmarks(points, world(*rng.uniform(3, 20, 3)))
    label = read_map(tmp_path_factory.mktemp("map"), drawn(served), [answer(served)])
    assert same_points(label.landmarks.instances["suture"], points)


def test_names_are_repeated_or_numbered():
    known = KnownNames(BUNDLES, MANY)
    assert [known.find(text) for text in ("suture", "suture-1", "Suture-12")] == ["suture"] * 3
    assert [known.find(text) for text in ("nasion-1", "suture-", "suture-x", "sutures-1")] == [None] * 4


@pytest.mark.parametrize("texts", [("suture", "suture", "suture"), ("suture-1", "suture-2", "Suture")])
def test_points_of_one_name_are_instances(tmp_path, texts):
    points = np.array([NASION, *SUTURES + 0.25])
    sets = LandmarkSet.from_rows(["nasion", *texts], points, [PRESENT] * 4, set(texts))
    write_markups(tmp_path / "label.mrk.json", sets)
    write_fcsv(tmp_path / "label.fcsv", sets)
    for file in ("label.mrk.json", "label.fcsv"):
        label = read(tmp_path / file)
        assert label.landmarks.names == NAMES
        np.testing.assert_allclose(label.landmarks.instances["suture"], SUTURES + 0.25)
        assert (label.form, label.kept) == ("points", ("nasion",))


def test_lists_of_points_are_instances(tmp_path):
    file = write_json(tmp_path / "label.json", {"suture": SUTURES.tolist(), "nasion": NASION.tolist()})
    assert read(file).landmarks == landmarks()
    file = write_json(tmp_path / "label.json", {"suture": [], "nasion": "unknown"})
    assert read(file).landmarks.status.tolist() == [UNKNOWN, ABSENT]
    file = write_json(tmp_path / "label.json", {"nasion": SUTURES.tolist()})
    with pytest.raises(ClientError, match="'nasion' has a list of points"):
        read(file)


def test_other_names_are_not_repeated(tmp_path):
    sets = LandmarkSet.from_rows(["nasion", "nasion"], SUTURES[:2], [PRESENT] * 2, {"nasion"})
    write_markups(tmp_path / "label.mrk.json", sets)
    with pytest.raises(ClientError, match="'nasion' occurs more than once"):
        read(tmp_path / "label.mrk.json")


def test_boxes_of_one_name_are_instances(tmp_path):
    boxes = [box("nasion", NASION), *(box("suture", point) for point in SUTURES), box("suture", SUTURES[0])]
    label = read(write_json(tmp_path / "label.json", {"markups": boxes}))
    assert label.landmarks == landmarks()  # a box that is there twice counts once
    assert label.kept == NAMES
    boxes = [box("nasion", NASION), box("suture", SUTURES[1] + 1.0)]
    label = read(write_json(tmp_path / "label.json", {"markups": boxes}))
    np.testing.assert_allclose(label.landmarks.instances["suture"], [SUTURES[1] + 1.0])
    assert label.notes == ("'suture' has 1 instances, 3 were offered",)
    boxes = [box("nasion", NASION), box("nasion", SUTURES[1])]
    with pytest.raises(ClientError, match="'nasion' has two boxes"):
        read(write_json(tmp_path / "label.json", {"markups": boxes}))


def test_an_instance_outside_the_image_is_refused_or_left_out(tmp_path):
    points = [*SUTURES, SUTURES[0] + 500.0]
    file = write_json(tmp_path / "label.json", {"suture": np.array(points).tolist()})
    with pytest.raises(ClientError, match=r"'suture' at .* lies outside the image"):
        read(file)
    label = read(file, outside="unknown")
    np.testing.assert_allclose(label.landmarks.instances["suture"], SUTURES)
    file = write_json(tmp_path / "label.json", {"suture": [points[-1].tolist()], "nasion": NASION.tolist()})
    assert read(file, outside="unknown").landmarks.status.tolist() == [PRESENT, UNKNOWN]


def test_the_json_of_a_label_map_names_it(tmp_path):
    """Clients name the values; one value is one landmark, however many instances it has."""
    labels = drawn(landmarks())
    info = {"label_info": [{"name": "suture"}, {"name": "nasion"}]}
    swapped = np.select([labels == 1, labels == 2], [2, 1], 0).astype(np.uint8)
    assert read_map(tmp_path, swapped, info=json.loads(json.dumps(info))).landmarks == landmarks()
