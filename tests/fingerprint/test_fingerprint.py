"""The numbers of a data set, against images made to have them."""

import json
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auto_config.bundle_scripts.grid.background import background_box
from auto_config.bundle_scripts.points.landmarks import LandmarkSet
from auto_config.datasets.model.dataset import Case, Dataset
from auto_config.errors import UserError
from auto_config.fingerprint.measuring import measure_case, measure_cases
from auto_config.fingerprint.summary import Fingerprint, all_problems, summarise

NAMES = ("left eye", "right eye", "nose")
POINTS = {"left eye": [-4.0, 6.0, 2.0], "right eye": [4.0, 6.0, 2.0], "nose": [0.0, 8.0, 0.0]}


def _image(folder, name, *, codes="RAS", shape=(20, 24, 16), spacing=(1.0, 1.5, 2.0), pad=0, seed=0):
    """Noise around a bright block, centred at 0; `pad` voxels of constant -2000 all around. Sizes in RAS."""
    array = np.random.default_rng(seed).normal(100, 10, shape).astype(np.float32)
    array = np.pad(array, pad, constant_values=-2000) if pad else array
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -np.array(spacing) * (np.array(array.shape) - 1) / 2
    image = nib.Nifti1Image(array, affine)
    wanted = nib.orientations.axcodes2ornt(codes)
    image = image.as_reoriented(nib.orientations.ornt_transform(nib.orientations.io_orientation(affine), wanted))
    path = folder / f"{name}.nii.gz"
    nib.save(image, path)
    return path


def _case(folder, name, points=POINTS, **image):
    return Case(name, (_image(folder, name, **image),), LandmarkSet.from_inline(points, NAMES))


def _dataset(folder, cases):
    return Dataset(Path(folder), "folder", NAMES, tuple(cases), 3)


def fingerprint(dataset, *, without=(), **options):
    """As `create` does: one reading, then numbers and problems."""
    measured = measure_cases(dataset, **options)
    return summarise(dataset, measured, without=without), all_problems(dataset, measured)


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR", "ASL"])
def test_shape_and_spacing_in_ras_order_whatever_the_file(tmp_path, codes):
    measured = measure_case(_case(tmp_path, "a", codes=codes), NAMES)
    assert measured.numbers.shape == (20, 24, 16)
    assert measured.numbers.spacing == pytest.approx((1.0, 1.5, 2.0))
    assert measured.problems == ()


def test_constant_background_is_cropped_with_a_margin(tmp_path):
    measured = measure_case(_case(tmp_path, "a", pad=6, codes="PIR"), NAMES)
    assert measured.numbers.shape == (24, 28, 20)
    assert measured.numbers.channels[0].air == -2000


def test_numbers_of_the_cohort(tmp_path):
    points = {"left eye": [-3.0, 0.0, 0.0], "right eye": [3.0, 4.0, 0.0], "nose": "absent"}
    cases = [_case(tmp_path, f"c{n}", seed=n) for n in range(3)] + [_case(tmp_path, "d", points)]
    cases.append(Case("e", (_image(tmp_path, "e", spacing=(2, 2, 2)),), None))
    found, problems = fingerprint(_dataset(tmp_path, cases), workers=1)
    assert (found.cases, found.spatial_dims, found.channels, found.landmarks) == (5, 3, 1, 3)
    assert found.shapes == [[20, 24, 16]] * 5
    assert found.spacings[-1] == [2.0, 2.0, 2.0]
    assert found.extents_mm[0] == [20.0, 36.0, 32.0]
    assert (found.present, found.absent, found.unknown) == ([4, 4, 3], [0, 0, 1], [1, 1, 1])
    assert found.landmark_extent_mm == [[8.0, 2.0, 2.0]] * 3 + [[6.0, 4.0, 0.0]]
    # The nose is sqrt(16 + 4 + 4) from each eye, the eyes of d are sqrt(36 + 16) apart.
    assert found.nearest_landmarks_mm == {
        "min": pytest.approx(24**0.5, abs=1e-3),
        "median": pytest.approx(24**0.5, abs=1e-3),
    }
    assert found.pairs == [[0, 1]]
    assert found.midline == [2]
    assert found.left_right_axis_evidence["source"] == "names"
    assert found.modality_guess is None and not found.is_integer
    assert [problem for problem in problems if problem.severity == "error"] == []


def test_no_case_names_and_json(tmp_path):
    found, _ = fingerprint(_dataset(tmp_path, [_case(tmp_path, "secret1"), _case(tmp_path, "secret2")]))
    text = json.dumps(found.to_dict())
    assert "secret" not in text and str(tmp_path) not in text
    assert Fingerprint.from_dict(json.loads(text)) == found


@pytest.mark.parametrize("codes", ["RAS", "LPI", "SAR"])
def test_places_are_about_the_middle_of_what_is_not_padding(tmp_path, codes):
    """The image is centred at 0, and so is its crop, in whatever order a file has its axes."""
    cases = [_case(tmp_path, "a", codes=codes), _case(tmp_path, "b", codes=codes, pad=3)]
    found, _ = fingerprint(_dataset(tmp_path, cases))
    np.testing.assert_allclose(found.places["mean_mm"], [POINTS[name] for name in NAMES], atol=1e-3)
    np.testing.assert_allclose(found.places["spread_mm"], 0, atol=1e-3)
    assert found.places["cases"] == [2, 2, 2]


