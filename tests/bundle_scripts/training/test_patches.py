"""Patches: one affine each, one resampling, and the place of landmarks in them."""

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from scipy import ndimage

from auto_config.bundle_scripts.grid.grids import apply_affine
from auto_config.bundle_scripts.training.crops.rand_crops import RandCropsd
from auto_config.bundle_scripts.training.patches import (
    Placement,
    RandPatchd,
    SpatialAugmentation,
    patch_affine,
    resample,
    rotation_matrix,
)

QUIET = settings(derandomize=True, deadline=None, max_examples=15, phases=[Phase.explicit, Phase.generate])
PAD = -2.0


def image_of(size, seed=0):
    return torch.randn((2, *size), generator=torch.Generator().manual_seed(seed))


@given(st.integers(0, 10**6), st.sampled_from([(9, 8, 7), (5, 1, 6), (9, 8)]))
@QUIET
def test_resampling_is_linear_interpolation_with_air_outside(seed, size):
    dims, random = len(size), np.random.default_rng(seed)
    image = image_of(size, seed)
    turn = rotation_matrix(random.uniform(-1, 1, size=1 if dims == 2 else 3)) * random.uniform(0.5, 1.5)
    affine = patch_affine(turn, random.uniform(-3, 9, size=dims), (6,) * dims)
    ours = resample(image, [affine], (6,) * dims, PAD)[0]
    grid = np.stack(np.meshgrid(*[np.arange(6)] * dims, indexing="ij"), -1)
    at = np.moveaxis(apply_affine(affine, grid), -1, 0)
    padded = np.pad(image.numpy(), [(0, 0)] + [(2, 2)] * dims, constant_values=PAD)
    for channel in range(2):
        expected = ndimage.map_coordinates(padded[channel], at + 2, order=1, mode="constant", cval=PAD)
        np.testing.assert_allclose(ours[channel], expected, atol=1e-4)


def test_a_patch_that_touches_one_plane_of_the_image_is_air_beside_it():
    """The part of the image that is read is one voxel thick, and does not fill the patch before it."""
    image = torch.ones((1, 6, 6))
    patch = resample(image, [patch_affine(np.eye(2), np.array([-2.0, 2.5]), (5, 6))], (5, 6), PAD)[0, 0]
    assert (patch[:4] == PAD).all()
    assert (patch[4] == 1).all()


def test_a_patch_beside_the_image_is_all_air():
    far = patch_affine(np.eye(3), np.array([50.0, 3, 3]), (4, 4, 4))
    assert (resample(image_of((6, 6, 6)), [far], (4, 4, 4), PAD) == PAD).all()


@given(st.integers(0, 10**6), st.sampled_from([2, 3]))
@QUIET
def test_turns_are_turns_in_millimetres_and_zooms_keep_the_volume_they_say(seed, dims):
    spacing = np.random.default_rng(seed).uniform(0.3, 3, dims)
    augmentation = SpatialAugmentation(rotation=0.5, scale=(0.7, 1.4), mirror_pairs=(0,))
    matrix = augmentation.matrix(np.random.default_rng(seed), spacing)
    world = np.diag(spacing) @ matrix @ np.diag(1 / spacing)
    zoom = np.abs(np.linalg.det(world)) ** (1 / dims)
    assert 1 / 1.4 - 1e-9 <= zoom <= 1 / 0.7 + 1e-9
    np.testing.assert_allclose(world @ world.T, zoom**2 * np.eye(dims), atol=1e-9)


def test_shares_of_patches_are_turned_scaled_and_mirrored_as_told():
    augmentation = SpatialAugmentation(0.5, (0.7, 1.4), 0.2, 0.3, (0,))
    matrices = [augmentation.matrix(np.random.default_rng(i), np.ones(3)) for i in range(600)]
    volumes = np.array([np.linalg.det(m) for m in matrices])
    assert np.mean(volumes < 0) == pytest.approx(0.5, abs=0.07)
    assert np.mean(np.abs(np.abs(volumes) - 1) > 1e-9) == pytest.approx(0.3, abs=0.06)
    assert np.mean([np.abs(m[0, 1]) > 1e-9 for m in matrices]) == pytest.approx(0.2, abs=0.06)
    never = SpatialAugmentation()
    assert all((never.matrix(np.random.default_rng(i), np.ones(2)) == np.eye(2)).all() for i in range(5))


def test_pairs_are_exchanged_where_and_only_where_the_patch_mirrors():
    augmentation = SpatialAugmentation(mirror_pairs=(1, 0, 2))
    points, status = np.arange(9.0).reshape(3, 3), np.array([1, 0, -1])
    same = augmentation.swap(np.eye(3), points, status)
    assert same[0] is points
    swapped, states = augmentation.swap(np.diag([-1.0, 1, 1]), points, status)
    np.testing.assert_array_equal(swapped, points[[1, 0, 2]])
    assert states.tolist() == [0, 1, -1]
    assert SpatialAugmentation().swap(np.diag([-1.0, 1, 1]), points, status)[0] is points


