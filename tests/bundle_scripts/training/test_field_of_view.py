"""Cut fields of view: what the box keeps, which landmarks are absent then, and where fine crops lie."""

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor

from auto_config.bundle_scripts.grid.grids import apply_affine, coarse_affine, world_to_voxel
from auto_config.bundle_scripts.grid.transforms import block_mean
from auto_config.bundle_scripts.points.landmarks import ABSENT, PRESENT, UNKNOWN
from auto_config.bundle_scripts.training.crops.rand_crops import RandCropsd
from auto_config.bundle_scripts.training.field_of_view import LEAST_KEPT, Cut, crop_center, crop_status, draw_cut
from auto_config.bundle_scripts.training.patches import RandPatchd, SpatialAugmentation, rotation_matrix

QUIET = settings(derandomize=True, deadline=None, max_examples=25, phases=[Phase.explicit, Phase.generate])
PAD = -100.0
SWAP = (1, 0, 2, 3, 4, 5)


def case(seed, dims):
    """An image on an oblique grid whose channels are its own voxel coordinates, with one unknown and one absent."""
    random = np.random.default_rng(seed)
    size = tuple(random.integers(9, 14, size=dims))
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in size], indexing="ij"), 0).astype(np.float32)
    affine = np.eye(dims + 1)
    turn = rotation_matrix(random.uniform(-0.6, 0.6, size=1 if dims == 2 else 3))
    affine[:dims, :dims] = turn @ np.diag(random.uniform(0.4, 2.0, size=dims))
    affine[:dims, -1] = random.uniform(-20, 20, size=dims)
    voxels = random.uniform(0, np.array(size) - 1, size=(6, dims))
    status = np.array([PRESENT] * 4 + [ABSENT, UNKNOWN], dtype=np.int8)
    voxels[4:] = np.nan
    label = apply_affine(affine, voxels)
    data = {"image": MetaTensor(torch.from_numpy(grid), affine=affine), "label": label, "status": status}
    return data | {"seed": seed, "index": seed % 7}, voxels, affine


@given(st.integers(0, 10**6), st.sampled_from([2, 3]))
@QUIET
def test_a_landmark_is_absent_exactly_where_the_kept_box_does_not_hold_it(seed, dims):
    """The box is read off the patch: whole voxels of an image that shows its own coordinates."""
    data, voxels, affine = case(seed, dims)
    patch = RandPatchd("image", "fine", (30,) * dims, where="centre", pad_value=PAD, cut_share=1.0)(data)["fine"]
    image, status = patch["image"][0].numpy(), patch["status"][0].numpy()
    shown = image[:, (image > PAD / 2).all(0)]
    kept = np.round(shown)
    low, high = kept.min(1) - 0.5, kept.max(1) + 0.5
    # What is kept is the box, and the grey values of the voxels are those of the image.
    assert kept.shape[1] == np.prod(high - low)
    np.testing.assert_allclose(shown, kept, atol=1e-3)
    inside = ((voxels >= low) & (voxels <= high)).all(-1)
    np.testing.assert_array_equal(status[:4], np.where(inside[:4], PRESENT, ABSENT))
    np.testing.assert_array_equal(status[4:], [ABSENT, UNKNOWN])
    # The patch knows where it lies.
    world = apply_affine(patch["affine"][0].numpy(), patch["points"][0, :4].numpy())
    np.testing.assert_allclose(world, apply_affine(affine, voxels[:4]), atol=1e-3)


@given(st.integers(0, 10**6), st.sampled_from([2, 3]))
@QUIET
def test_statuses_do_not_depend_on_how_a_patch_is_turned_and_follow_a_mirror(seed, dims):
    data, _, _ = case(seed, dims)
    still = RandPatchd("image", "fine", (24,) * dims, cut_share=1.0)(data)["fine"]
    turned = SpatialAugmentation(rotation=0.5, scale=(0.8, 1.2), mirror_pairs=SWAP)
    patch = RandPatchd("image", "fine", (24,) * dims, augmentation=turned, cut_share=1.0)(data)["fine"]
    mirrored = np.linalg.det(patch["affine"][0].numpy()) * np.linalg.det(still["affine"][0].numpy()) < 0
    order = list(SWAP) if mirrored else list(range(6))
    np.testing.assert_array_equal(patch["status"][0], still["status"][0, order])


