"""The search for a pose: any rotation is found, an upright image costs nothing, and nothing is a reflection."""

import json

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from monai.inferers import SlidingWindowInferer
from upright_networks import AIR, UprightNetwork, anatomy, any_turn, shape_model, turned_image

from auto_config.bundle_scripts.grid.turning import turned_about
from auto_config.bundle_scripts.inference.coarse_to_fine import CoarseToFineInferer
from auto_config.bundle_scripts.inference.dense import DenseInferer
from auto_config.bundle_scripts.inference.poses import PoseSearch, turned_back
from auto_config.bundle_scripts.methods.decoders import ArgmaxDecoder
from auto_config.bundle_scripts.points.peaks import make_peaks
from auto_config.bundle_scripts.points.pose.rotations import plane_rotation, quarter_turns

FEW = settings(derandomize=True, deadline=None, max_examples=6, phases=[Phase.explicit, Phase.generate])
SIZE = {2: (44, 44), 3: (32, 32, 32)}
SPACING = {2: (1.0, 1.0), 3: (1.0, 1.0, 1.0)}
FACTOR = 2
EXACT = 0.15  # mm: the decoder's parabola is not that of a turned grid


def upright_at(limit=45.0, **arguments):
    return PoseSearch("upright", limit_deg=limit, **arguments)


def coarse_to_fine(dims, pose, **arguments):
    edge = SIZE[dims][0] // FACTOR
    window = SlidingWindowInferer(
        roi_size=(edge,) * dims, overlap=0.5, mode="gaussian", padding_mode="constant", cval=AIR
    )
    numbers = {
        "window": window,
        "factor": [FACTOR] * dims,
        "crop_size": (12,) * dims,
        "spacing": SPACING[dims],
        "coarse_decoder": ArgmaxDecoder(),
        "fine_decoder": ArgmaxDecoder(),
        "reach": 3.0,
        "pad_value": AIR,
        "pose": pose,
    }
    return CoarseToFineInferer(**{**numbers, **arguments})


def two_stage_network(dims, **arguments):
    fine = np.array(SPACING[dims])
    return UprightNetwork(dims, {"coarse": fine * FACTOR, "fine": fine}, **arguments)


def found_by(inferer, image, network):
    return inferer.heatmaps(image, network).peaks.points.numpy()


@given(st.integers(0, 10**6), st.sampled_from([2, 2, 3]))
@FEW
def test_an_upright_network_finds_the_pattern_at_any_rotation(seed, dims):
    image, points = turned_image(any_turn(seed, dims), SPACING[dims], SIZE[dims])
    network = two_stage_network(dims)
    np.testing.assert_allclose(found_by(coarse_to_fine(dims, upright_at()), image, network), points, atol=EXACT)
    fine = [angle for name, angle in network.seen if name == "fine"]
    assert max(fine) < 35.0


@pytest.mark.parametrize("dims", [2, 3])
def test_without_a_search_a_turned_pattern_is_lost(dims):
    """The stand-in network does need it."""
    image, points = turned_image(quarter_turns(dims)[3], SPACING[dims], SIZE[dims])
    found = found_by(coarse_to_fine(dims, None), image, two_stage_network(dims))
    assert np.median(np.linalg.norm(found - points, axis=1)) > 5


@pytest.mark.parametrize("dims", [2, 3])
def test_a_plausible_answer_stands_bit_for_bit_and_costs_nothing(dims):
    turn = np.eye(dims)
    turn[:2, :2] = plane_rotation(np.radians(20))
    image, _ = turned_image(turn, SPACING[dims], SIZE[dims])
    plain, searching = two_stage_network(dims), two_stage_network(dims)
    expected = coarse_to_fine(dims, None)(image[None], plain)
    torch.testing.assert_close(
        coarse_to_fine(dims, upright_at())(image[None], searching), expected, rtol=0, atol=0, equal_nan=True
    )
    assert searching.looks == plain.looks


