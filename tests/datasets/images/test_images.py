"""Images are read exactly as MONAI reads them, and headers without voxels."""

import itk
import nibabel as nib
import numpy as np
import pytest
from monai.transforms import LoadImage

from auto_config.datasets.images import image_stem, image_suffix, read_header, read_image
from auto_config.errors import UserError

ROTATION = nib.eulerangles.euler2mat(0.4, -0.3, 0.2)
OBLIQUE = nib.affines.from_matvec(ROTATION @ np.diag([1, 2, 0.5]), [3, -4, 5])
PIR = nib.affines.from_matvec(np.array([[0, 0, -1.5], [-1.0, 0, 0], [0, 0.7, 0]]), [10, 20, -30])
VOXELS = np.random.default_rng(0).normal(size=(5, 6, 7)).astype(np.float32)


def itk_image(folder, name, array, affine, *, is_vector=False):
    """Write with ITK; `array` is in the order of its axes, channels last."""
    axes = (2, 1, 0, 3) if is_vector else (2, 1, 0)
    image = itk.image_from_array(np.ascontiguousarray(array.transpose(axes)), is_vector=is_vector)
    lps = np.diag([-1.0, -1, 1, 1]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetDirection(lps[:3, :3] / spacing)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    itk.imwrite(image, str(folder / name))


@pytest.mark.parametrize("affine", [OBLIQUE, PIR], ids=["oblique", "PIR"])
def test_array_and_affine_are_those_of_monai(tmp_path, affine):
    nib.save(nib.Nifti1Image(VOXELS, affine), tmp_path / "a.nii.gz")
    scaled = nib.Nifti1Image((VOXELS * 100).astype(np.int16), affine)
    scaled.header.set_slope_inter(0.3, 1)
    nib.save(scaled, tmp_path / "scaled.nii")
    for ending in ("nrrd", "mha", "mhd", "nhdr"):
        itk_image(tmp_path, f"a.{ending}", VOXELS, affine)
    for ending in ("nrrd", "mha"):
        itk_image(tmp_path, f"two.{ending}", np.stack([VOXELS, 2 * VOXELS], axis=-1), affine, is_vector=True)
    load = LoadImage(reader=["ITKReader", "NibabelReader"], ensure_channel_first=True)
    paths = [path for path in sorted(tmp_path.iterdir()) if image_suffix(path)]
    assert len(paths) == 8
    for path in paths:
        expected, found, header = load(str(path)), read_image(path), read_header(path)
        np.testing.assert_array_equal(found.array, expected.numpy(), err_msg=path.name)
        np.testing.assert_array_equal(found.affine, expected.affine.numpy(), err_msg=path.name)
        np.testing.assert_allclose(found.affine, affine, atol=1e-5, err_msg=path.name)
        assert found.array.dtype == np.float32
        assert header.shape == VOXELS.shape == found.array.shape[1:]
        assert header.channels == len(found.array) == (2 if path.name.startswith("two") else 1)
        np.testing.assert_array_equal(header.affine, found.affine)
        np.testing.assert_allclose(header.spacing, np.linalg.norm(affine[:3, :3], axis=0), rtol=1e-5)


def test_channels_in_files_are_stacked_as_monai_does(tmp_path):
    paths = [tmp_path / "t1.nii.gz", tmp_path / "t2.nii.gz"]
    for number, path in enumerate(paths):
        nib.save(nib.Nifti1Image(VOXELS + number, PIR), path)
    expected = LoadImage(reader=["ITKReader", "NibabelReader"], ensure_channel_first=True)(
        [str(path) for path in paths]
    )
    np.testing.assert_array_equal(read_image(paths).array, expected.numpy())
    assert read_header(paths).channels == 2


def test_channels_on_different_grids_are_refused(tmp_path):
    nib.save(nib.Nifti1Image(VOXELS, PIR), tmp_path / "t1.nii.gz")
    nib.save(nib.Nifti1Image(VOXELS, OBLIQUE), tmp_path / "t2.nii.gz")
    with pytest.raises(UserError, match="differs from the first channel"):
        read_header([tmp_path / "t1.nii.gz", tmp_path / "t2.nii.gz"])


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.nrrd", "a.mha"])
def test_files_that_cannot_be_read_are_named_in_one_line(tmp_path, name):
    with pytest.raises(UserError, match=f"{name}: image file not found"):
        read_header(tmp_path / name)
    (tmp_path / name).write_bytes(b"not an image\n" * 50)
    for read in (read_header, read_image):
        with pytest.raises(UserError, match=f"{name}: image cannot be read .* leave the case out") as caught:
            read(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_an_image_that_was_cut_off_is_named(tmp_path):
    path = tmp_path / "a.nii"
    nib.save(nib.Nifti1Image(VOXELS, PIR), path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(UserError, match=r"a\.nii: image cannot be read"):
        read_image(path)


@pytest.mark.parametrize("name", ["a.png", "a.nii.gz", "a.nrrd", "a.mha", "a.dcm"])
def test_a_git_lfs_pointer_is_named(tmp_path, name):
    (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 12\n")
    with pytest.raises(UserError, match=rf"{name}: is a Git LFS pointer without content; get it with `git lfs pull`"):
        read_header(tmp_path / name)


def test_a_picture_that_is_none_is_said(tmp_path):
    (tmp_path / "a.png").write_text("nothing")
    with pytest.raises(UserError, match=r"a\.png: image cannot be read \(by its content it is no PNG, JPEG"):
        read_header(tmp_path / "a.png")


def test_other_endings_are_refused(tmp_path):
    (tmp_path / "a.h5").write_bytes(b"")
    with pytest.raises(UserError, match=r"a\.h5: images in \.h5 are not read; .*save it .* as \.nii\.gz"):
        read_image(tmp_path / "a.h5")
    (tmp_path / "a.xyz").write_bytes(b"")
    with pytest.raises(UserError, match=r"allowed are .nii.gz"):
        read_header(tmp_path / "a.xyz")


def test_stems_and_endings(tmp_path):
    for name, stem, suffix in (
        ("a.b.nii.gz", "a.b", ".nii.gz"),
        ("A.NII", "A", ".nii"),
        ("x.mha", "x", ".mha"),
        (".nrrd", ".nrrd", None),
        ("notes.txt", "notes.txt", None),
    ):
        assert (image_stem(tmp_path / name), image_suffix(tmp_path / name)) == (stem, suffix)


def test_units_and_forms_of_a_nifti_header(tmp_path):
    image = nib.Nifti1Image(VOXELS, PIR)
    image.header.set_xyzt_units("micron")
    image.set_sform(PIR, 1)
    image.set_qform(OBLIQUE, 1)
    nib.save(image, tmp_path / "both.nii.gz")
    header = read_header(tmp_path / "both.nii.gz")
    assert header.unit == "micron"
    assert header.oriented
    np.testing.assert_allclose(header.affine, PIR, atol=1e-5)
    np.testing.assert_allclose(header.second_affine, OBLIQUE, atol=1e-5)
    image.set_sform(None, 0)
    image.set_qform(None, 0)
    nib.save(image, tmp_path / "none.nii.gz")
    assert not read_header(tmp_path / "none.nii.gz").oriented


def patched(path, offset, *floats):
    """Save a NIfTI with both forms and overwrite numbers of its header, which nibabel would not write."""
    image = nib.Nifti1Image(VOXELS, PIR)
    image.set_sform(PIR, 1)
    image.set_qform(PIR, 1)
    nib.save(image, path)
    content = bytearray(path.read_bytes())
    content[offset : offset + 4 * len(floats)] = np.array(floats, dtype="<f4").tobytes()
    path.write_bytes(content)
    return path


def test_a_broken_qform_does_no_harm_beside_an_sform(tmp_path):
    quatern_b = 256
    path = patched(tmp_path / "a.nii", quatern_b, 3.0)
    header = read_header(path)
    assert header.second_affine is None
    np.testing.assert_allclose(header.affine, PIR, atol=1e-5)
    expected = LoadImage(reader=["ITKReader", "NibabelReader"], ensure_channel_first=True)(str(path))
    np.testing.assert_array_equal(read_image(path).array, expected.numpy())


@pytest.mark.parametrize(("numbers", "reason"), [((0, 0, 0, 0), "singular"), ((np.nan,) * 4, "not finite")])
def test_an_sform_that_gives_no_place_is_refused(tmp_path, numbers, reason):
    srow_x = 280
    path = patched(tmp_path / "a.nii", srow_x, *numbers)
    for read in (read_header, read_image):
        with pytest.raises(UserError, match=f"affine .*{reason}.*repair the header"):
            read(path)
