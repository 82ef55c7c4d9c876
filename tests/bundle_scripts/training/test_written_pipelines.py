"""World to voxel to world through every pipeline that the tool writes: a blob stays where its point is."""

import itertools

import numpy as np
import pytest
from analytic_blobs import (
    KnowingNetwork,
    blob_image,
    centre_of_mass,
    geometries,
    inference_parts,
    inline,
    middle,
    plan_of,
    training_pipeline,
)
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor

from auto_config.bundle_scripts.grid.grids import world_to_voxel
from auto_config.bundle_scripts.training.patches import RandPatchd

TOLERANCE = 0.25  # voxels
QUIET = settings(derandomize=True, deadline=None, max_examples=6, phases=[Phase.explicit, Phase.generate])
COMBINATIONS = list(itertools.product(("default", "nnlandmark"), (1, 2)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("pipelines")


@pytest.mark.parametrize("kind", ["ct", "mr"])
@given(geometry=geometries(), shift=st.tuples(*[st.floats(-6, 6)] * 3), background=st.sampled_from([0.0, 0.125]))
@QUIET
def test_preprocessing_leaves_a_blob_at_its_point(folder, kind, geometry, shift, background):
    affine, shape = geometry
    point, sigma = middle(affine, shape) + shift, 2.4
    plan = plan_of(stages=2, kind=kind, spacing=(1.0, 1.2, 1.5))
    path = blob_image(folder / "image.nii.gz", [point], affine, shape, sigma, background=background)
    pipeline = training_pipeline(plan, folder, ["tip"])
    image = pipeline.transforms[0]({"image": path})

    planned = image["image"]
    error = centre_of_mass(planned[0], planned.affine, point, sigma)
    assert np.abs(error).max() < TOLERANCE
    # The constant background is gone (a turned box of 24 mm is left), the axes run to the right, front and top.
    assert all(n * s < 50 for n, s in zip(planned.shape[1:], (1.0, 1.2, 1.5), strict=True))
    assert (np.argmax(np.abs(planned.affine[:3, :3].numpy()), axis=0) == [0, 1, 2]).all()
    assert (np.diag(planned.affine[:3, :3].numpy()) > 0).all()

    coarse = image["coarse_image"]
    factor = plan.stage("coarse")["factor"]
    assert tuple(coarse.shape[1:]) == tuple(-(-n // f) for n, f in zip(planned.shape[1:], factor, strict=True))
    # A blob of 1.5 coarse voxels is as coarse as it may get.
    error = centre_of_mass(coarse[0], coarse.affine, point, sigma)
    assert error is None or np.abs(error).max() < TOLERANCE


@pytest.mark.parametrize(("method", "stages"), COMBINATIONS)
@given(geometry=geometries(), shift=st.tuples(*[st.floats(-8, 8)] * 3))
@settings(QUIET, max_examples=2)
def test_blobs_follow_their_points_into_training_patches(folder, method, stages, geometry, shift):
    affine, shape = geometry
    names = ["left", "right", "mid"]
    sigma = 2.4
    points = middle(affine, shape) + np.array([[-15.0, 0, 4], [15.0, 3, 0], [0.0, -15, -15]]) + 0.5 * np.array(shift)
    plan = plan_of(method=method, stages=stages, landmarks=3, patch_size=(32, 32, 32))
    path = blob_image(folder / "image.nii.gz", points, affine, shape, sigma)
    pipeline = training_pipeline(plan, folder, names, crops_per_image=2, jitter_mm=2.0)
    if method == "default":
        assert pipeline.transforms[2].augmentation.mirror_pairs == (1, 0, 2)
    made = pipeline.transforms[1](pipeline.transforms[0]({"image": path, "label": inline(names, points)}))
    seen, mirrored = 0, set()
    for index in range(12):
        sample = made | {"seed": 3, "index": index}
        for transform in pipeline.transforms[2:]:
            sample = transform(sample)
        for stage in plan.value("stages"):
            patch = sample[stage["name"]]
            for n in range(len(patch["image"])):
                sign = np.linalg.det(patch["affine"][n, :3, :3].numpy()) > 0
                mirrored.add(bool(sign))
                for k in range(3):
                    # The channel of a point may be its partner's: the patch's own affine says where the blob must be.
                    which = k if sign or k == 2 else 1 - k
                    at = world_to_voxel(patch["affine"][n].numpy(), points[which])
                    np.testing.assert_allclose(patch["points"][n, k].numpy(), at, atol=1e-3)
                    error = centre_of_mass(patch["image"][n, 0], patch["affine"][n], points[which], sigma)
                    if error is not None:
                        seen += 1
                        assert np.abs(error).max() < TOLERANCE
    assert seen > 5
    assert mirrored == ({True, False} if method == "default" else {True})


def test_without_the_exchange_of_pairs_a_mirrored_patch_is_caught(folder):
    """Two blobs, the left one bright: in a mirrored patch the bright one is on the right, and "right" is there."""
    affine, shape, sigma = np.diag([1.0, 1, 1, 1]), (60, 40, 40), 2.0
    names, points = ["left", "right"], np.array([[18.0, 20, 20], [42.0, 20, 20]])
    plan = plan_of(landmarks=2, patch_size=(48, 32, 32))
    path = blob_image(folder / "image.nii.gz", points, affine, shape, sigma)
    pipeline = training_pipeline(plan, folder, names)
    data = pipeline.transforms[0]({"image": path})
    data["image"][:, data["image"].shape[1] // 2 :] *= 0.5
    data = pipeline.transforms[1]({**data, "label": inline(names, points), "seed": 0})
    augmentation = pipeline.transforms[2].augmentation
    assert augmentation.mirror_pairs == (1, 0)

    def look(mirror_pairs, index):
        """Whether the patch is mirrored, "left" is on its left, and "left" is on the bright blob."""
        fixed = type(augmentation)(mirror_pairs=mirror_pairs)
        cut = RandPatchd(key="image", name="fine", size=(60, 40, 40), augmentation=fixed)
        patch = cut({**data, "index": index})["fine"]
        at = patch["points"][0].round().int().tolist()
        left, right = (float(patch["image"][(0, 0, *p)]) for p in at)
        mirrored = np.linalg.det(patch["affine"][0, :3, :3].numpy()) < 0
        return bool(mirrored), at[0][0] < at[1][0], left > right

    found = [look((1, 0), index) for index in range(10)]
    assert set(found) == {(False, True, True), (True, True, False)}
    # With a table that exchanges nothing, "left" lies on the right of every mirrored patch.
    assert {look((0, 1), index) for index in range(10)} == {(False, True, True), (True, False, True)}


@pytest.mark.parametrize(("method", "stages"), COMBINATIONS)
@given(image=st.tuples(geometries(), st.tuples(*[st.floats(-5, 5)] * 3), st.integers(0, 12)))
@settings(QUIET, max_examples=2)
def test_a_knowing_network_finds_the_point_however_the_image_lies(folder, method, stages, image):
    """Orientation, spacing, padding and crop of the file move no prediction by 0.25 voxel of the planned grid."""
    (affine, shape), shift, padding = image
    names, sigma = ["a", "A"], 3.0
    points = middle(affine, shape) + np.array([[-9.0, 2, 3], [8.0, -4, -6]]) + shift
    # Constant padding on the low side of the first axis, a crop of the far side of the last.
    shape = (shape[0] + padding, shape[1], shape[2] - padding // 4)
    affine = affine.copy()
    affine[:3, 3] -= affine[:3, 0] * padding
    plan = plan_of(method=method, stages=stages, landmarks=2, channels=2, patch_size=(32, 32, 32))
    files = [
        blob_image(folder / f"image_{k}.nii.gz", points, affine, shape, sigma, channel=k) for k in range(len(names))
    ]
    preprocessing, inferer, postprocessing = inference_parts(plan, folder, names)
    data = preprocessing({"image": files})
    assert data["image"].shape[0] == 2
    network = KnowingNetwork(plan, sigma, len(names))
    outputs = inferer(data["image"][None], network)
    result = postprocessing({**data, "pred": outputs[0]})["result"]["landmarks"]
    assert [item["name"] for item in result] == names
    for item, point in zip(result, points, strict=True):
        assert np.abs(np.array(item["world"]) - point).max() < TOLERANCE  # planned voxels of 1 mm
        np.testing.assert_allclose(item["voxel"], world_to_voxel(affine, np.array(item["world"])), atol=1e-3)
        assert item["confidence"] > 0.3


@given(
    spacing=st.tuples(st.floats(0.6, 1.5), st.floats(0.6, 1.5)),
    shift=st.tuples(st.floats(-6, 6), st.floats(-6, 6)),
    stages=st.sampled_from([1, 2]),
)
@QUIET
def test_pictures_too(folder, spacing, shift, stages):
    """2D: x to the right, y down, no turn of axes."""
    affine = np.diag([*spacing, 1.0, 1.0])
    shape = tuple(round(60 / s) for s in spacing)
    point = np.array([30.0, 30.0]) + shift
    plan = plan_of(dims=2, stages=stages, patch_size=(48, 48))
    sigma = 2.5
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), -1) * spacing
    far = np.linalg.norm(grid - point, axis=-1) / sigma
    image = MetaTensor(np.where(far < 5, np.exp(-0.5 * far**2), 0)[None].astype(np.float32), affine=affine)
    pipeline = training_pipeline(plan, folder, ["tip"])
    data = {"image": image}
    for transform in pipeline.transforms[0].transform.transforms[1:]:
        data = transform(data)
    error = centre_of_mass(data["image"][0], data["image"].affine, point, sigma)
    assert np.abs(error).max() < TOLERANCE
    data = pipeline.transforms[1]({**data, "label": {"tip": point.tolist()}, "seed": 0})
    seen = 0
    for index in range(8):
        sample = {**data, "index": index}
        for transform in pipeline.transforms[2:]:
            sample = transform(sample)
        for stage in plan.value("stages"):
            patch = sample[stage["name"]]
            for n in range(len(patch["image"])):
                error = centre_of_mass(patch["image"][n, 0], patch["affine"][n], point, sigma)
                if error is not None:
                    seen += 1
                    assert np.abs(error).max() < TOLERANCE
    assert seen > 3
