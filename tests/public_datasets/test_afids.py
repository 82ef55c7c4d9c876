"""AFIDs in BIDS as downloaded: coordinate systems, numbers, templates."""

import benchmark_layouts as layouts
import numpy as np
import pytest

from auto_config.bundle_scripts.points.landmarks import UNKNOWN
from auto_config.errors import UserError
from auto_config.public_datasets import afids


@pytest.mark.parametrize(
    ("system", "files"),
    [("0", "RAS"), ("RAS", "RAS"), ("1", "LPS"), ("LPS", "LPS"), ("2", "IJK"), ("IJK", "IJK")],
)
def test_the_header_says_the_coordinate_system(tmp_path, system, files):
    truth = layouts.afids_subject(tmp_path / "AFIDs-OASIS", "sub-0101", system=system, files=files)
    (case,) = afids.read(tmp_path).cases
    np.testing.assert_allclose(case.landmarks.points, truth, atol=1e-9)
    # The origin of the image is odd, but the points lie in it.
    voxels = layouts.to_world(np.linalg.inv(layouts.odd_affine()), case.landmarks.points)
    assert (voxels > 0).all()
    assert (voxels < np.array(layouts.SHAPE) - 1).all()


def test_a_fiducial_is_known_by_its_number_not_by_its_place_or_description(tmp_path):
    truth = layouts.afids_points()
    layouts.afids_subject(tmp_path, "sub-C001", raters={}, truth=truth)
    path = tmp_path / "derivatives/afids_groundtruth/sub-C001/anat/sub-C001_space-T1w_desc-groundtruth_afids.fcsv"
    layouts.afids_file(path, truth, order=[31, 5, *range(5), *range(6, 30)])  # number 31 is not in the file
    (case,) = afids.read(tmp_path).cases
    assert case.landmarks.names == afids.NAMES
    assert case.landmarks.status[30] == UNKNOWN
    known = np.delete(np.arange(32), 30)
    np.testing.assert_allclose(case.landmarks.points[known], truth[known], atol=1e-9)


def test_names_pairs_and_the_published_split(tmp_path):
    for one, subject in (("AFIDs-HCP", "sub-123925"), ("AFIDs-HCP", "sub-100307"), ("SNSX", "sub-C005")):
        layouts.afids_subject(tmp_path / "data" / "datasets" / one, subject)
    reading = afids.read(tmp_path)
    assert {case.name: case.section for case in reading.cases} == {
        "sub-100307": "training",
        "sub-123925": "test",
        "sub-C005": "test",
    }
    assert len(afids.TEST) == 22
    assert len(reading.properties.pairs) == 11
    assert ("R MB", "L MB") in reading.properties.pairs
    assert {name for pair in reading.properties.pairs for name in pair} <= set(afids.NAMES)
    assert len(set(afids.NAMES)) == 32
    assert set(reading.properties.descriptions) == set(afids.NAMES)
    assert reading.properties.descriptions["R MB"] == "right mammillary body"


def test_raters_of_another_frame_are_left_out_with_a_warning(tmp_path):
    points = layouts.afids_points()
    rng = np.random.default_rng(1)
    good = {f"rater0{n}": points + rng.normal(0, 0.7, points.shape) for n in (1, 2, 3)}
    # 2, 12 and 28 mm apart, as in five OASIS subjects.
    moved = {f"rater0{n}": good[f"rater0{n - 3}"] + (shift, 0, 0) for n, shift in ((4, 2.0), (5, 12.0), (6, 28.0))}
    truth = np.mean(list(good.values()), axis=0)
    layouts.afids_subject(tmp_path, "sub-0239", raters={**good, **moved}, truth=truth)
    reading = afids.read(tmp_path)
    (case,) = reading.cases
    np.testing.assert_allclose(case.landmarks.points, truth, atol=1e-9)
    assert list(case.raters) == ["rater01", "rater02", "rater03"]
    np.testing.assert_allclose(case.raters["rater02"].points, good["rater02"], atol=1e-9)
    assert [problem.severity for problem in reading.problems] == ["warning"] * 3
    assert "rater06" in reading.problems[2].message
    assert "28." in reading.problems[2].message
    assert "sub-0239" in reading.problems[0].message


def test_where_the_truth_is_no_mean_only_far_raters_are_left_out(tmp_path):
    points = layouts.afids_points()
    raters = {"rater01": points + 1.0, "rater02": points + (0, 0, 9.0)}
    layouts.afids_subject(tmp_path, "sub-X", raters=raters, truth=points)
    assert list(afids.read(tmp_path).cases[0].raters) == ["rater01"]


def test_what_is_wrong_in_a_file_is_said(tmp_path):
    layouts.afids_subject(tmp_path, "sub-1")
    layouts.afids_subject(tmp_path, "sub-2")
    path = next(tmp_path.glob("derivatives/afids_groundtruth/sub-2/anat/*.fcsv"))
    layouts.afids_file(path, layouts.afids_points(), order=[0, 1, 1])
    reading = afids.read(tmp_path)
    assert [case.name for case in reading.cases] == ["sub-1"]
    (problem,) = reading.problems
    assert problem.severity == "error"
    assert "fiducial 2 occurs more than once" in problem.message
    layouts.fcsv(path, [(0.0, 0.0, 0.0, 33, "new")])
    assert "label '33'" in afids.read(tmp_path).problems[0].message


def test_an_image_that_is_not_downloaded_is_missing_and_another_folder_is_refused(tmp_path):
    layouts.afids_subject(tmp_path / "set", "sub-1")
    layouts.annex_link(tmp_path / "set/sub-1/anat/sub-1_T1w.nii.gz")
    reading = afids.read(tmp_path / "set")
    assert not reading.cases
    (missing,) = reading.missing
    assert "datalad get" in missing.reason
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no AFIDs"):
        afids.read(tmp_path / "empty")
