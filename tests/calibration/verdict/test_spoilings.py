"""Spoiled images: a blob is afterwards where its point is said to be, and the grid stays the same."""

import numpy as np
import pytest

from auto_config.bundle.parts import normalisation
from auto_config.bundle_scripts.grid.grids import apply_affine, world_to_voxel
from auto_config.calibration.verdict.spoiled_cases import MOST, NORMALISE, chosen
from auto_config.calibration.verdict.spoilings import SPOILINGS, Scan, cut, noisy, rescaled, shuffled, static, turned

SPACING = {2: (1.0, 1.5), 3: (1.0, 1.5, 2.0)}


def scan(dims, point=None):
    """A blob of 3 mm at a point near the middle, on an oblique grid in 2D and 3D; 100 where nothing is."""
    size = (41, 30, 24)[:dims]
    turn = np.linalg.qr(np.random.default_rng(5).normal(size=(dims, dims)))[0]
    affine = np.eye(dims + 1)
    affine[:dims, :dims] = turn @ np.diag(SPACING[dims])
    affine[:dims, -1] = np.arange(dims) * 11.0
    middle = apply_affine(affine, (np.array(size) - 1) / 2)
    points = middle + np.array(point or [6.0, -4.0, 3.0][:dims])[None]
    voxels = np.stack(np.meshgrid(*[np.arange(n) for n in size], indexing="ij"), -1)
    away = apply_affine(affine, voxels) - points[0]
    grey = 100 + 50 * np.exp(-(away**2).sum(-1) / 2 / 3**2)
    return Scan(np.stack([grey, -grey]), affine, np.concatenate([points, np.full((1, dims), np.nan)]))


def brightest(found):
    """World mm of the centre of mass of what is bright."""
    grey = np.clip(found.array[0] - 110, 0, None)
    where = np.stack(np.meshgrid(*[np.arange(n) for n in grey.shape], indexing="ij"), -1)
    return apply_affine(found.affine, (where * grey[..., None]).reshape(-1, grey.ndim).sum(0) / grey.sum())


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("degrees", [30.0, 60.0, 90.0])
def test_what_is_turned_lies_where_its_point_is(dims, degrees):
    before = scan(dims)
    done = turned(degrees)(before, np.random.default_rng(1))
    assert done.array.shape == before.array.shape
    np.testing.assert_allclose(brightest(done), done.points[0], atol=0.15)
    assert np.isnan(done.points[1]).all()
    middle = apply_affine(before.affine, (np.array(before.array.shape[1:]) - 1) / 2)
    one, other = before.points[0] - middle, done.points[0] - middle
    assert np.linalg.norm(one) == pytest.approx(np.linalg.norm(other))
    if dims == 2:
        cosine = one @ other / np.linalg.norm(one) ** 2
        assert np.degrees(np.arccos(cosine)) == pytest.approx(degrees)


def test_a_point_that_is_turned_out_of_the_image_is_no_more():
    before = scan(2, [18.0, 0.0])
    found = [turned(90.0)(before, np.random.default_rng(seed)).points[0] for seed in range(3)]
    size = np.array(before.array.shape[1:])
    for seed, point in enumerate(found):
        rotation = np.array([[0, -1], [1, 0]]) * (1 if np.random.default_rng(seed).choice([-1.0, 1.0]) > 0 else -1)
        middle = apply_affine(before.affine, (size - 1) / 2)
        where = world_to_voxel(before.affine, middle + rotation @ (before.points[0] - middle))
        inside = ((where >= -0.5) & (where <= size - 0.5)).all()
        assert np.isfinite(point).all() == inside


def test_grey_values_of_another_scale():
    before = scan(3)
    done = rescaled(before, np.random.default_rng(0))
    np.testing.assert_allclose(done.array, before.array * 10 + 1000)
    np.testing.assert_array_equal(done.points, before.points)


def test_noise_is_as_strong_as_the_image():
    before = scan(3)
    low, high = np.percentile(before.array, [0.5, 99.5])
    added = noisy(before, np.random.default_rng(0)).array - before.array
    assert added.std() == pytest.approx(high - low, rel=0.02)
    alone = static(before, np.random.default_rng(0))
    assert alone.array.std() == pytest.approx(before.array.std(), rel=0.02) and np.isnan(alone.points).all()


def test_half_of_the_landmarks_are_outside_of_a_cut_image():
    before = scan(3)
    many = before.points[0] + np.random.default_rng(2).uniform(-5, 5, (20, 3))
    done = cut(Scan(before.array, before.affine, many), np.random.default_rng(4))
    gone = np.isnan(done.points).all(axis=1)
    assert 8 <= gone.sum() <= 12
    where = np.round(world_to_voxel(before.affine, many)).astype(int)
    air = done.array[0][tuple(where.T)] == done.array[0].min()
    np.testing.assert_array_equal(air, gone)
    np.testing.assert_array_equal(done.points[~gone], many[~gone])


def test_shuffled_blocks_are_the_same_grey_values_in_another_order():
    array = np.random.default_rng(0).normal(size=(1, 8, 12))
    done = shuffled(Scan(array, np.eye(3), np.zeros((1, 2))), np.random.default_rng(0))
    np.testing.assert_array_equal(np.sort(done.array, axis=None), np.sort(array, axis=None))
    assert (done.array != array).mean() > 0.5 and np.isnan(done.points).all()


@pytest.mark.parametrize("kind", SPOILINGS)
@pytest.mark.parametrize("dims", [2, 3])
def test_spoilings_follow_their_seed_and_leave_the_scan_alone(kind, dims):
    before = scan(dims)
    kept = before.array.copy()
    one, other = (SPOILINGS[kind](before, np.random.default_rng(9)) for _ in range(2))
    np.testing.assert_array_equal(one.array, other.array)
    np.testing.assert_array_equal(one.points, other.points)
    np.testing.assert_array_equal(before.array, kept)
    assert one.array.shape == before.array.shape and np.isfinite(one.array).all()


def test_few_cases_are_spoiled_spread_over_cases_and_kinds():
    items = [{"case": f"c{i}"} for i in range(42)]
    tasks = chosen(items)
    assert len(tasks) == MOST and len({item["case"] for item, _ in tasks}) == MOST
    assert [kind for _, kind in tasks] == [*SPOILINGS] * 2
    assert [(item["case"], kind) for item, kind in chosen(items[:7])] == [
        ("c0", "turned by 90 degrees"),
        ("c1", "blocks shuffled"),
        ("c3", "turned by 60 degrees"),
        ("c5", "grey values times 10 plus 1000"),
    ]
    assert chosen([]) == []


@pytest.mark.parametrize(
    "rules",
    [[{"kind": "zscore"}], [{"kind": "ct", "low": 0.0, "high": 1.0, "mean": 0.5, "std": 1.0}]],
    ids=["mr", "ct"],
)
def test_images_are_spoiled_before_whatever_normalises_them(rules):
    assert normalisation(rules)["_target_"].rpartition(".")[2] in NORMALISE