@given(st.integers(0, 10**6))
@QUIET
def test_a_forced_patch_holds_a_landmark_and_an_image_larger_than_it_holds_the_patch(seed):
    random = np.random.default_rng(seed)
    size, shape = np.array([16, 20, 24]), np.array([30, 40, 25])
    points = random.uniform(0, 1, (3, 3)) * (shape - 1)
    center = Placement(foreground=1.0, margin=0.1).center(
        random, 0, points=points, matrix=np.eye(3), size=size, shape=shape
    )
    low, high = center - (size - 1) / 2, center + (size - 1) / 2
    assert ((points >= low - 0.5) & (points <= high + 0.5)).all(1).any()
    assert (low >= -0.5).all()
    assert (high <= shape - 0.5).all()


@given(st.integers(0, 10**6))
@QUIET
def test_an_image_smaller_than_the_patch_is_seen_whole(seed):
    random = np.random.default_rng(seed)
    size, shape = np.array([40, 40, 40]), np.array([20, 30, 39])
    center = Placement(foreground=0.5).center(
        random, 0, points=np.ones((1, 3)), matrix=np.eye(3), size=size, shape=shape
    )
    low, high = center - (size - 1) / 2, center + (size - 1) / 2
    assert (low <= 0.5).all()
    assert (high >= shape - 1.5).all()


def test_landmarks_lie_anywhere_in_forced_patches_and_in_the_middle_for_the_reference():
    point, size, shape = np.full((1, 3), 50.0), np.full(3, 20), np.full(3, 100)

    def places(placement, indices):
        return np.array(
            [
                placement.center(np.random.default_rng(i), i, points=point, matrix=np.eye(3), size=size, shape=shape)
                - 50
                for i in indices
            ]
        )

    anywhere = places(Placement(foreground=1.0), range(200))
    assert np.abs(anywhere).max() < 0.4 * 19 + 1e-9
    assert np.std(anywhere) == pytest.approx(0.8 * 19 / np.sqrt(12), rel=0.1)
    # Of a batch of 2 always the second one, as stock nnU-Net: within a voxel of the middle, which of 20 voxels is no
    # voxel itself.
    centred = places(Placement(foreground=0.5, where="centre", every=2), range(200))
    assert np.unique(centred[1::2]).tolist() == [-1.5, -0.5, 0.5]
    assert (np.abs(centred[::2]) > 1.5).any(axis=1).all()
    with pytest.raises(ValueError, match="placement is 'middle'"):
        Placement(where="middle")


def corners(size, shape, points, indices, share=1.0):
    """First voxel of patches placed as stock nnU-Net places them."""
    size, shape = np.asarray(size), np.asarray(shape)
    placement = Placement(foreground=share, where="centre")
    turned = rotation_matrix([0.3]) * 1.3
    return np.array(
        [
            placement.center(np.random.default_rng(i), i, points=points, matrix=turned, size=size, shape=shape)
            - (size - 1) / 2
            for i in indices
        ]
    )


def test_patches_of_the_reference_begin_in_the_image_and_may_end_behind_it():
    """nnU-Net clamps at the lower border only: a landmark there is not in the middle."""
    low = corners((20, 20), (100, 100), np.array([[3.0, 50.0]]), range(60))
    assert (low[:, 0] == 0).all()
    assert sorted(set(low[:, 1])) == [39, 40, 41]
    high = corners((20, 20), (100, 100), np.array([[97.0, 50.0]]), range(60))
    assert sorted(set(high[:, 0])) == [86, 87, 88]


def test_free_patches_of_the_reference_lie_on_whole_voxels_of_the_image():
    found = corners((20, 21), (24, 21), np.zeros((0, 2)), range(200), share=0.0)
    assert sorted(set(found[:, 0])) == [0, 1, 2, 3, 4]
    assert (found[:, 1] == 0).all()
    # Along an axis that is shorter than the patch, the image is in its middle.
    assert (corners((20, 20), (10, 13), np.array([[2.0, 3.0]]), range(20)) == [-5, -3]).all()
    assert (corners((20, 20), (10, 13), np.zeros((0, 2)), range(20)) == [-5, -3]).all()


