"""Cuts of unseen cases: exact labels, images as files would have them, and a presence that complete cases teach."""

import json

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from monai.transforms import Compose, Orientationd
from PIL import Image

from auto_config.bundle_scripts.grid.grids import apply_affine, embed_affine
from auto_config.bundle_scripts.grid.transforms import ResampleGridd
from auto_config.bundle_scripts.images.loader import LoadFilesd
from auto_config.bundle_scripts.inference.calibration import BORDER, EXPECTED, read_calibration
from auto_config.bundle_scripts.inference.extent import Extent, expected_depth
from auto_config.bundle_scripts.points.landmarks import ABSENT, PRESENT, UNKNOWN, LandmarkSet
from auto_config.bundle_scripts.points.shape import ShapeModel
from auto_config.bundle_scripts.training.field_of_view import Cut
from auto_config.bundle_scripts.training.patches import rotation_matrix
from auto_config.calibration.cuts import (
    MOST_CUTS,
    cut_image,
    cut_label,
    cut_name,
    cut_share,
    cuts_of_each,
    seeded_cut,
    with_cuts,
)
from auto_config.calibration.document import calibration_document, peaks_of
from auto_config.calibration.out_of_fold import OutOfFold, read_out_of_fold, write_out_of_fold
from auto_config.calibration.reliability import auroc
from auto_config.errors import UserError

QUIET = settings(derandomize=True, deadline=None, max_examples=40, phases=[Phase.explicit, Phase.generate])
NAMES = [f"p{i}" for i in range(12)]


def oblique(random, dims=3):
    affine = np.eye(dims + 1)
    turn = rotation_matrix(random.uniform(-0.7, 0.7, size=1 if dims == 2 else 3))
    affine[:dims, :dims] = turn @ np.diag(random.uniform(0.4, 2.0, size=dims))
    affine[:dims, -1] = random.uniform(-50, 50, size=dims)
    return affine


@given(st.integers(0, 10**6), st.sampled_from([2, 3]))
@QUIET
def test_seeded_cuts_give_exact_statuses_on_oblique_grids(seed, dims):
    random = np.random.default_rng(seed)
    shape, affine = random.integers(20, 40, size=dims), oblique(random, dims)
    voxels = random.uniform(0, shape - 1, size=(8, dims))
    status = np.array([PRESENT] * 6 + [ABSENT, UNKNOWN])
    label = LandmarkSet(tuple(NAMES[:8]), apply_affine(affine, voxels), status)
    cut = seeded_cut(label, f"case {seed}", 0, shape, affine)
    again = seeded_cut(label, f"case {seed}", 0, shape, affine)
    assert cut.slices == again.slices
    found = cut_label(label, cut, affine)
    inside = ((voxels >= cut.low - 0.5) & (voxels <= cut.high - 0.5)).all(-1)
    np.testing.assert_array_equal(found.status[:6], np.where(inside[:6], PRESENT, ABSENT))
    np.testing.assert_array_equal(found.status[6:], [ABSENT, UNKNOWN])
    assert 1 <= (found.status[:6] == ABSENT).sum() <= 6
    np.testing.assert_array_equal(found.points[inside & (status == PRESENT)], label.points[:6][inside[:6]])


def test_the_cuts_of_a_case_differ_from_each_other_and_from_those_of_other_cases():
    random = np.random.default_rng(0)
    label = LandmarkSet(tuple(NAMES), random.uniform(10, 50, size=(12, 3)), np.full(12, PRESENT))
    boxes = {
        (case, number): seeded_cut(label, case, number, (60, 60, 60), np.eye(4)).slices
        for case in ("a", "b")
        for number in range(3)
    }
    assert len({str(box) for box in boxes.values()}) == 6
    nothing = LandmarkSet(tuple(NAMES), np.full((12, 3), np.nan), np.full(12, UNKNOWN))
    assert seeded_cut(nothing, "a", 0, (60, 60, 60), np.eye(4)) is None


