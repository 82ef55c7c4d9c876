"""Deformed patches: points follow the image, one to one, in one interpolation."""

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from scipy.interpolate import BSpline

from auto_config.bundle_scripts.training.augmentation import Augmentation
from auto_config.bundle_scripts.training.crops.rand_crops import RandCropsd
from auto_config.bundle_scripts.training.deformation import (
    MOST_AMPLITUDE,
    Deformation,
    draw_deformation,
    in_patch,
    random_deformation,
)
from auto_config.bundle_scripts.training.patches import (
    RandPatchd,
    SpatialAugmentation,
    patch_affine,
    resample,
)

QUIET = settings(derandomize=True, deadline=None, max_examples=20, phases=[Phase.explicit, Phase.generate])
SIZES = st.sampled_from([(24, 20, 12), (9, 31, 16), (40, 33)])
PAD = -2.0


def drawn(seed, size, amplitude=MOST_AMPLITUDE, spacing=None, control_mm=7.0):
    random = np.random.default_rng(seed)
    spacing = random.uniform(0.5, 2.0, len(size)) if spacing is None else spacing
    return random_deformation(random, size, spacing, amplitude=amplitude, control_mm=control_mm)


def voxels(size):
    return np.stack(np.meshgrid(*[np.arange(n) for n in size], indexing="ij"), -1).reshape(-1, len(size)).astype(float)


def test_a_single_control_point_is_a_cubic_b_spline():
    control = np.zeros((1, 8))
    control[0, 3] = 1.0
    bend = Deformation(control, np.array([2.0]), np.array([0.0]))
    spline = BSpline.basis_element(np.arange(5) - 2.0)
    place = np.linspace(0.0, 7.9, 30)[:, None]
    expected = np.nan_to_num(spline(place / 2.0 + 1.0 - 3.0, extrapolate=False))
    np.testing.assert_allclose(bend.displacement(place), expected, atol=1e-12)


@given(st.integers(0, 10**6), SIZES)
@QUIET
def test_the_grid_and_single_points_have_the_same_displacement(seed, size):
    bend = drawn(seed, size)
    np.testing.assert_allclose(bend.on_grid(size).reshape(-1, len(size)), bend.displacement(voxels(size)), atol=1e-5)


@given(st.integers(0, 10**6), SIZES)
@QUIET
def test_points_come_back_from_the_strongest_deformation_wherever_they_lie(seed, size):
    bend = drawn(seed, size)
    points = np.random.default_rng(seed).uniform(-20, 60, (40, len(size)))
    points[0] = np.nan
    found = bend.inverse(points)
    assert np.isnan(found[0]).all()
    np.testing.assert_allclose(found[1:] + bend.displacement(found[1:]), points[1:], atol=1e-3)


@given(st.integers(0, 10**6), SIZES)
@QUIET
def test_the_strongest_deformation_is_one_to_one(seed, size):
    """The determinant of the Jacobian, by differences of half a voxel."""
    bend, places, dims = drawn(seed, size), voxels(size), len(size)
    columns = [
        (bend.displacement(places + 0.25 * step) - bend.displacement(places - 0.25 * step)) / 0.5
        for step in np.eye(dims)
    ]
    assert (np.linalg.det(np.eye(dims) + np.stack(columns, -1)) > 0).all()


@given(st.integers(0, 10**6), SIZES)
@QUIET
def test_points_follow_a_densely_tracked_image_also_turned_and_zoomed(seed, size):
    """An image that holds its own coordinates shows where each voxel of the patch came from."""
    random, dims = np.random.default_rng(seed), len(size)
    shape = (50,) * dims
    spacing = random.uniform(0.5, 2.0, dims)
    # The last channel is 1 where no air is mixed in.
    image = np.stack([*np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), np.ones(shape)])
    turn = SpatialAugmentation(rotation=0.5, scale=(0.8, 1.25)).matrix(random, spacing)
    affine = patch_affine(turn, random.uniform(22, 27, dims), size)
    bend = drawn(seed, size, spacing=spacing)
    *shown, whole = (
        resample(torch.from_numpy(image).float(), [affine], size, 0.0, [bend])[0].flatten(1).double().numpy()
    )
    picked = random.choice(np.flatnonzero(whole > 1 - 1e-6), 60)
    tracked = in_patch(affine, np.stack(shown, -1)[picked], bend)
    assert np.abs(tracked - voxels(size)[picked]).max() < 0.02


