"""MML, PDDCA and fetal pose: voxels, spacings and headers that are not to be trusted."""

import benchmark_layouts as layouts
import nibabel as nib
import numpy as np
import pytest

from auto_config.bundle_scripts.points.landmarks import ABSENT, PRESENT, UNKNOWN
from auto_config.errors import UserError
from auto_config.public_datasets import fetal_pose, mml, pddca
from auto_config.public_datasets.shared.images import volume_array

# MML


def test_mml_takes_the_spacing_of_its_own_file_and_the_axes_of_the_header(tmp_path):
    direction = [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]]
    rows = layouts.mml_rows()
    array = layouts.mml_case(
        tmp_path, "train", "0001", rows, header_spacing=(2.0, 2.0, 2.0), origin=(5.0, 6.0, 7.0), direction=direction
    )
    (case,) = mml.read(tmp_path).cases
    affine = case.image.affine
    np.testing.assert_allclose(np.linalg.norm(affine[:3, :3], axis=0), (0.4, 0.5, 0.6))
    np.testing.assert_allclose(affine[:3, 3], (-5.0, -6.0, 7.0))  # LPS to RAS
    np.testing.assert_allclose(affine[:3, 0], (0.0, -0.4, 0.0), atol=1e-12)
    # Whatever the header says, a landmark stays on the voxel that its row names.
    voxels = layouts.to_world(np.linalg.inv(affine), case.landmarks.points)
    np.testing.assert_allclose(voxels, rows, atol=1e-6)
    np.testing.assert_array_equal(volume_array(case.image.path), array)
    i, j, k = rows[3].astype(int)
    assert volume_array(case.image.path)[i, j, k] == array[i, j, k]


@pytest.mark.parametrize(
    "mark", [[-1000.0] * 3, [-500.0, 20.0, 10.0], [np.nan] * 3, [0.0] * 3, [-1.0] * 3, [np.nan, 3, 4]]
)
def test_mml_marks_absent_landmarks_in_many_ways(tmp_path, mark):
    rows = layouts.mml_rows()
    rows[4] = mark
    layouts.mml_case(tmp_path, "train", "0001", rows)
    landmarks = mml.read(tmp_path).cases[0].landmarks
    assert landmarks.status[4] == ABSENT
    assert (np.delete(landmarks.status, 4) == PRESENT).all()


def test_mml_a_landmark_in_the_first_slice_is_there(tmp_path):
    rows = layouts.mml_rows()
    rows[0] = (0, 5, 6)
    layouts.mml_case(tmp_path, "train", "0001", rows)
    assert mml.read(tmp_path).cases[0].landmarks.present.all()


def test_mml_split_complete_subset_and_equal_ids(tmp_path):
    incomplete = layouts.mml_rows()
    incomplete[2] = -1000
    layouts.mml_case(tmp_path / "mmld_dataset", "train", "0001", layouts.mml_rows())
    layouts.mml_case(tmp_path / "mmld_dataset", "train", "0002", incomplete)
    layouts.mml_case(tmp_path / "mmld_dataset", "val", "0003", layouts.mml_rows())
    layouts.mml_case(tmp_path / "mmld_dataset", "test", "0001", layouts.mml_rows())
    sections = {case.name: case.section for case in mml.read(tmp_path).cases}
    assert sections == {"train_0001": "training", "0002": "training", "0003": "validation", "test_0001": "test"}
    complete = mml.read(tmp_path, complete=True)
    assert [case.name for case in complete.cases] == ["0003", "test_0001", "train_0001"]
    assert "left out are 1 case with absent landmarks" in complete.properties.notes[-1]
    assert complete.properties.pairs is None