def test_of_many_instances_those_inside_are_left_and_none_is_absent():
    several = np.array([[2.0, 5, 5], [8.0, 5, 5]])
    label = LandmarkSet(("m", "o"), np.array([several[0], [5.0, 5, 5]]), np.ones(2), instances={"m": several})
    kept = cut_label(label, Cut(np.array([4, 0, 0]), np.array([10] * 3), np.array([10] * 3)), np.eye(4))
    np.testing.assert_array_equal(kept.instances["m"], several[1:])
    np.testing.assert_array_equal(kept.points[0], several[1])
    gone = cut_label(label, Cut(np.array([9, 0, 0]), np.array([10] * 3), np.array([10] * 3)), np.eye(4))
    np.testing.assert_array_equal(gone.status, [ABSENT, ABSENT])
    assert "m" not in gone.instances


@pytest.mark.filterwarnings("error:Setting affine")
@pytest.mark.parametrize("dims", [2, 3])
def test_a_cut_in_memory_is_preprocessed_as_the_file_that_ends_there(tmp_path, dims):
    random = np.random.default_rng(dims)
    shape = np.array([18, 16, 14])[:dims]
    cut = Cut(np.array([3, 0, 5])[:dims], np.array([18, 12, 14])[:dims], shape)
    grey = random.integers(1, 200, size=shape).astype(np.uint8)
    if dims == 3:
        affine = oblique(random)
        image = nib.Nifti1Image(grey.astype(np.float32), affine)
        nib.save(image, tmp_path / "whole.nii.gz")
        nib.save(image.slicer[cut.slices], tmp_path / "part.nii.gz")
        paths, spacing = (tmp_path / "whole.nii.gz", tmp_path / "part.nii.gz"), [1.3, 0.9, 1.1]
        first = LoadFilesd("image", 3)
    else:
        Image.fromarray(grey.T).save(tmp_path / "whole.png")
        Image.fromarray(grey[cut.slices].T).save(tmp_path / "part.png")
        paths, spacing = (tmp_path / "whole.png", tmp_path / "part.png"), [0.7, 0.9]
        first = LoadFilesd("image", 2, pixel_spacing=[0.5, 0.6])
    rest = Compose([*([Orientationd("image", axcodes="RAS")] if dims == 3 else []), ResampleGridd("image", spacing)])
    loaded = first({"image": str(paths[0])})["image"]
    ours = rest({"image": cut_image(loaded, cut)})["image"]
    read = first({"image": str(paths[1])})["image"]
    theirs = rest({"image": read})["image"]
    torch.testing.assert_close(ours.as_tensor(), theirs.as_tensor(), rtol=1e-4, atol=1e-3)
    mine, own = (Extent.of(image, dims) for image in (ours, theirs))
    np.testing.assert_array_equal(mine.shape, own.shape)
    if dims == 3:
        np.testing.assert_allclose(embed_affine(ours.affine, 3), embed_affine(theirs.affine, 3), atol=1e-4)
        np.testing.assert_allclose(mine.affine, own.affine, atol=1e-4)
    else:
        # A picture begins at 0 wherever it was cut; ours stays where it was in the whole one.
        moved = embed_affine(ours.affine, 2)[:2, 2] - embed_affine(theirs.affine, 2)[:2, 2]
        np.testing.assert_allclose(moved, [1.5, 0], atol=1e-6)
    # The whole image was not touched.
    assert loaded.shape[1:] == tuple(shape)


def test_depth_in_the_image_is_the_distance_from_its_nearest_border_in_mm():
    extent = Extent(np.diag([2.0, 1.0, 0.5, 1.0]), np.array([10, 10, 10]))
    points = np.array([[0.0, 5, 2.25], [9, 4.5, 2.25], [9, 9.5, 2.25], [9, 4.5, 6], [np.nan] * 3])
    np.testing.assert_allclose(extent.depth(points), [1.0, 2.5, 0.0, -1.25, np.nan])
    assert extent.voxel_mm == 2.0