def blob_data(points, status, shape=(40, 36, 32)):
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), -1)
    image = sum(np.exp(-((grid - point) ** 2).sum(-1) / (2 * 2.5**2)) for point in points[status == 1])
    affine = torch.eye(len(shape) + 1, dtype=torch.float64)
    tensor = MetaTensor(torch.from_numpy(image)[None].float(), affine=affine)
    return {"image": tensor, "label": points, "status": status, "seed": 3}


@pytest.mark.parametrize("make", [RandPatchd, RandCropsd])
def test_a_blob_lies_where_its_point_does(make):
    point = np.array([[18.0, 20.0, 15.0]])
    augmentation = Augmentation(rotation=0.4, scale=(0.9, 1.1), deformation=(1.0, MOST_AMPLITUDE, 8.0))
    options = {"foreground": 1.0} if make is RandPatchd else {"count": 2, "jitter": 2.0}
    patches = make(key="image", name="patch", size=(24, 24, 24), augmentation=augmentation, **options)
    plain = make(key="image", name="patch", size=(24, 24, 24), augmentation=Augmentation(0.4, (0.9, 1.1)), **options)
    moved = []
    for index in range(6):
        data = {**blob_data(point, np.ones(1, dtype=np.int8)), "index": index}
        found, rigid = patches(data)["patch"], plain(data)["patch"]
        for image, local, before in zip(found["image"], found["points"], rigid["points"], strict=True):
            highest = np.stack(np.unravel_index(int(image[0].argmax()), image.shape[1:]))
            assert np.abs(highest - local[0].numpy()).max() <= 0.8
            moved.append(float((local - before).abs().max()))
    assert max(moved) > 0.3


def test_a_landmark_that_a_deformation_moves_out_of_a_crop_is_unknown_there():
    points = np.stack([np.array([18.0, 20.0, 15.0]), np.array([24.0, 20.0, 15.0])])
    crops = RandCropsd("image", "fine", (13, 13, 13), 8, 1.0, Augmentation(deformation=(1.0, MOST_AMPLITUDE, 12.0)))
    for index in range(8):
        fine = crops({**blob_data(points, np.ones(2, dtype=np.int8)), "index": index})["fine"]
        local, status = fine["points"].numpy(), fine["status"].numpy()
        inside = ((local >= -0.5) & (local <= 12.5)).all(-1)
        np.testing.assert_array_equal(status == 1, inside)


def test_the_share_of_deformed_patches_and_what_is_refused():
    random = np.random.default_rng(0)
    rule = (0.3, 0.1, 5.0)
    number = sum(draw_deformation(rule, random, (16, 16), np.ones(2)) is not None for _ in range(500))
    assert number / 500 == pytest.approx(0.3, abs=0.05)
    assert draw_deformation((0.0, 9.0, -1.0), random, (16, 16), np.ones(2)) is None
    for wrong in ((1.0, 0.2, 5.0), (1.0, 0.1, 0.0), (1.0, -0.1, 5.0)):
        with pytest.raises(ValueError, match=r"deformation is \[1.0, .*amplitude is from 0 to 0.125"):
            draw_deformation(wrong, random, (16, 16), np.ones(2))


def test_a_deformation_that_folds_is_said():
    control = 12.0 * np.where(np.arange(12) % 2, 1.0, -1.0)[None]  # six times the distance of control points
    bend = Deformation(control, np.array([2.0]), np.array([0.0]))
    with pytest.raises(RuntimeError, match="is not inverted after 200 steps"):
        bend.inverse(np.random.default_rng(0).uniform(0, 17, (50, 1)))


def test_deformations_shift_no_other_draw():
    data = {**blob_data(np.array([[18.0, 20.0, 15.0]]), np.ones(1, dtype=np.int8)), "index": 4}
    affines = [
        RandCropsd("image", "fine", (8, 8, 8), 3, 1.0, Augmentation(0.3, (0.8, 1.2), deformation=rule))(data)["fine"][
            "affine"
        ]
        for rule in ((0.0, 0.1, 5.0), (1.0, 0.1, 5.0))
    ]
    assert torch.equal(*affines)


def test_an_amplitude_of_nothing_moves_nothing():
    bend = drawn(0, (12, 12), amplitude=0.0)
    assert not bend.on_grid((12, 12)).any()