def test_test_cases_are_checked_but_not_measured(tmp_path):
    cases = [_case(tmp_path, "a"), _case(tmp_path, "b", spacing=(3, 3, 3))]
    cases.append(_case(tmp_path, "t", {**POINTS, "nose": [0.0, 500.0, 0.0]}))
    found, problems = fingerprint(_dataset(tmp_path, cases), without=("b", "t"))
    assert found.spacings == [[1.0, 1.5, 2.0]]
    # The point at half a metre is outside in no frame that is known; the images of the test are all alike.
    assert [(problem.case, problem.severity) for problem in problems] == [
        ("t", "error"),
        ("a", "warning"),
    ]


def test_landmark_in_cropped_background_is_an_error(tmp_path):
    case = _case(tmp_path, "a", {**POINTS, "nose": [0.0, 25.0, 0.0]}, pad=8)
    measured = measure_case(case, NAMES)
    assert measured.numbers is None
    assert [(problem.severity, problem.landmark) for problem in measured.problems] == [("error", "nose")]
    assert "constant background" in measured.problems[0].message
    assert "\n" not in measured.problems[0].message


@given(
    start=st.tuples(*[st.integers(0, 6)] * 3),
    length=st.tuples(*[st.integers(1, 6)] * 3),
    where=st.tuples(*[st.floats(0, 1)] * 3),
)
@settings(max_examples=50, deadline=None, derandomize=True)
def test_no_voxel_that_differs_is_cropped_away(start, length, where):
    array = np.full((1, 12, 12, 12), -3.0, dtype=np.float32)
    block = tuple(slice(a, a + n) for a, n in zip(start, length, strict=True))
    array[(0, *block)] = 5
    box = background_box(array)
    for axis in range(3):
        point = start[axis] - 0.5 + where[axis] * length[axis]
        assert box[axis].start - 0.5 <= point <= box[axis].stop - 0.5
        assert box[axis].start >= min(max(0, start[axis] - 2), 12)
    assert (np.delete(array[0], np.r_[box[0]], axis=0) == -3).all()


def test_corners_that_differ_keep_the_whole_image():
    array = np.zeros((1, 8, 8, 8), dtype=np.float32)
    array[0, 0, 0, 0] = 1
    assert background_box(array) == (slice(0, 8),) * 3
    assert background_box(np.zeros((1, 8, 8, 8), dtype=np.float32)) == (slice(0, 8),) * 3


def test_same_box_as_the_bundles_transform():
    from auto_config.bundle_scripts.grid.transforms import background_box as of_the_bundle

    rng = np.random.default_rng(0)
    for _ in range(20):
        array = np.zeros((2, 9, 10, 11), dtype=np.float32)
        low = rng.integers(0, 5, 3)
        array[(rng.integers(0, 2), *(slice(a, a + 3) for a in low))] = 1
        assert background_box(array) == of_the_bundle(array)


def test_outside_may_be_absent(tmp_path):
    case = _case(tmp_path, "a", {**POINTS, "nose": [0.0, 500.0, 0.0]})
    found, problems = fingerprint(_dataset(tmp_path, [case]), outside="absent")
    assert found.absent == [0, 0, 1]
    assert [problem.severity for problem in problems] == ["warning"]


def test_unreadable_case_is_named_and_the_rest_is_measured(tmp_path):
    bad = tmp_path / "bad.nii.gz"
    bad.write_bytes(b"no image")
    cases = [_case(tmp_path, "a"), Case("bad", (bad,), LandmarkSet.from_inline(POINTS, NAMES))]
    found, problems = fingerprint(_dataset(tmp_path, cases))
    assert found.cases == 1
    assert [(problem.case, problem.severity) for problem in problems] == [("bad", "error")]
    with pytest.raises(UserError, match=r"no case of 1 can be used: .*bad\.nii\.gz"):
        fingerprint(_dataset(tmp_path, cases[1:]))


def test_sides_that_are_swapped_everywhere(tmp_path):
    swapped = {"left eye": POINTS["right eye"], "right eye": POINTS["left eye"], "nose": POINTS["nose"]}
    cases = [_case(tmp_path, f"c{n}", swapped) for n in range(3)]
    _, problems = fingerprint(_dataset(tmp_path, cases))
    told = [problem for problem in problems if "same voxels" not in problem.message]  # the images are alike
    assert [(problem.severity, problem.case) for problem in told] == [("warning", None)]
    assert "left eye" in told[0].message


def test_hounsfield_units_are_recognised(tmp_path):
    array = np.full((20, 20, 20), -1000, dtype=np.int16)
    array += np.random.default_rng(0).integers(-20, 20, array.shape, dtype=np.int16)
    array[5:15, 5:15, 5:15] = 60
    path = tmp_path / "ct.nii.gz"
    affine = np.eye(4)
    affine[:3, 3] = -9.5
    nib.save(nib.Nifti1Image(array, affine), path)
    case = Case("ct", (path,), LandmarkSet.from_inline(POINTS, NAMES))
    found, _ = fingerprint(_dataset(tmp_path, [case]))
    assert (found.modality_guess, found.is_integer) == ("ct", True)
    assert found.intensity[0]["mean"] == found.intensity[0]["p00_5"] == 60
    assert found.intensity[0]["air"] == pytest.approx(-1000, abs=3)


def test_processes_give_the_same_as_one(tmp_path):
    dataset = _dataset(tmp_path, [_case(tmp_path, f"c{n}", seed=n) for n in range(8)])
    one, _ = fingerprint(dataset, workers=1)
    two, _ = fingerprint(dataset, workers=2)
    assert one == two
    assert [measured.case.name for measured in measure_cases(dataset, workers=2)] == [f"c{n}" for n in range(8)]


def test_reading_imports_neither_torch_nor_monai():
    code = "import sys, auto_config.fingerprint.measuring; print({'torch', 'monai'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