@given(st.integers(0, 10**6), st.sampled_from([2, 3]))
@QUIET
def test_outside_of_the_cut_is_air_for_a_turned_patch_too(seed, dims):
    """At the place of a landmark an image of ones has at least half a voxel where it is present, else at most half."""
    data, _, _ = case(seed, dims)
    ones = torch.ones((1, *data["image"].shape[1:]))
    data["image"] = MetaTensor(ones, affine=data["image"].affine)
    turned = SpatialAugmentation(rotation=0.5)
    crops = RandCropsd("image", "fine", (1,) * dims, 6, 0.0, augmentation=turned, cut_share=1.0)(data)["fine"]
    for image, points, status in zip(crops["image"], crops["points"], crops["status"], strict=True):
        here = torch.isfinite(points).all(-1) & (points.abs() < 1e-4).all(-1)
        assert float(image) >= 0.5 ** (2 if dims == 2 else 3) - 1e-5
        assert (status[here] != ABSENT).all()


def test_both_stages_of_a_sample_lose_the_same_part_of_the_world():
    lost = 0
    for seed in range(40):
        data, _, _ = case(seed, 3)
        big = torch.nn.functional.interpolate(data["image"].as_tensor()[None], scale_factor=4, mode="nearest")[0]
        fine = data["image"].affine.numpy() @ np.diag([0.25, 0.25, 0.25, 1.0])
        data["image"] = MetaTensor(big, affine=fine)
        data["coarse"] = MetaTensor(block_mean(big[None], [2, 2, 2])[0], affine=coarse_affine(fine, [2, 2, 2]))
        found = {}
        for key in ("image", "coarse"):
            found[key] = RandPatchd(key, "stage", (8, 8, 8), cut_share=1.0)(data)["stage"]["status"][0]
        # Within a coarse voxel of the cut the two grids may disagree.
        assert (found["image"] != found["coarse"]).sum() <= 1
        lost += int((found["image"][:4] == ABSENT).sum())
    assert 15 < lost < 80


def test_a_share_of_the_samples_is_cut_and_the_others_are_as_without_it():
    different = 0
    for seed in range(200):
        data, _, _ = case(seed, 2)
        with_cuts, without = (
            RandCropsd("image", "fine", (6, 6), 2, 1.0, augmentation=SpatialAugmentation(0.3), cut_share=share)(data)
            for share in (0.2, 0.0)
        )
        if np.random.default_rng([seed, seed % 7, 3]).uniform() < 0.2:
            different += not torch.equal(with_cuts["fine"]["image"], without["fine"]["image"])
        else:
            for key, value in without["fine"].items():
                assert torch.equal(torch.nan_to_num(value), torch.nan_to_num(with_cuts["fine"][key]))
    assert 20 <= different <= 55


@pytest.mark.parametrize("count", [0, 1, 2, 40])
def test_cuts_lie_anywhere_and_keep_most_of_the_anatomy(count):
    random = np.random.default_rng(3)
    points = random.uniform(15, 45, size=(count, 3))
    cuts = [draw_cut(np.random.default_rng(i), np.array([60, 60, 60]), points) for i in range(600)]
    for cut in cuts:
        assert ((cut.high - cut.low) >= LEAST_KEPT * cut.shape).all()
        assert (cut.low >= 0).all()
        assert (cut.high <= cut.shape).all()
    sides = [int((cut.low > 0).sum() + (cut.high < cut.shape).sum()) for cut in cuts]
    assert set(sides) <= {0, 1, 2}
    assert np.mean(np.array(sides) == 2) == pytest.approx(0.3, abs=0.06)
    ends = np.array([[*(cut.low > 0), *(cut.high < cut.shape)] for cut in cuts])
    assert (ends.mean(0) > 0.12).all()
    if count == 40:
        lost = np.array([cut.outside(points).mean() for cut in cuts])
        assert lost.max() <= 0.55
        assert 0.12 < lost.mean() < 0.3
        assert 0.1 < (lost == 0).mean() < 0.35
    if count == 1:
        assert 0.2 < np.mean([cut.outside(points).any() for cut in cuts]) < 0.8