def test_where_no_pose_is_plausible_the_first_answer_stands_and_the_cost_is_bounded():
    """An image of something else: the coarse stage is never right."""
    image, _ = turned_image(np.eye(3), SPACING[3], SIZE[3])
    plain, network = (two_stage_network(3, knows={"coarse": -100.0}) for _ in range(2))
    expected = found_by(coarse_to_fine(3, None), image, plain)
    looks = []
    search = upright_at()
    judge = search.look_at
    search.look_at = lambda *given: looks.append(1) or judge(*given)
    np.testing.assert_array_equal(found_by(coarse_to_fine(3, search), image, network), expected)
    assert len(quarter_turns(3)) <= len(looks) <= 2 * len(quarter_turns(3)) + 1


def test_a_shape_of_few_landmarks_or_cases_never_starts_a_search():
    image, _ = turned_image(quarter_turns(3)[5], SPACING[3], SIZE[3])
    for model in (shape_model(3, cases=4), shape_model(3, spread=5.0)):
        plain, network = (two_stage_network(3, shape=model) for _ in range(2))
        expected = found_by(coarse_to_fine(3, None), image, plain)
        np.testing.assert_array_equal(found_by(coarse_to_fine(3, upright_at()), image, network), expected)
        assert network.looks == plain.looks


def test_a_good_answer_that_lies_too_far_turned_is_looked_at_upright():
    """All points are found at 60 degrees, by a coarse stage that knows more than the fine one."""
    image, points = turned_image(plane_rotation(np.radians(60)), SPACING[2], SIZE[2])
    network = two_stage_network(2, knows={"coarse": 180.0})
    np.testing.assert_allclose(found_by(coarse_to_fine(2, upright_at()), image, network), points, atol=EXACT)
    assert max(angle for name, angle in network.seen if name == "fine") < 5


def test_upright_is_how_the_cases_lie_and_not_how_the_mean_shape_does(tmp_path):
    """The mean shape stands on its head, as it does where the case that it was aligned to does."""
    landmarks = tmp_path / "landmarks.json"
    items = [{"name": str(i), "mean_offset_mm": list(p)} for i, p in enumerate(anatomy(2)[0])]
    landmarks.write_text(json.dumps({"landmarks": items}), encoding="utf-8")
    image, points = turned_image(np.eye(2), SPACING[2], SIZE[2])
    network = two_stage_network(2, shape=shape_model(2, turn=-np.eye(2)))
    search = upright_at(landmarks=landmarks)
    np.testing.assert_allclose(found_by(coarse_to_fine(2, search), image, network), points, atol=EXACT)
    assert len([1 for name, _ in network.seen if name == "coarse"]) == 1


@given(st.integers(0, 10**6), st.sampled_from([2, 3]), st.booleans())
@FEW
def test_free_poses_have_their_crops_upright(seed, dims, search):
    """The coarse stage knows every pose, the fine one upright crops alone."""
    image, points = turned_image(any_turn(seed, dims), SPACING[dims], SIZE[dims])
    network = two_stage_network(dims, knows={"coarse": 180.0})
    inferer = coarse_to_fine(dims, PoseSearch("free", search=search))
    np.testing.assert_allclose(found_by(inferer, image, network), points, atol=EXACT)
    assert max(angle for name, angle in network.seen if name == "fine") < 5


@given(st.integers(0, 10**6), st.sampled_from([2, 3]))
@FEW
def test_pairs_stay_right_under_rotation_and_the_mirror_image_is_that_of_the_upright_crop(seed, dims):
    """A network trained on mirrored images sees upright crops in both of its views, and the views agree."""
    points_mm, partner = anatomy(dims)
    image, points = turned_image(any_turn(seed, dims), SPACING[dims], SIZE[dims])
    network = two_stage_network(dims, knows={"coarse": 180.0})
    inferer = coarse_to_fine(dims, PoseSearch("free"), flip_pairs=partner)
    peaks = inferer.heatmaps(image, network).peaks
    np.testing.assert_allclose(peaks.points.numpy(), points, atol=EXACT)
    assert float(peaks.mirror_disagreement.max()) < EXACT
    assert max(angle for name, angle in network.seen if name == "fine") < 5
    assert len(peaks.points) == len(points_mm)