def test_mml_missing_and_wrong_files(tmp_path):
    for number in ("1", "2", "3", "4"):
        layouts.mml_case(tmp_path, "train", number, layouts.mml_rows())
    (tmp_path / "train" / "1_spacing.npy").unlink()
    (tmp_path / "train" / "2_volume.nrrd").unlink()
    np.save(tmp_path / "train" / "3_label.npy", np.zeros((13, 3)))
    np.save(tmp_path / "train" / "4_label.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    reading = mml.read(tmp_path)
    assert not reading.cases
    assert [one.path.name for one in reading.missing] == ["1_spacing.npy", "2_volume.nrrd"]
    assert "expected (14, 3)" in reading.problems[0].message
    assert "cannot be read as numbers" in reading.problems[1].message
    with pytest.raises(UserError, match="holds no MML"):
        mml.read(tmp_path / "train" / "nothing")


# PDDCA

POINTS = {
    "chin": (1.0, 60.0, 40.0),
    "mand_l": (-3.0, 20.0, 41.0),
    "mand_r": (8.0, 21.0, 42.0),
    "odont_proc": (2.0, 10.0, 45.0),
    "occip_bone": (2.0, -5.0, 50.0),
}


def test_pddca_points_and_image_each_have_their_own_system(tmp_path):
    layouts.pddca_case(tmp_path / "PDDCA-1.4.1_part1", "0522c0001", POINTS)
    lps = {label: np.array(point) * (-1, -1, 1) for label, point in POINTS.items()}
    layouts.pddca_case(tmp_path / "PDDCA-1.4.1_part2", "0522c0014", lps, system="LPS")
    reading = pddca.read(tmp_path)
    assert [(case.name, case.section) for case in reading.cases] == [("0522c0001", "training"), ("0522c0014", "test")]
    for case in reading.cases:
        assert case.image.path.name == "img.nrrd"
        assert case.landmarks.names == tuple(POINTS)
        np.testing.assert_allclose(case.landmarks.points, list(POINTS.values()))
    assert len(pddca.TEST) == 7
    assert reading.properties.pairs == (("mand_l", "mand_r"),)


def test_pddca_one_file_for_each_landmark_ijk_and_what_is_lacking(tmp_path):
    layouts.pddca_case(tmp_path, "0522c0002", {"chin": POINTS["chin"], "nose": (0.0, 0.0, 0.0)})
    # Voxel (2, 3, 4) of spacing 1.5, 1.5, 2 and origin -20, -30, 40 in LPS.
    layouts.fcsv(tmp_path / "0522c0002" / "mand_l.fcsv", [(2.0, 3.0, 4.0, "F-1", "")], system="2")
    layouts.nrrd(tmp_path / "0522c0003" / "img.nrrd")
    reading = pddca.read(tmp_path)
    (case,) = reading.cases
    assert list(case.landmarks.status) == [PRESENT, PRESENT, UNKNOWN, UNKNOWN, UNKNOWN]
    np.testing.assert_allclose(case.landmarks.points[1], (17.0, 25.5, 48.0))
    assert "label 'nose' is left out" in reading.problems[0].message
    assert reading.problems[0].severity == "warning"
    assert any("1 patients have no landmarks" in note for note in reading.properties.notes)
    layouts.fcsv(tmp_path / "0522c0002" / "again.fcsv", [(2.0, 3.0, 4.0, "chin", "")])
    assert "'chin' occurs more than once" in pddca.read(tmp_path).problems[0].message


def test_pddca_without_an_image_and_another_folder(tmp_path):
    layouts.pddca_case(tmp_path, "0522c0001", POINTS)
    (tmp_path / "0522c0001" / "img.nrrd").unlink()
    (missing,) = pddca.read(tmp_path).missing
    assert missing.path.name == "img.nrrd"
    assert "all parts" in missing.reason
    with pytest.raises(UserError, match="holds no PDDCA"):
        pddca.read(tmp_path / "0522c0001" / "structures")


# Fetal pose


def test_fetal_pose_takes_the_spacing_of_the_annotation(tmp_path):
    landmarks = {"head top": [3, 4, 5], "left knee": [6.5, 7, 8]}
    layouts.fetal_pose_case(tmp_path, "a1", 0.5, landmarks)
    layouts.fetal_pose_case(tmp_path, "a2", [0.5, 0.6, 0.7], landmarks)
    layouts.fetal_pose_case(tmp_path, "a10", [0.5], {**landmarks, "left knee": None})
    reading = fetal_pose.read(tmp_path)
    assert [case.name for case in reading.cases] == ["a1", "a2", "a10"]
    assert {case.section for case in reading.cases} == {"training"}
    np.testing.assert_allclose(reading.cases[0].landmarks.points[1], (3.25, 3.5, 4.0))
    np.testing.assert_allclose(reading.cases[1].landmarks.points[0], (1.5, 2.4, 3.5))
    np.testing.assert_allclose(reading.cases[1].image.affine, np.diag([0.5, 0.6, 0.7, 1.0]))
    assert list(reading.cases[2].landmarks.status) == [PRESENT, UNKNOWN]
    assert any("No list of cases" in note for note in reading.properties.notes)


def test_fetal_pose_header_without_position_or_with_a_turn(tmp_path):
    layouts.fetal_pose_case(tmp_path, "a", 0.5, {"x": [3, 4, 5]})
    path = tmp_path / "volumes" / "a.nii.gz"
    image = nib.load(path)
    header = image.header.copy()
    header["pixdim"][1:4] = 0.0
    bare = nib.Nifti1Image(np.asanyarray(image.dataobj), None, header)
    bare.header["qform_code"] = bare.header["sform_code"] = 0
    nib.save(bare, path)
    (case,) = fetal_pose.read(tmp_path).cases
    back = layouts.to_world(np.linalg.inv(case.image.affine), case.landmarks.points)
    np.testing.assert_allclose(back, [[3, 4, 5]], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(case.image.affine[:3, :3], axis=0), 0.5)
    layouts.nifti(path, layouts.odd_affine())
    (case,) = fetal_pose.read(tmp_path).cases
    np.testing.assert_allclose(case.image.affine[:3, 0], (0.0, 0.5, 0.0), atol=1e-6)
    np.testing.assert_allclose(case.image.affine[:3, 3], layouts.odd_affine()[:3, 3])


@pytest.mark.parametrize(
    ("spacing", "landmarks", "message"),
    [
        (None, {"x": [1, 2, 3]}, "'spacing'"),
        (0.0, {"x": [1, 2, 3]}, "not three positive numbers"),
        ([0.5, 0.5], {"x": [1, 2, 3]}, "'spacing'"),
        (0.5, {"x": [1, 2]}, "'x'"),
        (0.5, [1], "'landmarks'"),
    ],
)
def test_fetal_pose_wrong_annotations(tmp_path, spacing, landmarks, message):
    layouts.fetal_pose_case(tmp_path, "a", spacing, landmarks)
    reading = fetal_pose.read(tmp_path)
    assert not reading.cases
    assert message in reading.problems[0].message
    assert reading.problems[0].severity == "error"
