"""Peaks to world points, to `result` and to ball label maps, against closed forms."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor

from auto_config.bundle_scripts.grid.grids import apply_affine
from auto_config.bundle_scripts.grid.label_map import draw_balls
from auto_config.bundle_scripts.images.frame import image_center
from auto_config.bundle_scripts.inference.results import BallLabelMapd, LandmarkResultd, PeaksToWorldd
from auto_config.bundle_scripts.points.landmark_names import read_landmark_names
from auto_config.bundle_scripts.points.peaks import make_peaks, unpack_peaks


def image(planned, original, shape, dims=3):
    meta = {"original_affine": original, "spatial_shape": np.array(shape)}
    return MetaTensor(torch.zeros((1, *[4] * dims)), affine=torch.as_tensor(planned), meta=meta)


def peaks(voxels):
    voxels = torch.as_tensor(voxels, dtype=torch.float32)
    count, dims = voxels.shape
    return make_peaks(voxels, torch.full((count,), 0.75), torch.diag_embed(torch.ones(count, dims))).pack()


# PIR with 0.5, 2 and 1 mm: voxel axis 0 runs to -y, 1 to -z, 2 to +x.
PIR = np.array([[0, 0, 1.0, -10], [-0.5, 0, 0, 20], [0, -2.0, 0, 30], [0, 0, 0, 1]])


def test_peaks_become_world_and_keep_their_other_columns():
    given_peaks = peaks([[2.0, 3.5, 4.25]])
    data = PeaksToWorldd()({"pred": given_peaks, "image": image(PIR, np.eye(4), (4, 4, 4))})
    assert data["pred"].dtype == torch.float64
    np.testing.assert_allclose(data["pred"][0, :3], [-5.75, 19.0, 23.0])
    assert data["pred"][0, 3] == 0.75 and torch.isnan(data["pred"][0, 4]) and data["pred"][0, 5] == 0
    assert given_peaks[0, 0] == 2.0  # the input is not changed


def test_world_points_of_a_far_origin_keep_their_precision():
    far = np.diag([0.1, 0.1, 0.1, 1.0])
    far[:3, 3] = 123456.789
    world = PeaksToWorldd()({"pred": peaks([[1.0, 2.0, 3.0]]), "image": image(far, far, (4, 4, 4))})["pred"][0, :3]
    np.testing.assert_allclose(world, [123456.889, 123456.989, 123457.089], atol=1e-9)


def test_a_picture_with_a_four_by_four_affine_gives_two_coordinates():
    affine = np.diag([0.05, 0.1, 1.0, 1.0])
    data = {"pred": peaks([[10.0, 20.0]]), "image": image(affine, affine, (40, 50), dims=2)}
    data = BallLabelMapd(radius_mm=0.3)(LandmarkResultd(landmarks=["a"])(PeaksToWorldd()(data)))
    assert data["result"]["landmarks"][0]["world"] == pytest.approx([0.5, 2.0])
    assert data["result"]["landmarks"][0]["voxel"] == pytest.approx([10.0, 20.0])
    assert data["pred"].shape == (1, 40, 50)
    assert data["pred"][0, 10, 20] == 1


def test_result_gives_the_voxel_of_the_original_image_and_is_json():
    data = PeaksToWorldd()({"pred": peaks([[2.0, 3.5, 4.25], [0, 0, 0]]), "image": image(np.eye(4), PIR, (9, 9, 9))})
    data["pred"][1, 4:7] = torch.tensor([1.5, 1.0, 0.25])
    result = LandmarkResultd(landmarks=["a", "b"])(data)["result"]
    first, second = json.loads(json.dumps(result, allow_nan=False))["landmarks"]
    assert first == {
        "name": "a",
        "world": [2.0, 3.5, 4.25],
        "voxel": pytest.approx([33.0, 12.875, 12.0]),
        "confidence": 0.75,
        "present": 1,
        "radius_mm": None,
        "ellipsoid_mm2": None,
        "spread_mm": pytest.approx(3**0.5),
        "covariance_mm2": [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
        "disagreement_mm": None,
        "shape_distance_mm": None,
        "replaced": False,
        "implausible": None,
    }
    assert (second["shape_distance_mm"], second["replaced"], second["disagreement_mm"]) == (1.5, True, 0.25)


def test_the_spread_is_one_of_the_world():
    data = PeaksToWorldd()({"pred": peaks([[2.0, 3.5, 4.25]]), "image": image(PIR, np.eye(4), (4, 4, 4))})
    found = unpack_peaks(data["pred"])
    np.testing.assert_allclose(found.covariance[0], np.diag([1.0, 0.25, 4.0]))
    assert found.spread[0] == pytest.approx(5.25**0.5)


@pytest.mark.parametrize("landmarks", [["a"], ["a", "b", "c"]])
def test_another_number_of_names_is_refused(landmarks):
    with pytest.raises(ValueError, match="the network gave 2 peaks"):
        LandmarkResultd(landmarks=landmarks)({"pred": peaks(np.zeros((2, 3))), "image": image(PIR, PIR, (4, 4, 4))})


def test_coordinates_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="no finite coordinates for landmark 'b'"):
        LandmarkResultd(landmarks=["a", "b"])(
            {"pred": peaks([[0, 0, 0], [0, np.nan, 0]]), "image": image(PIR, PIR, (4, 4, 4))}
        )


def test_an_image_without_its_original_affine_is_refused():
    bare = {"pred": peaks([[0, 0, 0]]), "image": MetaTensor(torch.zeros(1, 4, 4, 4))}
    with pytest.raises(ValueError, match="carries no 'original_affine'"):
        BallLabelMapd(radius_mm=1)(LandmarkResultd(landmarks=["a"])(bare))


def test_names_come_from_a_landmarks_file_or_a_list(tmp_path):
    path = tmp_path / "landmarks.json"
    path.write_text(
        json.dumps({"landmarks": [{"name": "$x", "slug": "x"}, {"name": "Ä", "slug": "a"}]}), encoding="utf-8"
    )
    assert read_landmark_names(path) == read_landmark_names(str(path)) == ("$x", "Ä")
    assert read_landmark_names(["p", "q"]) == ("p", "q")
    with pytest.raises(ValueError, match="cannot be read"):
        read_landmark_names(tmp_path / "none.json")
    path.write_text("[]")
    with pytest.raises(ValueError, match="not a landmarks"):
        read_landmark_names(path)


def brute_force(points, shape, affine, radius):
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1).reshape(-1, len(shape))
    world = apply_affine(affine, grid)
    distance = np.stack([np.linalg.norm(world - p, axis=1) for p in points])
    nearest = distance.argmin(0)
    return np.where(distance.min(0) <= radius, nearest + 1, 0).reshape(shape)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), radius=st.floats(1.6, 6), dims=st.sampled_from([2, 3]))
def test_balls_are_round_in_world_and_split_halfway(seed, radius, dims):
    rng = np.random.default_rng(seed)
    affine = np.eye(dims + 1)
    affine[:dims, :dims] = np.linalg.qr(rng.normal(size=(dims, dims)))[0] * rng.uniform(0.5, 1.5, dims)
    affine[:dims, -1] = rng.normal(size=dims) * 20
    shape = tuple(rng.integers(6, 14, dims))
    points = apply_affine(affine, rng.uniform(-0.4, np.array(shape) - 0.6, (3, dims)))
    labels = draw_balls(points, shape, affine, radius)
    expected = brute_force(points, shape, affine, radius)
    assert labels.dtype == np.uint8
    if set(np.unique(expected)) >= {1, 2, 3}:
        np.testing.assert_array_equal(labels, expected)
    assert set(np.unique(labels)) >= {1, 2, 3}


def test_a_point_that_nobody_sees_still_has_a_voxel_and_its_neighbour_keeps_one():
    points = np.array([[3.1, 3.1, 3.1], [3.2, 3.0, 3.1], [3.1, 3.1, 3.1], [30.0, 3, 3], [np.nan] * 3])
    labels = draw_balls(points, (8, 8, 8), np.eye(4), 0.4)
    assert [(labels == value).sum() for value in range(1, 6)] == [1, 1, 1, 0, 0]
    assert labels[3, 3, 3] == 1
    for value in (2, 3):
        assert np.abs(np.argwhere(labels == value)[0] - 3).max() == 1


def test_a_ball_outside_reaches_in_and_costs_nothing_far_away():
    labels = draw_balls(np.array([[-2.0, 4, 4], [-50, 4, 4]]), (9, 9, 9), np.eye(4), 3.0)
    np.testing.assert_array_equal(labels, brute_force(np.array([[-2.0, 4, 4]]), (9, 9, 9), np.eye(4), 3.0))


def test_many_landmarks_need_two_bytes_and_keep_their_numbers():
    points = np.stack([np.arange(300.0), np.zeros(300), np.zeros(300)], 1)
    labels = draw_balls(points, (300, 2, 2), np.eye(4), 0.6)
    assert labels.dtype == np.uint16
    np.testing.assert_array_equal(labels[:, 0, 0], np.arange(1, 301))


@pytest.mark.parametrize("radius", [0.0, -1.0, np.nan])
def test_a_radius_of_nothing_is_refused(radius):
    with pytest.raises(ValueError, match="must be above 0"):
        draw_balls(np.zeros((1, 3)), (4, 4, 4), np.eye(4), radius)


def test_the_label_map_lies_on_the_original_grid_without_absent_landmarks():
    planned = np.diag([2.0, 2, 2, 1])
    data = {"pred": peaks([[1.0, 2.0, 3.0], [2.0, 2.0, 2.0]]), "image": image(planned, PIR, (40, 15, 30))}
    data = LandmarkResultd(landmarks=["a", "b"])(PeaksToWorldd()(data))
    data["result"]["landmarks"][1]["present"] = 0
    labels = BallLabelMapd(radius_mm=1.5)(data)["pred"]
    assert labels.shape == (1, 40, 15, 30) and labels.dtype == torch.uint8
    np.testing.assert_allclose(labels.affine, PIR)
    voxels = np.argwhere(labels[0].numpy() == 1)
    np.testing.assert_allclose(apply_affine(PIR, voxels).mean(0), [2.0, 4.0, 6.0], atol=0.3)
    assert not (labels == 2).any()


def test_the_centre_of_an_image_is_the_mean_of_its_corner_voxels():
    np.testing.assert_allclose(image_center((5, 3, 2), PIR), [-9.5, 19.0, 28.0])
    np.testing.assert_allclose(image_center((5, 4), np.diag([2.0, 3, 1, 1])), [4.0, 4.5])
