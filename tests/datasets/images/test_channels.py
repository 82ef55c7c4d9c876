"""Images whose channels are files: found by their number, and on one grid."""

import nibabel as nib
import numpy as np
import pytest

from auto_config.bundle_scripts.images.files import images_by_case
from auto_config.bundle_scripts.points.landmark_files import write_markups
from auto_config.bundle_scripts.points.landmarks import LandmarkSet
from auto_config.datasets import read_dataset
from auto_config.datasets.images import read_header, read_image
from auto_config.errors import UserError
from auto_config.prediction.input import find_images

VOXELS = np.random.default_rng(0).normal(size=(5, 6, 7)).astype(np.float32)
POINTS = LandmarkSet.from_inline({"a": [1, 2, 3], "b": [2, 3, 4]})


@pytest.fixture
def cases(tmp_path):
    """Two cases of two channels, ``images/CASE_0000.nii.gz`` and ``_0001``."""
    for name in ("images", "landmarks"):
        (tmp_path / name).mkdir()
    for case in ("anna", "ben"):
        for channel in range(2):
            image = nib.Nifti1Image(VOXELS + channel, np.eye(4))
            nib.save(image, tmp_path / "images" / f"{case}_{channel:04d}.nii.gz")
        write_markups(tmp_path / "landmarks" / f"{case}.mrk.json", POINTS)
    return tmp_path


def test_a_data_set_joins_the_channels_of_a_case(cases):
    dataset, problems = read_dataset(cases)
    assert not problems
    assert [case.name for case in dataset.cases] == ["anna", "ben"]
    expected = tuple(cases / "images" / f"anna_{channel:04d}.nii.gz" for channel in range(2))
    assert dataset.cases[0].image == expected
    np.testing.assert_array_equal(read_image(expected).array, np.stack([VOXELS, VOXELS + 1]))
    assert read_header(expected).channels == 2


def test_a_lacking_channel_is_an_error(cases):
    (cases / "images/ben_0000.nii.gz").unlink()
    dataset, problems = read_dataset(cases)
    assert [case.name for case in dataset.cases] == ["anna"]
    assert [problem.severity for problem in problems] == ["error"]
    assert "case 'ben' has no channel _0000, but _0001" in problems[0].message


def test_names_that_end_in_a_number_stay_where_landmarks_have_them_too(cases):
    for case in ("anna", "ben"):
        (cases / "landmarks" / f"{case}.mrk.json").rename(cases / "landmarks" / f"{case}_0000.mrk.json")
        (cases / "images" / f"{case}_0001.nii.gz").unlink()
    dataset, problems = read_dataset(cases)
    assert not problems
    assert [case.name for case in dataset.cases] == ["anna_0000", "ben_0000"]


def test_images_alone_are_joined_where_all_are_named_so(cases):
    for path in (cases / "landmarks").iterdir():
        path.unlink()
    dataset, _ = read_dataset(cases, landmarks=["a"])
    assert [(case.name, len(case.image)) for case in dataset.cases] == [("anna", 2), ("ben", 2)]
    nib.save(nib.Nifti1Image(VOXELS, np.eye(4)), cases / "images/carl.nii.gz")
    dataset, _ = read_dataset(cases, landmarks=["a"])
    assert len(dataset.cases) == 5


def test_what_is_predicted_is_joined_by_the_channels_of_the_bundle(cases):
    both = {
        case: tuple(cases / "images" / f"{case}_000{channel}.nii.gz" for channel in (0, 1)) for case in ("anna", "ben")
    }
    assert images_by_case(cases, channels=2) == both
    assert find_images(cases, channels=2) == both
    assert find_images(cases / "images/ben_0001.nii.gz", channels=2) == {"ben": both["ben"]}
    assert len(images_by_case(cases)) == 4
    (cases / "images/anna_0001.nii.gz").unlink()
    with pytest.raises(UserError, match=r"case 'anna' has the channels _0000; needed are _0000 to _0001"):
        find_images(cases, channels=2)


@pytest.mark.parametrize(
    ("shape", "affine", "difference"),
    [
        ((5, 6, 8), np.eye(4), r"shape 5 x 6 x 8 \(not 5 x 6 x 7\)"),
        ((5, 6, 7), np.diag([1, 1, 2.0, 1]), r"voxel size 1 x 1 x 2 mm \(not 1 x 1 x 1\)"),
        ((5, 6, 7), nib.affines.from_matvec(np.eye(3), [0, 0, 3]), r"position \(by up to 3 mm\)"),
        ((5, 6, 7), np.diag([-1.0, 1, 1, 1]), r"position \(by up to 8 mm\)"),
    ],
    ids=["shape", "spacing", "origin", "direction"],
)
def test_the_file_that_lies_elsewhere_is_named_with_the_difference(tmp_path, shape, affine, difference):
    nib.save(nib.Nifti1Image(VOXELS, np.eye(4)), tmp_path / "t1.nii")
    nib.save(nib.Nifti1Image(np.ones(shape, np.float32), affine), tmp_path / "t2.nii")
    for read in (read_header, read_image):
        with pytest.raises(UserError, match=f"t2.nii: {difference} differs from the first channel .*t1.nii"):
            read([tmp_path / "t1.nii", tmp_path / "t2.nii"])
