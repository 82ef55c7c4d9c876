"""The transform that loads images gives what MONAI's gives with the same reader."""

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import LoadImaged

from auto_config.bundle_scripts.images.header import ImageFileError
from auto_config.bundle_scripts.images.loader import FileReader, LoadFilesd


@pytest.fixture
def files(tmp_path):
    """Two channels of an oblique volume, stored as big-endian integers and as floats."""
    affine = np.array([[0, -1.5, 0.2, 4], [2, 0, 0, -3], [0, 0.1, 3, 7], [0, 0, 0, 1]])
    voxels = np.arange(60).reshape(3, 4, 5)
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(np.int16)
    nib.save(nib.Nifti1Image(voxels.astype(">i2"), affine, header), tmp_path / "a.nii.gz")
    nib.save(nib.Nifti1Image(voxels.astype(np.float64) / 7, affine), tmp_path / "b.nii")
    return [tmp_path / "a.nii.gz", tmp_path / "b.nii"]


@pytest.mark.parametrize("several", [False, True])
def test_the_same_as_monais(files, several):
    given = {"image": files if several else str(files[0]), "other": 3}
    ours = LoadFilesd("image")(given)
    theirs = LoadImaged("image", reader=FileReader(3), ensure_channel_first=True)(given)
    assert ours.keys() == theirs.keys() and ours["other"] == 3 and given["image"] is not ours["image"]
    image, same = ours["image"], theirs["image"]
    assert type(image) is type(same) is MetaTensor
    assert image.dtype == same.dtype == torch.float32 and image.is_contiguous()
    assert torch.equal(image.as_tensor(), same.as_tensor()) and torch.equal(image.affine, same.affine)
    assert image.shape == (2 if several else 1, 3, 4, 5)
    assert image.meta.keys() == same.meta.keys()
    for key, value in same.meta.items():
        np.testing.assert_array_equal(np.asarray(image.meta[key]), np.asarray(value), err_msg=str(key))


def test_a_reader_that_is_given_takes_the_place_of_the_own(files):
    with pytest.raises(ImageFileError, match="this bundle was made for 2"):
        LoadFilesd("image")({"image": str(files[0])}, reader=FileReader(3, channels=2))
    with pytest.raises(KeyError):
        LoadFilesd("image")({"other": 1})
