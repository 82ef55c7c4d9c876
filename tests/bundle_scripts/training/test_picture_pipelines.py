"""2D through everything that the tool writes, from the file: a blob stays where its point is, in mm and in pixels."""

import itertools

import numpy as np
import pytest
from analytic_blobs import HEIGHT, KnowingNetwork, centre_of_mass, inline, parse, plan_of, training_pipeline
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

from auto_config.bundle import configs

TOLERANCE = 0.25  # pixels of the planned grid
QUIET = settings(derandomize=True, deadline=None, max_examples=4, phases=[Phase.explicit, Phase.generate])
SIZES = st.tuples(st.floats(0.05, 0.16), st.floats(0.05, 0.16))
SHIFTS = st.tuples(st.floats(-0.6, 0.6), st.floats(-0.6, 0.6))
GRID = (0.1, 0.1)  # planned, mm


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("pictures")


def picture(path, points, spacing, sigma, extent=6.4):
    """Write a TIFF of `extent` mm with a Gaussian of ``sigma`` mm at each point (mm, x right and y down)."""
    columns, rows = (round(extent / size) for size in spacing)
    x = np.arange(columns)[None] * spacing[0]
    y = np.arange(rows)[:, None] * spacing[1]
    grey = np.zeros((rows, columns))
    for point in points:
        far = np.hypot(x - point[0], y - point[1]) / sigma
        grey = np.maximum(grey, np.where(far < 5, HEIGHT * np.exp(-0.5 * far**2), 0))
    Image.fromarray(grey.astype(np.float32)).save(path)
    return str(path)


@pytest.mark.parametrize(("method", "stages"), itertools.product(("default", "nnlandmark"), (1, 2)))
@given(spacing=SIZES, shift=SHIFTS)
@QUIET
def test_blobs_follow_their_points_into_training_patches(folder, method, stages, spacing, shift):
    names, sigma = ["left", "right", "mid"], 0.25
    points = np.array([[1.8, 3.2], [4.6, 3.4], [3.2, 1.9]]) + shift
    plan = plan_of(dims=2, method=method, stages=stages, landmarks=3, spacing=GRID, patch_size=(48, 48))
    path = picture(folder / "a.tif", points, spacing, sigma)
    pipeline = training_pipeline(plan, folder, names, pixel_spacing=list(spacing))
    case = pipeline.transforms[0]({"image": path})
    for point in points:
        error = centre_of_mass(case["image"][0], case["image"].affine, point, sigma)
        assert error is None or np.abs(error).max() < TOLERANCE
    case = pipeline.transforms[1]({**case, "label": inline(names, points)})
    seen = 0
    for index in range(10):
        sample = case | {"seed": 1, "index": index}
        for transform in pipeline.transforms[2:]:
            sample = transform(sample)
        for stage in plan.value("stages"):
            patch = sample[stage["name"]]
            for n, k in itertools.product(range(len(patch["image"])), range(3)):
                affine = patch["affine"][n].numpy()
                found = patch["points"][n, k].numpy()
                # In a mirrored patch the channels of a pair have changed places.
                which = [0, 1, 2][k] if np.linalg.det(affine[:2, :2]) > 0 else [1, 0, 2][k]
                error = centre_of_mass(patch["image"][n, 0], affine, points[which], sigma)
                if error is not None:
                    seen += 1
                    assert np.abs(error).max() < TOLERANCE
                    inverse = np.linalg.inv(affine[:2, :2])
                    np.testing.assert_allclose(found, inverse @ (points[which] - affine[:2, -1]), atol=1e-3)
    assert seen > 5


@pytest.mark.parametrize(("method", "stages"), itertools.product(("default", "nnlandmark"), (1, 2)))
@given(spacing=SIZES, shift=SHIFTS)
@settings(QUIET, max_examples=2)
def test_a_knowing_network_finds_the_point_in_two_channels(folder, method, stages, spacing, shift):
    names, sigma = ["a", "A"], 0.3
    points = np.array([[2.3, 3.4], [4.1, 2.6]]) + shift
    plan = plan_of(dims=2, method=method, stages=stages, landmarks=2, channels=2, spacing=GRID, patch_size=(32, 32))
    files = [picture(folder / f"c_{k:04d}.tif", points[k : k + 1], spacing, sigma) for k in range(2)]
    parser = parse(configs.inference_config(plan, 2), folder, names, pixel_spacing=list(spacing))
    preprocessing, inferer, postprocessing = (
        parser.get_parsed_content(name) for name in ("preprocessing", "inferer", "postprocessing")
    )
    data = preprocessing({"image": files})
    assert data["image"].shape[0] == 2
    outputs = inferer(data["image"][None], KnowingNetwork(plan, sigma, 2))
    done = postprocessing({**data, "pred": outputs[0]})
    for value, (item, point) in enumerate(zip(done["result"]["landmarks"], points, strict=True), start=1):
        assert np.abs(np.array(item["world"]) - point).max() < TOLERANCE * GRID[0]
        np.testing.assert_allclose(item["voxel"], np.array(item["world"]) / spacing, atol=1e-6)
        # The label map of balls lies on the picture's own grid.
        x, y = np.round(point / spacing).astype(int)
        assert int(done["pred"][0, x, y]) == value
    assert done["pred"].shape[1:] == tuple(round(6.4 / size) for size in spacing)


@given(shift=st.tuples(st.floats(-6, 6), st.floats(-6, 6)))
@settings(QUIET, max_examples=2)
def test_without_a_pixel_size_a_pixel_is_the_unit(folder, shift):
    names, sigma = ["tip"], 3.0
    points = np.array([[30.0, 34.0]]) + shift
    plan = plan_of(dims=2, landmarks=1, spacing=(1.0, 1.0), patch_size=(48, 48))
    path = picture(folder / "px.tif", points, (1.0, 1.0), sigma, extent=64)
    parser = parse(configs.inference_config(plan, 1), folder, names)
    assert parser["pixel_spacing"] is None
    data = parser.get_parsed_content("preprocessing")({"image": path})
    outputs = parser.get_parsed_content("inferer")(data["image"][None], KnowingNetwork(plan, sigma, 1))
    item = parser.get_parsed_content("postprocessing")({**data, "pred": outputs[0]})["result"]["landmarks"][0]
    np.testing.assert_allclose(item["world"], points[0], atol=TOLERANCE)
    np.testing.assert_allclose(item["voxel"], item["world"])
