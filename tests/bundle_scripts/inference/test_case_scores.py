"""The numbers of a case: poses and residuals in closed form, grey values, borders, and what is left out."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from scipy.spatial.transform import Rotation

from auto_config.bundle_scripts.inference.verdict.columns import COLUMNS, QUANTILES, column, grey_names, sentence
from auto_config.bundle_scripts.inference.verdict.image import ImageNumbers, beyond, body_quantiles, image_numbers
from auto_config.bundle_scripts.inference.verdict.scores import case_scores
from auto_config.bundle_scripts.inference.verdict.shape import TrainingShape, angle, log_rms
from auto_config.bundle_scripts.points.instances import Instances
from auto_config.bundle_scripts.points.peaks import make_peaks

RANDOM = np.random.default_rng(3)
MEAN = RANDOM.uniform(-20, 20, (9, 3))
SHAPES = MEAN + RANDOM.normal(0, 0.3, (15, 9, 3))
NAMES = [f"p{i}" for i in range(9)]


def rotated(points, degrees, axis=(0, 0, 1.0)):
    axis = np.asarray(axis) / np.linalg.norm(axis)
    return points @ Rotation.from_rotvec(np.deg2rad(degrees) * axis).as_matrix().T


@settings(max_examples=25, deadline=None)
@given(
    degrees=st.floats(0, 179),
    axis=st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda one: np.linalg.norm(one) > 0.1),
    size=st.floats(0.2, 5),
)
def test_turn_size_and_centre_are_those_of_a_moved_shape(degrees, axis, size):
    shape = TrainingShape.of(SHAPES)
    moved = size * rotated(shape.mean, degrees, axis) + [5.0, -7.0, 9.0]
    fit = shape.fit(moved, 0.1)
    assert fit.size == pytest.approx(size, rel=1e-6)
    # The pose of the cases is that of the first of them, turned a little by their spread.
    assert abs(fit.turn - degrees) < 1.0
    np.testing.assert_allclose(fit.centre, moved.mean(axis=0), atol=1e-6)
    assert np.nanmax(fit.distance) < 1e-6 and fit.misfit == 0


def test_a_point_that_strays_is_seen_and_does_not_bend_the_fit():
    shape = TrainingShape.of(SHAPES)
    points = shape.mean.copy()
    points[4] += [6.0, 0, 0]
    points[7] = np.nan
    fit = shape.fit(points, 0.1)
    assert fit.distance[4] == pytest.approx(6.0, abs=0.05) and np.isnan(fit.distance[7])
    assert fit.misfit == pytest.approx(1 / 8)
    assert np.nanmax(np.delete(fit.distance, [4, 7])) < 0.05


def test_too_few_points_have_no_fit():
    shape = TrainingShape.of(SHAPES)
    points = np.full_like(MEAN, np.nan)
    points[:3] = MEAN[:3]
    assert shape.fit(points, 0.1) is None
    points[3] = MEAN[3]
    assert shape.fit(points, 0.1) is not None
    assert shape.fit(np.zeros_like(MEAN), 0.1) is None  # all in one place
    assert TrainingShape.of(np.zeros((0, 9, 3))).fit(MEAN, 0.1) is None


def test_pictures_have_a_pose_too():
    flat = SHAPES[..., :2]
    shape = TrainingShape.of(flat)
    turn = np.array([[0.0, -1.0], [1.0, 0.0]])
    assert shape.fit(2 * shape.mean @ turn.T, 0.1).turn == pytest.approx(90, abs=1.0)
    assert angle(turn, np.eye(2)) == pytest.approx(90) and angle(np.eye(3), np.diag([-1.0, -1, 1])) == 180


def test_a_shape_is_read_as_it_was_written():
    mean = SHAPES.copy()
    mean[:, 2] = np.nan
    shape = TrainingShape.of(mean, np.arange(27.0).reshape(9, 3))
    listed = [None if np.isnan(row).any() else row.tolist() for row in shape.mean]
    spread = [None if np.isnan(x) else float(x) for x in shape.spread]
    again = TrainingShape.read({"mean": listed, "spread": spread}, shape.pose_document())
    np.testing.assert_array_equal(again.mean, shape.mean)
    np.testing.assert_array_equal(again.spread, shape.spread)
    np.testing.assert_array_equal(again.offset, shape.offset)
    assert again.fit(MEAN, 0.1).turn == shape.fit(MEAN, 0.1).turn


def numbers(size=(60, 60, 60), spacing=1.0):
    affine = np.diag([spacing] * 3 + [1.0])
    affine[:3, 3] = -spacing * (np.array(size) - 1) / 2
    return ImageNumbers(affine, np.array(size), spacing * np.array(size), 1.0, np.zeros((1, len(QUANTILES))))


def scores(points, *, confidence=0.9, present=None, instances=None, mirror=0.1, shape_distance=None, **options):
    rows = len(points)
    peaks = make_peaks(
        torch.as_tensor(points),
        torch.as_tensor(confidence).expand(rows),
        torch.eye(3).repeat(rows, 1, 1) * 3,
        mirror_disagreement=torch.full((rows,), mirror),
        disagreement=torch.full((rows,), mirror),
        shape_distance=shape_distance,
    )
    given = {"shape": TrainingShape.of(SHAPES, MEAN), "image": numbers()} | options
    there = np.ones(rows, dtype=bool) if present is None else present
    return case_scores(peaks, there, given.pop("image"), instances=instances or Instances.single(NAMES), **given)


def test_the_columns_of_peaks_are_means_over_what_is_present():
    found = scores(MEAN)
    assert found.values["confidence"] == pytest.approx(-math.log(9), abs=1e-5)
    assert found.values["spread"] == pytest.approx(math.log(3 + 1e-4), abs=1e-6)
    assert found.values["mirror"] == pytest.approx(math.log(0.1001), abs=1e-5)
    assert found.values["absent"] == 0.0 and found.values["border"] == 0.0
    # One network with a mirror says nothing of networks, and nobody looked at coarse points.
    assert "views" not in found.values and "coarse" not in found.values and found.coarse_fits is False
    assert scores(MEAN, shape_distance=torch.full((9,), 2.0)).values["coarse"] == pytest.approx(math.log(2.0001))
    some = np.arange(9) < 6
    assert scores(MEAN, present=some).values["absent"] == pytest.approx(1 / 3)
    nothing = scores(MEAN, present=np.zeros(9, dtype=bool))
    assert nothing.values["absent"] == 1.0 and nothing.too_few and "confidence" not in nothing.values


def test_absent_points_are_no_part_of_the_shape():
    points = MEAN.copy()
    points[8] += 90.0
    assert scores(points).strayed == ("p8",)
    assert scores(points, present=np.arange(9) < 8).strayed == ()


def test_the_place_is_a_share_of_the_size():
    shape = TrainingShape.of(SHAPES, MEAN)
    assert scores(MEAN).values["place"] < 0.05
    size = math.sqrt(((shape.mean - shape.mean.mean(0)) ** 2).sum(-1).mean())
    assert scores(MEAN + [size, 0, 0]).values["place"] == pytest.approx(1.0, abs=0.05)


def test_many_instances_and_exchangeable_ends_are_left_out():
    known = Instances(("a", *NAMES[1:]), (3, *[1] * 8), (True, *[False] * 8), ((1, 2),), (5.0, *[0.0] * 8), (0.5,) * 9)
    points = np.concatenate([MEAN, np.full((2, 3), 70.0)])
    points[[1, 2]] = points[[2, 1]]
    found = scores(points, instances=known)
    assert found.strayed == () and found.misfit == 0.0
    # Two instances far outside of the image are not looked at, either.
    assert found.values["border"] == 0.0


def test_points_at_the_border_and_beyond_are_counted():
    points = MEAN.copy()
    points[0], points[1], points[2] = [29.5, 0, 0], [0, -28.6, 0], [0, 0, 99.0]
    assert scores(points).values["border"] == pytest.approx(3 / 9)
    points[1] = [0, -28.4, 0]
    assert scores(points).values["border"] == pytest.approx(2 / 9)


def test_lengths_outside_of_their_range_are_logarithms_of_a_factor():
    low, high = np.array([1.0, 2.0]), np.array([2.0, 3.0])
    assert beyond(np.array([1.5, 3.0]), low, high) == 0
    assert beyond(np.array([4.0, 3.0]), low, high) == pytest.approx(math.log(2))
    assert beyond(np.array([1.0, 0.5]), low, high) == pytest.approx(math.log(4))
    ranges = {"spacing": {"low": [1.0] * 3, "high": [1.0] * 3}, "extent": {"low": [60.0] * 3, "high": [60.0] * 3}}
    found = numbers(spacing=0.5).values(ranges)
    assert [found["spacing"], found["extent"]] == pytest.approx([math.log(2)] * 2)
    assert "spacing" not in numbers().values(None)


@pytest.mark.parametrize("dims", [2, 3])
def test_the_numbers_of_an_image_are_those_of_its_file(dims):
    affine = np.diag([3.0, 2.0, 1.0][:dims] + [1.0])
    meta = {"original_affine": affine, "spatial_shape": np.array([10, 20, 30][:dims])}
    planned = torch.eye(4, dtype=torch.float64)
    planned[:dims, :dims] *= 2
    random = np.random.default_rng(0)
    image = MetaTensor(torch.from_numpy(random.normal(size=(2, *[8, 9, 10][:dims]))), affine=planned, meta=meta)
    found = image_numbers(image, dims)
    assert found.spacing.tolist() == sorted([3.0, 2.0, 1.0][:dims])
    assert found.extent.tolist() == [16.0, 18.0, 20.0][:dims] and found.voxel_mm == 2.0
    np.testing.assert_allclose(found.centre, [13.5, 19.0, 14.5][:dims])
    again = ImageNumbers.unpack(found.pack(), dims)
    np.testing.assert_array_equal(again.greys, found.greys)
    np.testing.assert_array_equal(again.affine, found.affine)
    assert again.shape.tolist() == found.shape.tolist() and list(again.values(None)) == grey_names(2)


def test_grey_values_of_the_body_do_not_follow_the_air_around_it():
    body = np.random.default_rng(0).uniform(5, 7, 1000)
    tight, wide = np.concatenate([body, np.zeros(200)]), np.concatenate([body, np.zeros(900)])
    np.testing.assert_allclose(body_quantiles(tight), np.quantile(body, QUANTILES), atol=0.2)
    np.testing.assert_allclose(body_quantiles(tight), body_quantiles(wide), atol=0.2)
    assert body_quantiles(np.ones((3, 3))).tolist() == [1.0] * len(QUANTILES)


def test_every_column_has_a_sentence():
    for name in [*COLUMNS, *grey_names(2)]:
        said = sentence(name, 0.5, 0.1, 0.2, others="unseen cases", unit="mm")
        assert "{" not in said and column(name).what
    assert sentence("grey.0.25", 3.0, 0.1, 0.2, others="unseen cases", unit="mm") == (
        "the grey values are unusual: the 25 % quantile of the body is 3 after normalisation (unseen cases: 0.1 to 0.2)"
    )
    assert sentence("confidence", -4.0, -7.0, -6.0, others="unseen cases", unit="mm") == (
        "the evidence of the landmarks is low: confidence 0.982 (unseen cases: 0.9975 to 0.99909)"
    )
    # Unseen cases are often surer than three digits can say.
    assert "confidence 0.9900 (unseen cases: 0.999955 to 1.000000)" in sentence(
        "confidence", -4.6, -20.0, -10.0, others="unseen cases", unit="mm"
    )


def test_lengths_are_summed_up_without_those_that_nobody_knows():
    assert log_rms(np.array([3.0, np.nan, 4.0])) == pytest.approx(math.log(math.sqrt(12.5) + 1e-4))
    assert math.isnan(log_rms(np.array([np.nan])))