def shapes_like(random, cases, base):
    return np.stack([base + random.normal(size=base.shape) * 0.4 for _ in range(cases)])


@pytest.mark.parametrize("wrong", [0, 4, 7])
def test_the_others_say_how_deep_a_landmark_lies_whatever_the_wrong_points_say(wrong):
    """A third, and even more than half, of the points may be anywhere; the most confident ones are right."""
    random = np.random.default_rng(wrong)
    base = random.uniform(10, 50, size=(18, 3))
    model = ShapeModel(18, 3)
    model.fit(shapes_like(random, 20, base))
    extent = Extent(np.eye(4), np.array([60, 60, 60]) - 20 * np.array([1, 0, 0]))
    points, confidence = base + random.normal(size=base.shape) * 0.2, np.full(18, 0.9)
    points[:wrong] = random.uniform(0, 40, size=(wrong, 3))
    confidence[:wrong] = 0.1
    found = expected_depth(points, confidence, extent, model, range(18))
    unit = model.deviation(1.0)
    np.testing.assert_allclose(np.sinh(found) * unit, extent.depth(base), atol=1.5)
    silent = expected_depth(points, confidence, extent, None, range(18))
    np.testing.assert_allclose(np.sinh(silent), extent.depth(points))


def predictions(random, model_of, *, cases, cut, fold=0):
    """Predicted points of whole or cut images of one anatomy. Peaks alone tell little of what is outside."""
    base = model_of
    truth = shapes_like(random, cases, base)
    affine, shape = np.tile(np.eye(4), (cases, 1, 1)), np.tile([60, 60, 60], (cases, 1))
    status = np.full(truth.shape[:2], PRESENT)
    if cut:
        shape[:, 0] = random.integers(25, 45, size=cases)
        status = np.where(truth[..., 0] > shape[:, :1] - 0.5, ABSENT, PRESENT)
    there = status == PRESENT
    elsewhere = np.clip(truth + random.normal(size=truth.shape) * 3, 0, shape[:, None] - 1)
    points = np.where(there[..., None], truth + random.normal(size=truth.shape) * 0.2, elsewhere)
    names = tuple(f"case {i}" for i in range(cases))
    return OutOfFold(
        cases=tuple(cut_name(name, 0) for name in names) if cut else names,
        folds=(fold,) * cases,
        points=points,
        confidence=np.clip(np.where(there, 0.8, 0.65) + random.normal(size=status.shape) * 0.1, 0.01, 0.99),
        covariance=np.tile(np.eye(3) / 3, (*status.shape, 1, 1)),
        disagreement=np.full(status.shape, np.nan),
        mirror_disagreement=np.full(status.shape, np.nan),
        shape_distance=np.full(status.shape, np.nan),
        replaced=np.zeros(status.shape),
        truth=np.where(there[..., None], truth, np.nan),
        density=np.where(there, 0.01, np.nan),
        status=status,
        affine=affine,
        shape=shape,
    )


@pytest.fixture(scope="module")
def simulated():
    random = np.random.default_rng(4)
    base = random.uniform(10, 50, size=(12, 3))
    whole = predictions(random, base, cases=15, cut=False)
    cuts = predictions(random, base, cases=15, cut=True)
    fresh = predictions(random, base, cases=40, cut=True)
    return whole, cuts, fresh, shapes_like(random, 20, base)


