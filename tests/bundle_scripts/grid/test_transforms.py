"""Preprocessing transforms, each against what it promises."""

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from monai.transforms import ScaleIntensityRanged, Spacing
from scipy import ndimage

from auto_config.bundle.parts import normalisation
from auto_config.bundle_scripts.grid.background import background_box
from auto_config.bundle_scripts.grid.grids import apply_affine, coarse_affine, world_to_voxel
from auto_config.bundle_scripts.grid.transforms import (
    CoarseViewd,
    CropBackgroundd,
    LowPassd,
    NormalizeChannelsd,
    ResampleGridd,
    block_mean,
)

QUIET = settings(derandomize=True, deadline=None, max_examples=25, phases=[Phase.explicit, Phase.generate])
AFFINE = np.array([[0.0, -2, 0, 5], [1.5, 0, 0, -3], [0, 0, 0.5, 2], [0, 0, 0, 1]])


def image_of(array, affine=AFFINE):
    return {"image": MetaTensor(torch.from_numpy(np.asarray(array, dtype=np.float32)), affine=affine)}


@given(st.integers(0, 10**6), st.sampled_from([2, 3]), st.integers(0, 3), st.floats(-5, 5, width=32))
@QUIET
def test_no_voxel_that_differs_from_the_background_is_ever_cropped_away(seed, dims, margin, value):
    random = np.random.default_rng(seed)
    size = tuple(random.integers(3, 12, dims))
    array = np.full((2, *size), value, dtype=np.float32)
    body = random.uniform(size=array.shape) < random.choice([0.0, 0.02, 0.3])
    array[body] += random.uniform(0.1, 1, body.sum()).astype(np.float32)
    box = background_box(array, margin)
    kept = np.zeros(array.shape, dtype=bool)
    kept[(slice(None), *box)] = True
    different = array != array[(slice(None), *[slice(0, 1)] * dims)]
    assert kept[different].all()
    assert all(0 <= s.start < s.stop <= n for s, n in zip(box, size, strict=True))


@given(st.integers(0, 10**6), st.integers(0, 6))
@QUIET
def test_a_landmark_in_or_on_the_body_keeps_its_place_and_stays_inside(seed, padding):
    random = np.random.default_rng(seed)
    array = np.pad(random.uniform(1, 2, (1, 6, 5, 7)), [(0, 0)] + [(padding, padding)] * 3)
    voxel = padding + random.uniform(-0.5, [5.5, 4.5, 6.5])
    world = apply_affine(AFFINE, voxel)
    cropped = CropBackgroundd("image")(image_of(array))["image"]
    inside = world_to_voxel(cropped.affine.numpy(), world)
    assert (inside >= -0.5).all()
    assert (inside <= np.array(cropped.shape[1:]) - 0.5).all()
    # At most the margin of two voxels around the body is left, and the values are where they were.
    assert all(n <= m + 4 for n, m in zip(cropped.shape[1:], (6, 5, 7), strict=True))
    nearest = tuple(np.clip(np.round(voxel), 0, np.array(array.shape[1:]) - 1).astype(int))
    there = np.clip(np.round(inside), 0, np.array(cropped.shape[1:]) - 1).astype(int)
    if np.allclose(there, np.array(nearest) - np.round(voxel - inside)):
        assert cropped[(0, *there)] == pytest.approx(array[(0, *nearest)], rel=1e-6)


def test_noisy_air_is_no_background():
    array = np.random.default_rng(0).normal(size=(1, 8, 8, 8))
    assert CropBackgroundd("image")(image_of(array))["image"].shape == (1, 8, 8, 8)
    assert CropBackgroundd("image")(image_of(np.ones((1, 4, 4, 4))))["image"].shape == (1, 4, 4, 4)


def test_low_pass_only_where_the_grid_gets_coarser():
    array = np.random.default_rng(0).normal(size=(1, 12, 10, 14)).astype(np.float32)
    # Columns of the affine: 1.5, 2 and 0.5 mm.
    out = LowPassd("image", spacing=[1.5, 1.0, 1.5])(image_of(array))["image"]
    expected = ndimage.gaussian_filter(array[0], (0, 0, 1.0), mode="nearest", truncate=3.0)
    np.testing.assert_allclose(out[0], expected, atol=1e-5)
    same = image_of(array)
    assert LowPassd("image", spacing=[1.5, 2.0, 0.5])(same)["image"] is same["image"]


def test_a_pattern_too_fine_for_the_new_grid_is_gone():
    """Stripes of one voxel, taken at every fourth voxel, would be a constant 1 or -1 without the filter."""
    stripes = np.where(np.arange(64) % 2, 1.0, -1.0)[None, :, None] * np.ones((1, 1, 4))
    out = LowPassd("image", spacing=[4.0, 1.0])(image_of(stripes, np.diag([1.0, 1, 1])))["image"]
    assert float(out[0, 8:-8:4].abs().max()) < 0.02


def test_ct_is_clipped_and_scaled_by_the_numbers_of_the_cohort():
    rule = {"kind": "ct", "low": -100.0, "high": 300.0, "mean": 50.0, "std": 25.0}
    array = np.array([[[-1000.0, 50.0], [100.0, 2000.0]]])
    out = NormalizeChannelsd("image", [rule])(image_of(array, np.eye(3)))["image"]
    np.testing.assert_allclose(out[0], [[-6, 0], [2, 10]])
    np.testing.assert_array_equal(out.affine, np.eye(4) if out.affine.shape[0] == 4 else np.eye(3))


