"""Training with free poses: patches in any pose, crops turned upright with their points, and the shape that says so."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from upright_networks import AIR, anatomy, any_turn, turned_image

from auto_config.bundle_scripts.points.pose.rotations import angle_deg, proper
from auto_config.bundle_scripts.points.procrustes import similarity
from auto_config.bundle_scripts.points.shape import ShapeModel
from auto_config.bundle_scripts.training.crops.rand_crops import RandCropsd
from auto_config.bundle_scripts.training.crops.upright import UprightPose
from auto_config.bundle_scripts.training.patches import RandPatchd, SpatialAugmentation
from auto_config.bundle_scripts.training.shape_fit import FitShape

FEW = settings(derandomize=True, deadline=None, max_examples=8, phases=[Phase.explicit, Phase.generate])
SIZE = {2: (44, 44), 3: (36, 36, 36)}


def data_list(dims, cases=6):
    """Cases that lie anyhow, with names and labels as a data list has them."""
    points, partner = anatomy(dims)
    names = [str(i) for i in range(len(points))]
    random = np.random.default_rng(2)
    shapes = [(points + random.normal(size=points.shape) * 0.1) @ any_turn(i, dims).T for i in range(cases)]
    data = [{"label": {n: [float(x) for x in p] for n, p in zip(names, shape, strict=True)}} for shape in shapes]
    return names, data, partner


def case(turn, dims, spacing, index=0, status=None):
    image, voxels = turned_image(turn, spacing, SIZE[dims])
    affine = np.eye(4)
    affine[:dims, :dims] = np.diag(spacing)
    image = MetaTensor(image, affine=affine)
    status = np.ones(len(voxels), dtype=np.int8) if status is None else status
    return {"image": image, "label": voxels * spacing, "status": status, "seed": 3, "index": index}


def check_points(made, dims, partner):
    """Each present point lies where the crop shows its coordinates: those of its partner in a mirror image."""
    found = []
    for image, points, status in zip(made["image"], made["points"].numpy(), made["status"].numpy(), strict=True):
        for row in np.flatnonzero(status == 1):
            low = np.floor(points[row]).astype(int)
            if (low < 0).any() or (low + 1 >= np.array(image.shape[1:])).any():
                continue
            box = image[(slice(None), *(slice(a, a + 2) for a in low))]
            if (box < AIR / 2).any():
                continue
            share = points[row] - low
            value = box
            for axis in range(dims):
                first, second = value.unbind(1)
                value = first * (1 - share[axis]) + second * share[axis]
            expected = [anatomy(dims)[0][row], anatomy(dims)[0][partner[row]]]
            found.append(min(np.abs(value.numpy() - one).max() for one in expected))
    return found


@given(st.integers(0, 10**6), st.sampled_from([2, 3]), st.booleans())
@FEW
def test_crops_stand_upright_and_points_go_with_them(seed, dims, mirrored):
    names, data, partner = data_list(dims)
    upright = UprightPose(data, names, dims, flip_pairs=partner)
    augmentation = SpatialAugmentation(mirror_pairs=tuple(partner) if mirrored else None)
    crops = RandCropsd("image", "fine", (12,) * dims, 6, 0.0, augmentation, AIR, upright=upright)
    spacing = np.array([1.0, 1.25, 0.8])[:dims]
    made = crops(case(any_turn(seed, dims), dims, spacing, index=seed % 7))["fine"]
    apart = check_points(made, dims, partner)
    assert len(apart) > 6
    assert max(apart) < 1e-3
    # Upright: the same pose for every case, and the mirror image of an upright crop is upright.
    for image in made["image"]:
        inside = (image > AIR / 2).all(0)
        steps = [image.diff(dim=1 + axis) for axis in range(dims)]
        slope = (
            np.stack(
                [
                    [float(c[inside.narrow(a, 1, c.shape[a]) & inside.narrow(a, 0, c.shape[a])].median()) for c in step]
                    for a, step in enumerate(steps)
                ],
                axis=1,
            )
            / spacing
        )
        lies = proper(similarity(upright.mean, anatomy(dims)[0], np.ones(len(names)))[:-1, :-1])
        mirror = np.diag([np.sign(np.linalg.det(slope))] + [1.0] * (dims - 1))
        # From the crop to the anatomy; a mirrored crop is a mirror image of the upright shape.
        assert angle_deg(proper(lies.T @ slope @ mirror)) < 2.0


def test_without_a_pose_the_crops_lie_as_the_image_does():
    names, data, _ = data_list(2)
    turn = any_turn(1, 2)
    crops = {
        kind: RandCropsd("image", "fine", (12, 12), 2, 0.0, SpatialAugmentation(), AIR, upright=upright)(
            case(turn, 2, np.ones(2))
        )["fine"]["image"]
        for kind, upright in (("as it is", None), ("upright", UprightPose(data, names, 2)))
    }
    assert not torch.allclose(crops["as it is"], crops["upright"])


def test_the_pose_is_off_by_what_coarse_points_are_off_by():
    names, data, _ = data_list(3)
    upright = UprightPose(data, names, 3)
    points, status = anatomy(3)[0], np.ones(15, dtype=np.int8)

    def off(jitter):
        random = np.random.default_rng(0)
        exact = upright.rotation(random, points, status, 0.0)
        return np.mean([angle_deg(exact.T @ upright.rotation(random, points, status, jitter)) for _ in range(50)])

    assert off(0.0) < 1e-4
    assert 0.5 < off(0.5) < 5
    assert off(1.0) == pytest.approx(2 * off(0.5), rel=0.2)


def test_a_case_that_does_not_tell_its_pose_is_turned_anyhow():
    names, data, _ = data_list(3)
    upright = UprightPose(data, names, 3)
    status = np.full(15, -1, dtype=np.int8)
    status[:2] = 1
    random = np.random.default_rng(0)
    turns = [upright.rotation(random, np.full((15, 3), np.nan), status, 0.1) for _ in range(20)]
    assert all(np.linalg.det(turn) == pytest.approx(1.0) for turn in turns)
    assert np.std([angle_deg(turn) for turn in turns]) > 15
    nothing = UprightPose([], names, 3)
    assert np.linalg.det(nothing.rotation(random, anatomy(3)[0], np.ones(15, dtype=np.int8), 0.1)) > 0


@pytest.mark.parametrize("dims", [2, 3])
def test_patches_of_the_coarse_stage_lie_in_every_pose_with_their_points(dims):
    patches = RandPatchd("image", "coarse", SIZE[dims], foreground=0.0, pad_value=AIR, any_pose=True)
    angles = []
    for index in range(12):
        made = patches(case(np.eye(dims), dims, np.ones(dims), index=index))["coarse"]
        assert max(check_points(made, dims, list(range(15)))) < 1e-3
        points, status = made["points"][0].numpy(), made["status"][0].numpy() == 1
        fit = similarity(anatomy(dims)[0][status], points[status], np.ones(int(status.sum())))
        angles.append(angle_deg(proper(fit[:-1, :-1])))
    assert min(angles) < 60
    assert max(angles) > 120


def test_network_and_crops_have_the_same_upright_shape():
    """Else crops of training would lie otherwise than those of prediction."""
    for dims in (2, 3):
        names, data, partner = data_list(dims)
        network = SimpleNamespace(shape=ShapeModel(len(names), dims))
        FitShape(network, data, names, dims, upright=True, flip_pairs=partner)(None)
        mean = UprightPose(data, names, dims, flip_pairs=partner).mean
        np.testing.assert_allclose(network.shape.known_mean(), mean, atol=1e-9)
        np.testing.assert_allclose((mean * ([-1.0] + [1.0] * (dims - 1)))[partner], mean, atol=0.3)
        lying = SimpleNamespace(shape=ShapeModel(len(names), dims))
        FitShape(lying, data, names, dims)(None)
        assert not np.allclose(lying.shape.known_mean(), mean, atol=1.0)
        np.testing.assert_array_equal(lying.shape.known_spread(), network.shape.known_spread())
