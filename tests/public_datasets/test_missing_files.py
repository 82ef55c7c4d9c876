"""Images that a download left out: pointers, cut files, nothing."""

import benchmark_layouts as layouts
import nibabel as nib
import numpy as np
import pytest

from auto_config.public_datasets.shared.files import absence, subfolder

DOWNLOAD = "download it"


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "a.nii.gz"
    layouts.nifti(path)
    return path


def test_a_whole_file_is_there(image, tmp_path):
    assert absence(image, DOWNLOAD) is None
    link = tmp_path / "link.nii.gz"
    link.symlink_to(image)
    assert absence(link, DOWNLOAD) is None
    (tmp_path / "a.csv").write_text("1,2\n")
    assert absence(tmp_path / "a.csv", DOWNLOAD) is None
    nib.save(nib.load(image), tmp_path / "plain.nii")
    assert absence(tmp_path / "plain.nii", DOWNLOAD) is None


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (layouts.annex_link, "datalad get"),
        (layouts.annex_pointer, "datalad get"),
        (layouts.lfs_pointer, "git lfs pull"),
        (lambda path: path.unlink(), "not there; download it"),
        (lambda path: path.write_bytes(b""), "empty"),
        (layouts.cut, "cut off"),
        (lambda path: layouts.cut(path, 0.01), "cut off"),
        (lambda path: path.rename(path.with_name(path.name + ".part")), "not finished"),
    ],
)
def test_what_is_there_instead_is_said(image, spoil, words):
    spoil(image)
    assert words in absence(image, DOWNLOAD)


def test_a_pointer_of_an_unlocked_annex_and_a_link_into_nowhere(tmp_path):
    path = tmp_path / "a.nii.gz"
    path.write_text("../../.git/annex/objects/W/1/MD5E-s9--d41.nii.gz/MD5E-s9--d41.nii.gz")
    assert "git-annex pointer" in absence(path, DOWNLOAD)
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere.nii.gz")
    assert "elsewhere.nii.gz, which is not there" in absence(path, DOWNLOAD)


def test_an_uncompressed_file_that_is_cut(tmp_path):
    path = tmp_path / "a.nii"
    layouts.nifti(path)
    layouts.cut(path)
    assert "cut off" in absence(path, DOWNLOAD)


def test_gzip_of_several_parts_is_whole(image):
    # As bgzip writes it: the last four bytes are the size of the last part only.
    import gzip

    data = gzip.decompress(image.read_bytes())
    image.write_bytes(gzip.compress(data[:1000]) + gzip.compress(data[1000:]))
    assert absence(image, DOWNLOAD) is None
    np.testing.assert_array_equal(nib.load(image).shape, layouts.SHAPE)


def test_subfolders(tmp_path):
    (tmp_path / "a" / "b" / "train").mkdir(parents=True)
    assert subfolder(tmp_path, "train") == tmp_path / "a" / "b" / "train"
    assert subfolder(tmp_path / "a" / "b" / "train", "train") == tmp_path / "a" / "b" / "train"
    assert subfolder(tmp_path, "test") is None
