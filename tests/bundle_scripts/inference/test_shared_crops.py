"""Landmarks that lie close to each other are looked at in one crop."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from monai.data import MetaTensor
from test_coarse_to_fine import POINTS, Peaks, coordinates, inferer
from test_mirrored_crops import PAIRS, Random, kinds
from test_mirrored_crops import inferer as mirrored_inferer

from auto_config.bundle_scripts.inference.shared_crops import shared

# Two close to each other and one in their reach that is not in that of both; one alone.
CLOSE = np.array([[10.3, 12.6, 9.1], [11.8, 12.1, 9.9], [13.6, 12.4, 9.2], [25.2, 30.7, 22.4]])


@st.composite
def places(draw):
    count, dims = draw(st.integers(1, 12)), draw(st.sampled_from([2, 3]))
    origins = draw(arrays.arrays(np.int64, (count, dims), elements=st.integers(-9, 9)))
    return origins, draw(st.lists(st.integers(0, 5), min_size=dims, max_size=dims))


@given(places())
@settings(deadline=None)
def test_each_crop_is_one_of_the_given_ones_within_reach_and_never_more_of_them(drawn):
    origins, most = drawn
    found = shared(origins, most)
    assert found.shape == origins.shape
    assert (np.abs(found - origins) <= most).all()
    assert set(map(tuple, found)) <= set(map(tuple, origins))
    # A crop that stands for others stands for itself, and each is looked at in the nearest of those that reach it.
    kept = np.unique(found, axis=0)
    for place in kept:
        np.testing.assert_array_equal(found[(origins == place).all(-1)][0], place)
    reach = (np.abs(origins[:, None] - kept) <= most).all(-1)
    away = np.where(reach, np.square(origins[:, None] - kept).sum(-1), np.inf)
    np.testing.assert_array_equal(np.square(found - origins).sum(-1), away.min(1))
    if not any(most):
        np.testing.assert_array_equal(found, origins)


def test_the_crop_that_stands_for_most_is_taken_first():
    origins = np.array([[0, 0], [4, 0], [8, 0], [30, 0]])
    np.testing.assert_array_equal(shared(origins, [4, 4]), [[4, 0], [4, 0], [4, 0], [30, 0]])
    # Of two that stand for as many, the first.
    np.testing.assert_array_equal(shared(origins[:2], [4, 4]), [[0, 0], [0, 0]])
    # Then the one that stands for most of those that are left, which is not the first of them.
    more = np.array([[20, 0], [24, 0], [28, 0], [0, 0], [2, 0], [4, 0], [6, 0]])
    np.testing.assert_array_equal(shared(more, [4, 4])[:3], [[24, 0]] * 3)
    # Every axis counts.
    np.testing.assert_array_equal(shared(np.array([[0, 0], [4, 5]]), [4, 4]), [[0, 0], [4, 5]])


@pytest.mark.parametrize(("sharing", "looks"), [(0.0, 4), (0.1, 3), (0.125, 2)])
def test_fewer_crops_are_looked_at_and_points_stay(sharing, looks):
    """Crops of 16 voxels: by 0.1 of that a crop may lie 1 voxel aside, by 0.125 it is 2."""
    network = Peaks(CLOSE)
    peaks = inferer(crop_sharing=sharing)(coordinates(), network)
    assert sum(count for name, count in network.calls if name == "fine") == looks
    np.testing.assert_allclose(peaks[0, :, :3], CLOSE, atol=0.05)


def test_heatmaps_know_which_crop_they_lie_in():
    found = inferer(crop_sharing=0.125).heatmaps(coordinates()[0], Peaks(CLOSE))
    np.testing.assert_array_equal(found.origins[0], found.origins[2])
    highest = found.output["logits"].flatten(1).argmax(1)
    local = np.stack(np.unravel_index(highest.numpy(), found.output["logits"].shape[1:]), -1)
    np.testing.assert_allclose(local + found.origins.numpy(), CLOSE, atol=0.51)
    np.testing.assert_allclose(found.local(CLOSE), CLOSE - found.origins.numpy())


def test_a_landmark_far_from_all_others_lies_in_the_middle_of_its_crop():
    whole, alone = (inferer(crop_sharing=share).heatmaps(coordinates()[0], Peaks(POINTS)) for share in (0.125, 0.0))
    torch.testing.assert_close(whole.origins, alone.origins)
    torch.testing.assert_close(whole.output["logits"], alone.output["logits"])


@torch.no_grad()
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("kind", ["logits", "votes", "widths"])
def test_the_mirror_image_shares_the_same_crops(dims, kind):
    decoder, heads, stride, scalars = kinds(dims)[kind]
    own, network = mirrored_inferer(dims, decoder, crop_sharing=0.25), Random(dims, heads, stride, scalars)
    image = torch.randn(1, *[30, 26, 28][:dims], generator=torch.Generator().manual_seed(1))
    points = np.array([[8.0, 9.0, 9.0], [10.0, 9.0, 11.0], [15.0, 8.0, 14.0], [19.0, 12.0, 12.0], [17.0, 13.0, 13.0]])
    crops = own._crops(image, points[:, :dims])
    assert len({tuple(origin) for _, origin in crops}) < len(points)
    mirrored = mirrored_inferer(dims, decoder).__class__._seeing(own, network)
    found = [look() for look in own._fine_views(crops, mirrored)]
    wanted = [own._fine_output(crops, view) for view in mirrored.views()]
    for seen, expected in zip(found, wanted, strict=True):
        for head, value in expected.items():
            torch.testing.assert_close(seen[head], value, atol=1e-5, rtol=1e-5)
    assert len(PAIRS) == len(points)


@torch.no_grad()
def test_cells_of_several_voxels_share_whole_cells():
    decoder, _, stride, _ = kinds(2)["votes"]
    own = mirrored_inferer(2, decoder, crop_sharing=0.25)
    crops = own._crops(torch.randn(1, 30, 26), np.array([[8.0, 9.0], [9.9, 9.0], [15.0, 8.0], [19.0, 12.0], [3, 3]]))
    origins = np.stack([origin for _, origin in crops])
    assert stride == 2
    assert (origins % stride == 0).all()
    # Crops of 12 x 8 voxels are 6 x 4 cells: one cell to either side.
    np.testing.assert_array_equal(origins[0], origins[1])
    assert (origins[2] != origins[1]).any()


@pytest.mark.parametrize("share", [-0.1, 0.5])
def test_a_crop_without_its_landmark_is_refused(share):
    with pytest.raises(ValueError, match=r"crop_sharing is .*; it is at least 0 and below 0.5"):
        inferer(crop_sharing=share)


def test_exact_halves_go_up_whatever_their_last_digit_says():
    """A program that follows the way by itself finds the same crops: peaks at the border give exact halves."""
    own = inferer()
    # Of 16 voxels: in the middle of no crop lies a whole voxel.
    for digit in (-1e-6, 0.0, 1e-6):
        crops = own._crops(coordinates()[0], CLOSE.round() + digit)
        np.testing.assert_array_equal(np.stack([origin for _, origin in crops]), CLOSE.round() - 7)


def test_crops_and_heatmaps_have_no_metadata():
    """Each operation on a tensor of MONAI's takes a detour through Python."""
    seen = []

    class Seeing(Peaks):
        def __call__(self, inputs):
            seen.extend(type(image) for image in inputs.values())
            return super().__call__(inputs)

    inferer().heatmaps(MetaTensor(coordinates()[0]), Seeing(CLOSE))
    assert len(seen) > 1 and set(seen) == {torch.Tensor}