def test_an_unturned_patch_of_the_reference_holds_the_voxels_of_the_image():
    """Interpolation at a random place would make training patches smoother than what inference sees."""
    patch = RandPatchd(key="image", name="fine", size=(12, 13, 12), where="centre")
    for index in range(4):
        data = case(index=index)
        made = patch(data)["fine"]
        corner = made["affine"][0, :3, 3].numpy()
        assert (corner == np.round(corner)).all()
        a, b, c = corner.astype(int)
        padded = np.pad(data["image"].numpy(), [(0, 0)] + [(20, 20)] * 3)
        expected = padded[:, a + 20 : a + 32, b + 20 : b + 33, c + 20 : c + 32]
        np.testing.assert_allclose(made["image"][0], expected, atol=2e-5)


def test_a_fixed_axis_is_neither_turned_nor_scaled():
    augmentation = SpatialAugmentation(np.pi, (0.7, 1.4), uniform_step=True, fixed_axis=1)
    angles = []
    for seed in range(300):
        matrix = augmentation.matrix(np.random.default_rng(seed), np.array([0.5, 4.0, 0.5]))
        np.testing.assert_allclose(matrix[1], [0, 1, 0], atol=1e-12)
        np.testing.assert_allclose(matrix[:, 1], [0, 1, 0], atol=1e-12)
        plane = matrix[np.ix_([0, 2], [0, 2])]
        step = np.sqrt(np.linalg.det(plane))
        np.testing.assert_allclose(plane @ plane.T, step**2 * np.eye(2), atol=1e-9)
        angles.append(np.arctan2(plane[1, 0], plane[0, 0]))
    assert np.ptp(angles) > 6


def test_the_step_of_the_reference_is_uniform():
    """nnU-Net's scale is the step between voxels: larger numbers, smaller objects."""
    augmentation = SpatialAugmentation(0.0, (0.7, 1.4), uniform_step=True)
    steps = [augmentation.matrix(np.random.default_rng(i), np.ones(2))[0, 0] for i in range(2000)]
    assert 0.7 <= min(steps) < 0.71
    assert 1.39 < max(steps) <= 1.4
    assert np.mean(steps) == pytest.approx(1.05, abs=0.01)
    zoomed = SpatialAugmentation(0.0, (0.7, 1.4))
    zooms = [zoomed.matrix(np.random.default_rng(i), np.ones(2))[0, 0] for i in range(2000)]
    assert np.mean(1 / np.array(zooms)) < 1.02


def case(status=(1, 0, -1, 1), **numbers):
    points = np.array([[10.0, 10, 10], [np.nan] * 3, [np.nan] * 3, [38.0, 38, 38]])
    image = MetaTensor(image_of((44, 44, 44)), affine=torch.eye(4, dtype=torch.float64))
    return {
        "image": image,
        "label": points,
        "status": np.array(status, dtype=np.int8),
        "seed": 1,
        "index": 0,
        **numbers,
    }


def test_crops_are_around_landmarks_absent_stay_absent_and_those_outside_are_unknown():
    crops = RandCropsd(key="image", name="fine", size=(12, 12, 12), count=6, jitter=1.0)
    seen = set()
    for index in range(6):
        made = crops(case(index=index))["fine"]
        assert made["image"].shape == (6, 2, 12, 12, 12)
        for points, status in zip(made["points"].numpy(), made["status"].tolist(), strict=True):
            assert status[1:3] == [0, -1]
            inside = ((points >= -0.5) & (points <= 11.5)).all(1)
            assert [s == 1 for s in status] == inside.tolist()
            assert {status[0], status[3]} <= {1, -1}
            seen |= set(np.flatnonzero(inside).tolist())
    assert seen == {0, 3}


def test_crops_of_an_image_without_landmarks_are_cut_from_its_middle():
    crops = RandCropsd(key="image", name="fine", size=(8, 8, 8), count=2, jitter=0.0)
    data = case(status=(0, 0, -1, 0))
    data["label"] = np.full((4, 3), np.nan)
    made = crops(data)["fine"]
    assert made["status"].tolist() == [[0, 0, -1, 0]] * 2
    np.testing.assert_array_equal(made["image"][0], data["image"].as_tensor()[:, 18:26, 18:26, 18:26])


def test_a_sample_depends_on_seed_and_index_alone():
    patch = RandPatchd(
        key="image",
        name="fine",
        size=(12, 12, 12),
        augmentation=SpatialAugmentation(0.3, (0.8, 1.2), mirror_pairs=(0, 1, 3, 2)),
    )
    first = patch(case(index=5))["fine"]
    patch(case(index=9))
    np.random.default_rng(0).normal(size=100)
    torch.randn(10)
    again = patch(case(index=5))["fine"]
    for key in ("image", "points", "affine"):
        torch.testing.assert_close(first[key], again[key], rtol=0, atol=0, equal_nan=True)
    for other in (case(index=6), case(index=5, seed=2)):
        assert not torch.equal(patch(other)["fine"]["affine"], first["affine"])
