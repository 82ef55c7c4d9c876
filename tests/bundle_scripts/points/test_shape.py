"""The shape model: what it finds, what it leaves alone, when it is silent."""

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from auto_config.bundle_scripts.points.procrustes import procrustes, similarity
from auto_config.bundle_scripts.points.shape import ShapeModel
from auto_config.bundle_scripts.training.patches import rotation_matrix
from auto_config.bundle_scripts.training.shape_fit import FitShape

QUIET = settings(derandomize=True, deadline=None, max_examples=15, phases=[Phase.explicit, Phase.generate])
SPREAD = 0.5


def rng(seed=0):
    return np.random.default_rng(seed)


def moved(points, random, scale=(0.8, 1.25)):
    """Points under a random similarity."""
    dims = points.shape[-1]
    turn = rotation_matrix(random.uniform(-3, 3, size=1 if dims == 2 else 3))
    return random.uniform(*scale) * points @ turn.T + random.uniform(-100, 100, dims)


def cohort(landmarks=12, cases=12, dims=3, spread=SPREAD, seed=0):
    """Cases of one shape of about 30 mm with noise, each turned, scaled and moved, and a new case of the same kind."""
    random = rng(seed)
    base = random.uniform(-25, 25, (landmarks, dims))
    draw = [moved(base + random.normal(size=base.shape) * spread, random, (0.95, 1.05)) for _ in range(cases + 1)]
    return np.stack(draw[:-1]), draw[-1]


def fitted_model(shapes):
    model = ShapeModel(shapes.shape[1], shapes.shape[2])
    model.fit(shapes)
    return model


@given(st.integers(0, 10**6), st.sampled_from([2, 3]))
@QUIET
def test_similarity_is_exact_on_data_without_noise(seed, dims):
    random = rng(seed)
    source = random.normal(size=(7, dims)) * 20
    target = moved(source, random)
    matrix = similarity(source, target, random.uniform(0.1, 1, 7))
    np.testing.assert_allclose(source @ matrix[:dims, :dims].T + matrix[:dims, -1], target, atol=1e-8)


@given(st.integers(0, 10**6), st.sampled_from([2, 3]))
@QUIET
def test_a_mirrored_shape_is_never_fitted_by_a_reflection(seed, dims):
    random = rng(seed)
    source = random.normal(size=(8, dims)) * 20
    target = moved(source * np.array([-1.0] + [1.0] * (dims - 1)), random)
    matrix = similarity(source, target, np.ones(8))
    assert np.linalg.det(matrix[:dims, :dims]) > 0
    assert np.abs(source @ matrix[:dims, :dims].T + matrix[:dims, -1] - target).max() > 1


def test_a_weight_of_nothing_takes_a_point_out():
    random = rng(1)
    source = random.normal(size=(6, 3))
    target = moved(source, random)
    target[2] += 50
    weight = np.ones(6)
    weight[2] = 0
    matrix = similarity(source, target, weight)
    fit = source @ matrix[:3, :3].T + matrix[:3, 3]
    np.testing.assert_allclose(np.delete(fit, 2, 0), np.delete(target, 2, 0), atol=1e-8)


def test_procrustes_of_moved_copies_is_the_shape_itself():
    random = rng(2)
    base = random.normal(size=(9, 3)) * 20
    shapes = np.stack([moved(base, random) for _ in range(7)])
    shapes[2, 4] = shapes[5, [0, 1]] = np.nan
    mean, spread, count = procrustes(shapes)
    np.testing.assert_array_equal(count, [6, 6, 7, 7, 6, 7, 7, 7, 7])
    assert spread.max() < 1e-8
    # The same shape as the first case: a similarity maps one onto the other.
    matrix = similarity(mean, base, np.ones(9))
    np.testing.assert_allclose(mean @ matrix[:3, :3].T + matrix[:3, 3], base, atol=1e-8)


def test_spread_is_that_of_the_noise():
    shapes, _ = cohort(landmarks=40, cases=60, spread=0.5)
    _, spread, _ = procrustes(shapes)
    # Three axes of 0.5 mm; alignment takes a little of it.
    assert np.median(spread) == pytest.approx(0.5 * np.sqrt(3), rel=0.1)


def test_a_case_with_too_few_landmarks_to_be_aligned_is_left_out():
    shapes, _ = cohort()
    few = np.full_like(shapes[:1], np.nan)
    few[0, :2] = [[900.0, 0, 0], [0.0, 900, 0]]
    expected = procrustes(shapes)
    for ours, theirs in zip(procrustes(np.concatenate([shapes, few])), expected, strict=True):
        np.testing.assert_allclose(ours, theirs)
    mean, spread, count = procrustes(few)
    assert np.isnan(mean).all()
    assert np.isnan(spread).all()
    assert not count.any()


def test_a_landmark_that_no_case_has_stays_unknown():
    shapes, new = cohort()
    shapes[:, 3] = np.nan
    model = fitted_model(shapes)
    assert model.cases[3] == 0
    new[3] += 500
    _, distance, replaced = model.judge(new, tolerance=1.0)
    assert not replaced.any()
    assert np.isnan(distance[3])
    assert np.isfinite(np.delete(distance, 3)).all()