def test_complete_cases_decide_presence_through_their_cuts(simulated, tmp_path):
    whole, cuts, fresh, shapes = simulated
    assert calibration_document(whole, NAMES, shapes)["presence"] is None
    document = calibration_document(whole, NAMES, shapes, cuts=cuts, fold_shapes={0: shapes[:10]})
    presence = document["presence"]
    assert presence["features"] == ["peak", "spread", BORDER, EXPECTED]
    assert presence["cuts"] == {"images": 15, "absent": int((cuts.status == ABSENT).sum())}
    assert presence["judged_by_others"]
    assert any("absent examples are cuts" in note and "15 seeded fields" in note for note in document["notes"])
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps(document, allow_nan=False))
    calibration = read_calibration(path, NAMES)
    assert calibration.needs_extent
    said = np.stack(
        [calibration.probability(peaks_of(fresh, i), extent=extent) for i, extent in enumerate(fresh.extents)]
    )
    truth = fresh.status == PRESENT
    assert auroc(said.ravel(), truth.ravel()) > 0.98
    assert auroc(fresh.confidence.ravel(), truth.ravel()) < 0.9
    decided = np.stack([calibration.present(one) for one in said])
    assert decided[truth].mean() > 0.95
    assert decided[~truth].mean() < 0.1


def test_cuts_leave_regions_and_the_number_of_cases_alone(simulated):
    whole, cuts, _, shapes = simulated
    with_them, without = (calibration_document(whole, NAMES, shapes, cuts=one) for one in (cuts, None))
    for key in ("regions", "cases", "folds", "shape"):
        assert with_them[key] == without[key]


def test_labelled_absent_landmarks_count_beside_cuts(simulated):
    whole, cuts, _, shapes = simulated
    status = whole.status.copy()
    status[:4, 0] = ABSENT
    document = calibration_document(OutOfFold(**{**vars(whole), "status": status}), NAMES, shapes, cuts=cuts)
    assert document["presence"]["absent"] == 4 + document["presence"]["cuts"]["absent"]
    assert any("and 4 are of the labels" in note for note in document["notes"])


def test_a_case_and_its_cuts_are_judged_together(simulated):
    whole, cuts, _, _ = simulated
    both = with_cuts(whole, cuts)
    np.testing.assert_array_equal(both.units[:15], both.units[15:])
    assert len(set(both.units)) == 15
    grouped = OutOfFold(**{**vars(whole), "groups": ("x",) * 2 + (None,) * 13})
    of_cuts = OutOfFold(**{**vars(cuts), "groups": ("x",) * 2 + (None,) * 13})
    assert len(set(with_cuts(grouped, of_cuts).units)) == 14
    assert with_cuts(whole, None) is whole


def test_frames_are_kept_in_the_file_and_files_without_them_are_read(simulated, tmp_path):
    _, cuts, _, _ = simulated
    path = tmp_path / "cut_out_of_fold.json"
    write_out_of_fold(path, cuts, NAMES, "weights")
    again = read_out_of_fold(path, NAMES, "weights")
    np.testing.assert_array_equal(again.shape, cuts.shape)
    np.testing.assert_array_equal(again.affine, cuts.affine)
    document = json.loads(path.read_text())
    for row in document["cases"].values():
        del row["affine"], row["shape"]
    path.write_text(json.dumps(document))
    assert set(read_out_of_fold(path, NAMES, "weights").extents) == {None}


def test_cuts_are_few_for_any_number_of_cases():
    assert [cuts_of_each(cases) for cases in (1, 7, 20, 34, 60, 500)] == [3, 3, 3, 1, 1, 1]
    assert all(cuts_of_each(cases) * cases <= MOST_CUTS for cases in range(1, MOST_CUTS))


@pytest.mark.parametrize(("text", "share"), [("{}", 0.0), ('{"cut_share": 0.2}', 0.2), ('{"cut_share": null}', 0.0)])
def test_a_bundle_says_whether_it_was_trained_on_cuts(tmp_path, text, share):
    (tmp_path / "configs").mkdir()
    assert cut_share(tmp_path) == 0.0
    (tmp_path / "configs/train.json").write_text(text)
    assert cut_share(tmp_path) == share


def test_a_share_that_is_no_number_is_refused_in_one_line(tmp_path):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/train.json").write_text('{"cut_share": "some"}')
    with pytest.raises(UserError, match=r"'cut_share' cannot be read .*number from 0 to 0.9"):
        cut_share(tmp_path)