def test_an_end_that_is_not_cut_loses_nothing():
    cut = Cut(np.array([2, 0]), np.array([9, 9]), np.array([9, 9]))
    points = np.array([[1.49, 4], [1.5, 4], [1.51, 4], [8.9, 9.9], [4, -3], [np.nan, np.nan]])
    np.testing.assert_array_equal(cut.outside(points), [True, False, False, False, False, False])


def test_the_crop_of_a_landmark_outside_lies_in_the_image_and_says_absent():
    points, shape = np.array([[-30.0, 5, 5], [4.0, 5, 5]]), np.array([20, 11, 11])
    status, cut_off = np.array([ABSENT, PRESENT], dtype=np.int8), np.array([True, False])
    random = np.random.default_rng(0)
    found = [
        crop_center(random, 0.0, np.zeros(3), points=points, status=status, cut_off=cut_off, shape=shape)
        for _ in range(400)
    ]
    centers = np.array([center for center, _ in found])
    assert {aim for _, aim in found} == {0}
    assert ((centers >= 0) & (centers <= shape - 1)).all()
    at_border = (centers == [0, 5, 5]).all(1)
    assert at_border.mean() == pytest.approx(0.75, abs=0.06)
    assert centers[~at_border][:, 0].std() > 4
    outside = np.array([True, True])
    made_for_it = [crop_status(random, status, cut_off, outside, 0) for _ in range(50)]
    np.testing.assert_array_equal(made_for_it, np.tile([ABSENT, UNKNOWN], (50, 1)))
    others = np.array([crop_status(random, status, cut_off, outside, 1) for _ in range(400)])
    assert (others[:, 0] == ABSENT).mean() == pytest.approx(0.25, abs=0.07)
    near = crop_status(random, status, cut_off, np.array([False, False]), 1)
    np.testing.assert_array_equal(near, status)


def test_an_image_without_any_landmark_is_cut_too():
    data, _, _ = case(5, 3)
    data |= {"label": np.full((6, 3), np.nan), "status": np.full(6, UNKNOWN, dtype=np.int8)}
    for transform in (
        RandPatchd("image", "s", (8, 8, 8), cut_share=1.0),
        RandCropsd("image", "s", (8, 8, 8), 2, 1.0, cut_share=1.0),
    ):
        assert (transform(data)["s"]["status"] == UNKNOWN).all()


def test_world_to_voxel_of_a_crop_is_where_the_landmark_is_shown():
    """A bright voxel of a cut image lies where the crop's points say."""
    for seed in range(12):
        data, voxels, affine = case(seed, 3)
        whole = np.round(voxels[0]).astype(int)
        image = torch.zeros((1, *data["image"].shape[1:]))
        image[(0, *whole)] = 1.0
        data["image"] = MetaTensor(image, affine=affine)
        data["label"][0] = apply_affine(affine, whole.astype(float))
        crops = RandCropsd("image", "s", (11, 11, 11), 3, 0.0, cut_share=1.0)(data)["s"]
        for picture, points, status, of in zip(
            *(crops[k] for k in ("image", "points", "status", "affine")), strict=True
        ):
            np.testing.assert_allclose(points[0], world_to_voxel(of.numpy(), data["label"][0]), atol=1e-3)
            if status[0] == PRESENT and ((points[0] >= 0) & (points[0] <= 10)).all():
                grid = torch.stack(torch.meshgrid(*[torch.arange(11.0)] * 3, indexing="ij"), -1)
                middle = (picture[0][..., None] * grid).sum((0, 1, 2)) / picture.sum()
                np.testing.assert_allclose(middle, points[0], atol=1e-2)
            elif status[0] == ABSENT:
                assert float(picture.sum()) < 1e-5