@given(st.integers(0, 10**6))
@FEW
def test_one_stage_turns_the_whole_image(seed):
    image, points = turned_image(any_turn(seed, 2), SPACING[2], SIZE[2])
    window = SlidingWindowInferer(roi_size=(44, 44), overlap=0.5, mode="gaussian", padding_mode="constant", cval=AIR)
    network = UprightNetwork(2, {"fine": np.ones(2)})
    inferer = DenseInferer(window=window, decoder=ArgmaxDecoder(), spacing=SPACING[2], pose=upright_at(), pad_value=AIR)
    found = inferer.heatmaps(image, network)
    np.testing.assert_allclose(found.peaks.points.numpy(), points, atol=EXACT)
    # Heatmaps of a turned image know where their voxels lie: the maximum is at the point.
    for row, local in enumerate(found.local(points)):
        at = np.unravel_index(int(found.output["logits"][row].argmax()), found.output["logits"].shape[1:])
        assert np.abs(np.array(at) - local).max() <= 0.75


@given(st.integers(0, 10**6), st.sampled_from([2, 3]))
@FEW
def test_peaks_come_back_with_their_covariance(seed, dims):
    """Points of a turned grid with voxels that are no cubes: mm lengths along the turned axes stay what they are."""
    random = np.random.default_rng(seed)
    spacing, turn = random.uniform(0.5, 2, dims), any_turn(seed, dims)
    mm = np.diag(random.uniform(0.5, 4, dims))  # of the turned frame
    voxel = np.diag(1 / spacing)
    affine = turned_about(turn, spacing, random.uniform(0, 30, dims), random.uniform(0, 30, dims))
    local = random.uniform(0, 20, (1, dims))
    peaks = make_peaks(torch.from_numpy(local), torch.ones(1), torch.from_numpy(voxel @ mm @ voxel)[None].float())
    back = turned_back(peaks, affine)
    expected = voxel @ turn @ mm @ turn.T @ voxel
    np.testing.assert_allclose(back.covariance[0].numpy(), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(back.points[0].numpy(), affine[:-1, :-1] @ local[0] + affine[:-1, -1], atol=1e-3)
    assert turned_back(peaks, None) is peaks


def test_a_density_comes_back_to_whole_planned_voxels():
    image, points = turned_image(any_turn(3, 2), SPACING[2], SIZE[2])
    network = two_stage_network(2, knows={"coarse": 180.0})
    found = coarse_to_fine(2, PoseSearch("free")).heatmaps(image, network)
    density = ArgmaxDecoder().density(found.output).numpy()
    for row in range(len(points)):
        box, origin = found.on_planned_grid(density[row], row)
        where = np.stack(np.meshgrid(*[np.arange(n) for n in box.shape], indexing="ij"), -1) + origin
        middle = (where * box[..., None]).reshape(-1, 2).sum(0) / box.sum()
        np.testing.assert_allclose(middle, points[row], atol=0.1)
        assert box.sum() == pytest.approx(1.0, abs=0.05)


def test_another_word_for_a_pose_is_refused():
    with pytest.raises(ValueError, match="allowed are 'upright' and 'free'"):
        PoseSearch("lying")


@pytest.mark.parametrize(
    ("content", "searches"),
    [
        (None, True),
        ("{", True),
        ("[]", True),
        ('{"presence": {}}', True),
        ('{"useless": "no better than the mean shape"}', False),
    ],
)
def test_a_model_that_has_learnt_nothing_is_not_looked_at_in_other_poses(tmp_path, content, searches):
    path = tmp_path / "calibration.json"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    assert PoseSearch("upright", calibration=path).search is searches
    assert not PoseSearch("upright", search=False, calibration=path).search
