"""Jitter of fine crops: a Gaussian, or lengths of errors that were measured, in any direction."""

import json

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from auto_config.bundle_scripts.training.crops.jitter import draw_jitter, read_errors
from auto_config.bundle_scripts.training.crops.rand_crops import RandCropsd


def test_without_errors_it_is_a_gaussian_along_each_axis():
    rng = np.random.default_rng(0)
    drawn = np.array([draw_jitter(rng, 3, 0.4) for _ in range(4000)])
    np.testing.assert_allclose(drawn.std(0), 0.4, rtol=0.05)
    np.testing.assert_allclose(drawn.mean(0), 0, atol=0.03)


@pytest.mark.parametrize("dims", [2, 3])
def test_errors_give_the_length_and_chance_the_direction(dims):
    rng = np.random.default_rng(1)
    errors = np.array([0.1, 0.1, 0.5, 7.0])
    drawn = np.array([draw_jitter(rng, dims, 0.4, errors, most=3.0) for _ in range(3000)])
    lengths = np.linalg.norm(drawn, axis=1)
    assert set(lengths.round(9)) == {0.1, 0.5}  # 7 mm are more than a crop shows
    assert (lengths > 0.3).mean() == pytest.approx(1 / 3, abs=0.03)
    directions = drawn / lengths[:, None]
    np.testing.assert_allclose(directions.mean(0), 0, atol=0.05)
    np.testing.assert_allclose(np.cov(directions.T), np.eye(dims) / dims, atol=0.03)


def test_errors_that_no_crop_can_show_leave_the_gaussian():
    far = draw_jitter(np.random.default_rng(2), 3, 0.4, np.array([9.0]), most=3.0)
    np.testing.assert_array_equal(far, draw_jitter(np.random.default_rng(2), 3, 0.4))


@pytest.mark.parametrize(
    "text", ["[1", "[]", '{"lengths": []}', '{"lengths": [0, 0]}', '{"lengths": ["a"]}', '{"lengths": [-1.0, 1.0]}']
)
def test_a_file_that_is_no_list_of_lengths_is_refused(tmp_path, text):
    path = tmp_path / "coarse_errors.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"coarse_errors\.json"):
        read_errors(path)
    with pytest.raises(ValueError, match=r"missing\.json: cannot be read"):
        read_errors(tmp_path / "missing.json")


def test_crops_lie_as_far_from_their_landmark_as_the_errors_say(tmp_path):
    path = tmp_path / "coarse_errors.json"
    path.write_text(json.dumps({"cases": 1, "lengths": [1.5]}), encoding="utf-8")
    affine = np.diag([0.5, 1.0, 2.0, 1.0])
    data = {
        "image": MetaTensor(torch.zeros(1, 40, 40, 40), affine=torch.from_numpy(affine)),
        "label": np.array([[10.0, 20.0, 40.0]]),  # voxel (20, 20, 20)
        "status": np.array([1]),
        "seed": 5,
        "index": 0,
    }
    crops = RandCropsd("image", "fine", (15, 15, 15), 8, 0.2, errors=path)
    made = crops(data)["fine"]
    offsets = (made["points"][:, 0].numpy() - 7.0) * [0.5, 1.0, 2.0]
    np.testing.assert_allclose(np.linalg.norm(offsets, axis=1), 1.5, rtol=1e-5)
    assert len(np.unique(offsets.round(6), axis=0)) == 8
    assert made["status"].tolist() == [[1]] * 8