@given(st.integers(0, 10**6), st.booleans())
@QUIET
def test_where_monai_scales_a_ct_it_does_the_same(seed, integers):
    random = np.random.default_rng(seed)
    low, width, std = random.uniform(-1000, 0), random.uniform(1, 3000), random.uniform(0.5, 900)
    rule = {"kind": "ct", "low": low, "high": low + width, "mean": low + random.uniform(0, width), "std": std}
    part = normalisation([rule])
    assert part.pop("_target_") == "ScaleIntensityRanged"
    array = random.uniform(low - width, low + 2 * width, (1, 4, 5, 6))
    data = image_of(np.round(array) if integers else array)
    expected = NormalizeChannelsd("image", [rule])(data)["image"]
    out = ScaleIntensityRanged(**part)(data)["image"]
    np.testing.assert_allclose(out, expected, atol=2e-6 * max(1, width / std))
    np.testing.assert_array_equal(out.affine, expected.affine)


@pytest.mark.parametrize(
    "rules",
    [
        [{"kind": "zscore"}],
        [{"kind": "ct", "low": 0.0, "high": 1.0, "mean": 0.5, "std": 1.0}] * 2,
        [{"kind": "ct", "low": 1.0, "high": 1.0, "mean": 1.0, "std": 0.0}],
    ],
)
def test_what_monai_cannot_scale_is_scaled_here(rules):
    assert normalisation(rules)["_target_"] == "scripts.grid.transforms.NormalizeChannelsd"


def test_the_planned_grid_is_cropped_smoothed_and_resampled():
    array = np.pad(np.random.default_rng(0).uniform(1, 2, (1, 16, 14, 18)), [(0, 0)] + [(9, 9)] * 3)
    data = image_of(array, np.diag([1.0, 1, 1, 1])) | {"image_path": "a file"}
    out = ResampleGridd("image", [2.0, 1.0, 3.0])(data)
    by_hand = LowPassd("image", [2.0, 1.0, 3.0])(CropBackgroundd("image")(data))["image"]
    expected = Spacing([2.0, 1.0, 3.0], mode="bilinear", padding_mode="border")(by_hand)
    np.testing.assert_array_equal(out["image"], expected)
    np.testing.assert_array_equal(out["image"].affine, expected.affine)
    assert out["image_path"] == "a file"
    plain = ResampleGridd("image", [1.0, 1.0, 1.0], crop_background=False, low_pass=False)(data)["image"]
    np.testing.assert_allclose(plain, array, atol=1e-6)


def test_each_other_image_by_its_own_body_whatever_its_scale_and_padding():
    random = np.random.default_rng(0)
    body = random.uniform(10, 20, (1, 6, 6, 6))
    transform = NormalizeChannelsd("image", [{"kind": "zscore"}])
    plain = transform(image_of(np.pad(body, [(0, 0)] + [(1, 1)] * 3)))["image"][0, 1:-1, 1:-1, 1:-1]
    other = transform(image_of(np.pad(7 * body, [(0, 0)] + [(3, 3)] * 3)))["image"][0, 3:-3, 3:-3, 3:-3]
    np.testing.assert_allclose(plain, other, atol=1e-4)
    assert float(plain.mean()) == pytest.approx(0, abs=1e-4)
    assert float(plain.std()) == pytest.approx(1, abs=1e-4)
    assert not transform(image_of(np.full((1, 3, 3, 3), 5.0)))["image"].any()


def test_another_number_of_channels_and_another_kind_are_refused_in_one_line():
    with pytest.raises(ValueError, match="has 2 channels; this bundle was made for 1"):
        NormalizeChannelsd("image", [{"kind": "zscore"}])(image_of(np.zeros((2, 3, 3, 3))))
    with pytest.raises(ValueError, match="'minmax'; allowed are 'ct' and 'zscore'"):
        NormalizeChannelsd("image", [{"kind": "minmax"}])


@pytest.mark.parametrize(("size", "factor"), [((7, 6, 4), (3, 2, 1)), ((5, 9), (2, 4))])
def test_blocks_are_averaged_and_the_last_repeats_the_border(size, factor):
    array = np.random.default_rng(0).normal(size=(2, *size)).astype(np.float32)
    ours = block_mean(torch.from_numpy(array)[None], factor)[0].numpy()
    padded = np.pad(array, [(0, 0)] + [(0, -n % f) for n, f in zip(size, factor, strict=True)], mode="edge")
    for index in np.ndindex(ours.shape[1:]):
        block = tuple(slice(i * f, (i + 1) * f) for i, f in zip(index, factor, strict=True))
        np.testing.assert_allclose(
            ours[(slice(None), *index)], padded[(slice(None), *block)].mean(tuple(range(1, array.ndim))), atol=1e-5
        )


def test_the_coarse_view_has_its_own_affine_and_leaves_the_image():
    data = image_of(np.random.default_rng(0).normal(size=(1, 8, 6, 5)))
    out = CoarseViewd("image", name="coarse_image", factor=[2, 3, 4])(data)
    assert out["image"] is data["image"]
    assert out["coarse_image"].shape == (1, 4, 2, 2)
    np.testing.assert_allclose(out["coarse_image"].affine, coarse_affine(AFFINE, [2, 3, 4]))
