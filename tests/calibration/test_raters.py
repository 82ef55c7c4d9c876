"""Regions that hold the point of any one rater: weights of a case, covariance of the raters, and what is refused."""

import json
import math
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auto_config.bundle_scripts.inference.calibration import read_calibration
from auto_config.bundle_scripts.points.instances import Instances
from auto_config.bundle_scripts.points.landmark_files import write_markups
from auto_config.bundle_scripts.points.landmarks import LandmarkSet
from auto_config.calibration.conformal import LEVELS, conformal_quantile, quantiles
from auto_config.calibration.document import calibration_document, region_section
from auto_config.calibration.out_of_fold import OutOfFold
from auto_config.calibration.raters.points import rater_points
from auto_config.calibration.raters.reading import points_of_raters, read_raters
from auto_config.errors import UserError

NAMES = ["jaw", "chin"]
SINGLE = Instances.single(NAMES)
SPREAD = np.array([[4.0, 1.5, 0.0], [1.5, 1.0, 0.0], [0.0, 0.0, 0.25]])
"""How raters differ at the jaw, mm²; at the chin by a tenth."""


def predicted(truth, random, error=0.5):
    """Predictions of cases (N, 2, 3) that are off by a normal error of so many mm on each axis."""
    shape = truth.shape[:2]
    known = np.isfinite(truth).all(-1)
    return OutOfFold(
        cases=tuple(f"case{row}" for row in range(len(truth))),
        folds=(0,) * len(truth),
        points=np.nan_to_num(truth) + random.normal(0, error, truth.shape),
        confidence=np.full(shape, 0.9),
        covariance=np.broadcast_to(np.eye(3) * error**2, (*shape, 3, 3)),
        disagreement=np.full(shape, np.nan),
        mirror_disagreement=np.full(shape, np.nan),
        shape_distance=np.full(shape, np.nan),
        replaced=np.zeros(shape),
        truth=truth,
        density=np.full(shape, 0.05),
        status=np.where(known, 1, -1),
    )


def people(random, cases, raters):
    """True places (N, 2, 3), and what raters set there (K, N, 2, 3)."""
    middle = random.normal(0, 20, (cases, 2, 3))
    offsets = np.stack(
        [random.multivariate_normal(np.zeros(3), SPREAD / (1, 10)[one], (raters, cases)) for one in range(2)], axis=2
    )
    return middle, middle + offsets


def sets(points):
    """(K, N, L, D) as the raters of each case."""
    return [
        {f"r{number}": LandmarkSet(tuple(NAMES), one, np.ones(2, dtype=np.int8)) for number, one in enumerate(case)}
        for case in np.swapaxes(points, 0, 1)
    ]


@given(st.lists(st.floats(0, 9), min_size=1, max_size=40), st.sampled_from(LEVELS), st.integers(1, 4))
def test_raters_who_agree_give_the_region_of_one_rater(scores, level, raters):
    one = np.array(scores)
    several = np.repeat(one, raters)
    assert conformal_quantile(several, level, np.full(several.size, 1 / raters)) == conformal_quantile(one, level)


def test_raters_of_a_case_share_its_weight():
    # Three cases: the first has one rater, the second two, the third four.
    scores = np.array([1.0, 2.0, 6.0, 3.0, 4.0, 5.0, 7.0])
    weights = np.array([1, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25])
    # Sums of weights in the order of the scores: 1, 1.5, 1.75, 2, 2.25, 2.75, 3; a level needs level * 4 of it.
    found = [conformal_quantile(scores, level, weights) for level in (0.25, 0.375, 0.4, 0.5, 0.6, 0.75, 0.76)]
    assert found == [1.0, 2.0, 3.0, 4.0, 6.0, 7.0, math.inf]
    with pytest.raises(ValueError, match="between 0 and 1"):
        conformal_quantile(scores, 1.5, weights)


def test_the_covariance_is_that_of_the_raters_about_their_middle():
    random = np.random.default_rng(0)
    middle, points = people(random, 4000, 3)
    found = rater_points(sets(points), predicted(middle, random), SINGLE)
    assert found.covariance[0] == pytest.approx(SPREAD, abs=0.15)
    assert found.covariance[1] == pytest.approx(SPREAD / 10, abs=0.02)
    turned = rater_points(sets(points), predicted(middle, random), SINGLE, any_pose=True)
    assert turned.covariance[0] == pytest.approx(np.eye(3) * SPREAD.trace() / 3, abs=0.1)