@given(st.integers(0, 10**6), st.integers(0, 4), st.sampled_from([2, 3]))
@QUIET
def test_exactly_the_points_that_were_moved_are_replaced(seed, count, dims):
    shapes, new = cohort(landmarks=14, dims=dims, seed=seed % 97)
    random = rng(seed)
    far = random.choice(14, size=count, replace=False)
    wrong = new.copy()
    direction = random.normal(size=(count, dims))
    wrong[far] += 25 * direction / np.linalg.norm(direction, axis=1, keepdims=True)
    fitted, distance, replaced = fitted_model(shapes).judge(wrong, tolerance=1.0)
    assert sorted(np.flatnonzero(replaced)) == sorted(far)
    # What takes their place is right within what landmarks stray, and the others know how far they are.
    assert np.linalg.norm(fitted - new, axis=1).max() < 6 * SPREAD
    np.testing.assert_allclose(distance, np.linalg.norm(fitted - wrong, axis=1))


def test_a_point_within_what_the_coarse_voxel_allows_stays():
    shapes, new = cohort(spread=0.02)
    model = fitted_model(shapes)
    new[5] += [1.5, 0, 0]
    assert not model.judge(new, tolerance=2.0)[2].any()
    assert np.flatnonzero(model.judge(new, tolerance=0.1)[2]).tolist() == [5]


SILENT = {
    "few landmarks": cohort(landmarks=5),
    "few cases": cohort(cases=4),
    "freely varying": cohort(spread=5.0),
    "no training": (np.full((0, 12, 3), np.nan), cohort()[1]),
    "absent in most cases": (np.where(np.arange(12)[:, None] < 8, np.nan, cohort()[0]), cohort()[1]),
    "mirrored": (cohort()[0], cohort()[1] * [-1.0, 1, 1]),
    "nothing right": (cohort()[0], rng(5).uniform(-30, 30, (12, 3))),
}


@pytest.mark.parametrize("why", SILENT)
def test_silent_where_the_shape_says_little(why):
    shapes, new = SILENT[why]
    new = new.copy()
    new[0] += 300
    fitted, distance, replaced = fitted_model(shapes).judge(new, tolerance=1.0)
    assert np.isnan(fitted).all()
    assert np.isnan(distance).all()
    assert not replaced.any()
    assert replaced.dtype == bool


def test_the_shape_travels_in_the_weights():
    shapes, new = cohort()
    network = torch.nn.Module()
    network.shape = ShapeModel(12, 3)
    names = [f"L{i}" for i in range(12)]
    FitShape(
        network,
        [{"label": {n: [float(x) for x in p] for n, p in zip(names, shape, strict=True)}} for shape in shapes],
        names,
    )(None)
    other = ShapeModel(12, 3)
    other.load_state_dict(network.shape.state_dict())
    new[1] += 30
    for ours, theirs in zip(other.judge(new, 1.0), network.shape.judge(new, 1.0), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert other.judge(new, 1.0)[2][1]


def test_buffers_are_finite_and_what_is_not_known_is_counted():
    model = ShapeModel(12, 3)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in model.state_dict().values())
    shapes, _ = cohort()
    shapes[:, 3] = np.nan
    shapes[1:, 4] = np.nan
    model.fit(shapes)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in model.state_dict().values())
    assert model.cases.tolist() == [12, 12, 12, 0, 1, *[12] * 7]
    assert np.isnan(model.known_mean()).all(axis=1).tolist() == [False] * 3 + [True] + [False] * 8
    assert np.isnan(model.known_spread()).tolist() == [False] * 3 + [True, True] + [False] * 7


def test_older_weights_load_with_nan_and_without_the_count():
    shapes, new = cohort()
    model = fitted_model(shapes)
    old = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    old["mean"][2], old["spread"][2], old["cases"][2] = float("nan"), float("nan"), 0
    loaded = ShapeModel(12, 3)
    loaded.load_state_dict(old)
    assert bool(torch.isfinite(loaded.mean).all())
    assert np.isnan(loaded.known_spread()).tolist() == [number == 2 for number in range(12)]
    assert np.isfinite(loaded.judge(new, 1.0)[1]).sum() == 11
    del old["cases"]
    loaded.load_state_dict(old)
    assert loaded.cases.tolist() == [0] * 12
    assert not loaded.judge(new, 1.0)[2].any()


@pytest.mark.parametrize(("spread", "judges"), [(1.6, True), (1.9, True), (2.5, False)])
def test_a_shape_judges_up_to_a_spread_of_12_percent_of_its_size(spread, judges):
    """Cephalograms have 8 %, an animal that moves has more than 20."""
    shapes, new = cohort(spread=spread)
    new = new.copy()
    new[0] += 300
    replaced = fitted_model(shapes).judge(new, tolerance=1.0)[2]
    assert replaced.tolist() == [judges] + [False] * 11