@pytest.mark.parametrize("dims", [2, 3])
def test_two_raters_and_one_who_did_not_set_a_point_against_the_closed_form(dims):
    truth = np.zeros((2, 2, dims))
    points = np.zeros((3, 2, 2, dims))
    points[0, 0, 0, 0], points[1, 0, 0, 0] = 1.0, -1.0  # their middle is 0, the variance of two is 2
    points[2, 0, 0] = np.nan
    points[:, 1, 0, 1] = (0.0, 3.0, 6.0)  # variance 9
    points[1:, :, 1] = np.nan  # the chin has one rater
    known = np.isfinite(points).all(-1)
    raters = [
        {
            f"r{k}": LandmarkSet(tuple(NAMES), points[k, row], np.where(known[k, row], 1, -1).astype(np.int8))
            for k in range(3)
        }
        for row in range(2)
    ]
    base = predicted(np.zeros((2, 2, 3)), np.random.default_rng(0))
    base = replace(base, points=truth, truth=truth, covariance=np.broadcast_to(np.eye(dims), (2, 2, dims, dims)))
    found = rater_points(raters, base, SINGLE)
    # One degree of freedom of the first case, two of the second.
    expected = np.zeros((dims, dims))
    expected[0, 0], expected[1, 1] = 2 / 3, 18 / 3
    assert found.covariance[0] == pytest.approx(expected)
    assert found.covariance[1] == pytest.approx(np.zeros((dims, dims)))
    assert found.weights[:, 0, 0].tolist() == [0.5, 0.5, 0.0]
    assert found.weights[:, 1, 0] == pytest.approx([1 / 3] * 3)
    assert found.weights[:, 0, 1].tolist() == [1.0, 0.0, 0.0]


@pytest.mark.parametrize("level", [0.9])
def test_regions_hold_a_new_rater_of_a_new_case_as_often_as_promised(level):
    random = np.random.default_rng(3)
    place, inside = LEVELS.index(level), {"ball_mm": [], "ellipsoid": []}
    for _ in range(60):
        middle, points = people(random, 60, 2)
        # The network never saw the raters of these cases: it is off from the place itself, not from their mean.
        found = replace(predicted(middle, random), truth=points.mean(0))
        raters = rater_points(sets(points), found, SINGLE)
        regions = region_section(found, SINGLE, pooled=False, raters=raters)
        new_middle, new = people(random, 50, 1)
        offset = new[0] - (new_middle + random.normal(0, 0.5, new_middle.shape))
        inside["ball_mm"].append(np.linalg.norm(offset, axis=-1) <= regions["ball_mm"][place])
        spread = np.eye(3) * 0.25 + raters.covariance
        squared = np.einsum("nli,lij,nlj->nl", offset, np.linalg.inv(spread), offset)
        inside["ellipsoid"].append(np.sqrt(squared) <= regions["ellipsoid"][place])
    for kind, held in inside.items():
        assert np.mean(held) == pytest.approx(level, abs=0.02), kind


def test_ellipsoids_take_the_direction_in_which_raters_differ(tmp_path):
    random = np.random.default_rng(4)
    _, points = people(random, 60, 3)
    found = predicted(points.mean(0), random)
    document = calibration_document(found, NAMES, points.mean(0), raters=rater_points(sets(points), found, SINGLE))
    assert any("any one of the raters ('r0', 'r1', 'r2'; 60 of 60" in note for note in document["notes"])
    assert document["regions"]["levelset"] == [[None] * 2] * len(LEVELS)
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps(document, allow_nan=False))
    read = read_calibration(path, NAMES).rater_covariance
    _, vectors = np.linalg.eigh(read[0])
    truth = np.linalg.eigh(SPREAD)[1][:, -1]
    assert np.degrees(np.arccos(abs(vectors[:, -1] @ truth))) < 8
    document["regions"]["rater_covariance_mm2"][0][0][0] = -4.0
    path.write_text(json.dumps(document))
    with pytest.raises(ValueError, match="no covariance"):
        read_calibration(path, NAMES)
    document["regions"]["rater_covariance_mm2"] = [[1.0]]
    path.write_text(json.dumps(document))
    with pytest.raises(ValueError, match="no matrix for each landmark"):
        read_calibration(path, NAMES)


def test_without_raters_nothing_changes():
    random = np.random.default_rng(5)
    middle, _ = people(random, 30, 1)
    found = predicted(middle, random)
    plain = region_section(found, SINGLE, pooled=False)
    assert "rater_covariance_mm2" not in plain
    errors = np.linalg.norm(found.points - found.truth, axis=-1)
    assert plain["ball_mm"] == [[None if np.isinf(x) else x for x in row] for row in quantiles(errors).tolist()]


def write_source(folder, points, raters=2):
    """A folder of Markups with images of 60^3 voxels and the points of raters."""
    for part in ("images", "landmarks"):
        (folder / part).mkdir(parents=True)
    for row, middle in enumerate(points):
        image = np.random.default_rng(row).normal(100, 9, (60, 60, 60)).astype(np.float32)
        nib.save(nib.Nifti1Image(image, np.eye(4)), folder / "images" / f"case{row}.nii.gz")
        there = np.ones(2, dtype=np.int8)
        write_markups(folder / "landmarks" / f"case{row}.mrk.json", LandmarkSet(tuple(NAMES), middle, there))
        for number in range(raters):
            own = folder / "raters" / f"r{number}"
            own.mkdir(parents=True, exist_ok=True)
            moved = middle + (number - (raters - 1) / 2)
            write_markups(own / f"case{row}.mrk.json", LandmarkSet(tuple(NAMES), moved, there))
    return folder


@pytest.fixture
def points():
    return np.random.default_rng(6).uniform(15, 45, (3, 2, 3))


@pytest.fixture
def bundle(tmp_path):
    """What reading raters asks of a bundle."""
    (tmp_path / "bundle" / "configs").mkdir(parents=True)
    table = {"spatial_dims": 3, "unit": "mm", "landmarks": [{"name": name} for name in NAMES]}
    (tmp_path / "bundle" / "configs" / "landmarks.json").write_text(json.dumps(table))
    (tmp_path / "bundle" / "configs" / "inference.json").write_text("{}")
    return tmp_path / "bundle"


@pytest.mark.parametrize("pose", [None, "upright", "free"])
def test_raters_are_read_from_the_data_set(tmp_path, points, bundle, pose):
    if pose is not None:
        plan = {"decisions": {"pose": {"value": {"kind": pose}}}}
        (bundle / "configs" / "plan.json").write_text(json.dumps(plan))
    found = predicted(points, np.random.default_rng(0))
    two = write_source(tmp_path / "two", points)
    cases = read_raters(bundle, two)
    assert {name: sorted(case.raters) for name, case in cases.items()} == {
        f"case{row}": ["r0", "r1"] for row in range(3)
    }
    read = points_of_raters(bundle, two, cases, found)
    assert read.points[0] == pytest.approx(points - 0.5, abs=1e-4)
    # They differ by (1, 1, 1): a direction in the world, of which anatomy at any rotation knows none.
    expected = np.eye(3) / 2 if pose == "free" else np.full((3, 3), 0.5)
    assert read.covariance[0] == pytest.approx(expected, abs=1e-4)


def test_data_without_several_raters_is_refused_before_anything_is_predicted(tmp_path, points, bundle):
    with pytest.raises(UserError, match="no case with 2 raters or more"):
        read_raters(bundle, write_source(tmp_path / "one", points, raters=1))


def test_a_bundle_whose_own_scripts_know_no_raters_is_refused(tmp_path, points, bundle):
    script = bundle / "scripts" / "inference" / "calibration.py"
    script.parent.mkdir(parents=True)
    script.write_text("# of an earlier version\n")
    with pytest.raises(UserError, match="scripts are of an earlier version"):
        read_raters(bundle, write_source(tmp_path / "two", points))


def test_raters_of_other_cases_are_refused(tmp_path, points, bundle):
    found = predicted(points, np.random.default_rng(0))
    two = write_source(tmp_path / "two", points)
    cases = read_raters(bundle, two)
    with pytest.raises(UserError, match="2 raters for none of the 3 unseen cases \\('x', 'y', 'z'\\)"):
        points_of_raters(bundle, two, cases, replace(found, cases=("x", "y", "z")))
    with pytest.raises(UserError, match="case 'case0' has other points"):
        points_of_raters(bundle, two, cases, replace(found, truth=points + 1.0))
