"""DICOM: the one series in a folder by the positions of its slices, and single files as pictures."""

import numpy as np
import pytest
from dicom_writer import write_dicom, write_series
from monai.data import ITKReader

from auto_config.bundle_scripts.grid.cache import cache_key
from auto_config.bundle_scripts.images.files import images_by_case
from auto_config.bundle_scripts.images.loader import LoadFilesd
from auto_config.datasets.checks.cases import check_header
from auto_config.datasets.images import is_image, read_header, read_image
from auto_config.errors import UserError

VOXELS = np.random.default_rng(0).integers(0, 4000, (6, 5, 4))
GREY = VOXELS[..., 0].T.astype(np.uint16)


def test_a_series_is_what_monai_reads_whatever_its_files_are_called(tmp_path):
    write_series(tmp_path / "scan", VOXELS)
    image = read_image(tmp_path / "scan")
    np.testing.assert_array_equal(image.array, VOXELS[None])
    # LPS (-10, 20, 30) with steps of 0.5 to the left, 0.7 to the back, 2 upwards, in RAS.
    expected = [[-0.5, 0, 0, 10], [0, -0.7, 0, -20], [0, 0, 2, 30], [0, 0, 0, 1]]
    np.testing.assert_allclose(image.affine, expected)
    reader = ITKReader()
    array, meta = reader.get_data(reader.read(str(tmp_path / "scan")))
    np.testing.assert_array_equal(image.array[0], array)
    np.testing.assert_allclose(image.affine, meta["affine"])
    assert read_header(tmp_path / "scan").shape == (6, 5, 4)
    assert is_image(tmp_path / "scan")
    assert not is_image(tmp_path)


def test_slices_are_sorted_by_position_also_downwards(tmp_path):
    write_series(tmp_path / "scan", VOXELS, step=(0, 0, -2.0))
    image = read_image(tmp_path / "scan")
    np.testing.assert_array_equal(image.array[0], VOXELS[..., ::-1])
    np.testing.assert_allclose(image.affine[:3, 2:], [[0, 10], [0, -20], [2, 24]])


def test_values_are_rescaled(tmp_path):
    write_series(tmp_path / "scan", VOXELS, slope="2", intercept="-1024")
    np.testing.assert_array_equal(read_image(tmp_path / "scan").array[0], 2 * VOXELS - 1024)


def test_gantry_tilt_stays_in_the_affine_and_is_warned_of(tmp_path):
    write_series(tmp_path / "scan", VOXELS, step=(0, 0.5, 2.0))
    header = read_header(tmp_path / "scan")
    np.testing.assert_allclose(header.affine[:3, 2], [0, -0.5, 2])
    (problem,) = check_header("scan", header)
    assert problem.severity == "warning"
    assert "gantry tilt" in problem.message


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda folder: write_series(folder, VOXELS, leave_out=(2,)),
            "IM007 and IM021 are 4 mm apart, .* 2 mm: slices",
        ),
        (
            lambda folder: write_series(folder, VOXELS, series="1.2.9", first=50),
            "holds 2 DICOM series .* put each into a folder of its own",
        ),
        (lambda folder: write_series(folder, VOXELS, first=50), "lie at one position; it holds several phases"),
    ],
    ids=["missing slice", "two series", "two phases"],
)
def test_what_is_no_single_even_series_is_refused_in_one_line(tmp_path, spoil, message):
    folder = tmp_path / "scan"
    if "missing" not in message and "apart" not in message:
        write_series(folder, VOXELS)
    spoil(folder)
    for read in (read_header, read_image):
        with pytest.raises(UserError, match=message) as caught:
            read(folder)
        assert str(caught.value).startswith(str(folder))
        assert "\n" not in str(caught.value)


def test_a_folder_with_a_single_picture_is_that_picture(tmp_path):
    write_dicom(tmp_path / "one" / "x", GREY, spacing="0.2\\0.1")
    image = read_image(tmp_path / "one")
    np.testing.assert_array_equal(image.array, GREY.T[None])
    assert (image.header.shape, image.header.spacing) == ((6, 5), (0.1, 0.2))


def test_a_folder_without_dicom_is_no_image(tmp_path):
    (tmp_path / "note.txt").write_text("x")
    with pytest.raises(UserError, match="folder without DICOM files"):
        read_header(tmp_path)


def test_the_pixel_size_of_a_single_file(tmp_path):
    path = tmp_path / "xray.dcm"
    write_dicom(path, GREY, spacing="0.2\\0.1", detector="0.3\\0.3")
    calibrated = read_header(path)
    assert (calibrated.shape, calibrated.spacing, calibrated.unit, calibrated.notes) == ((6, 5), (0.1, 0.2), "mm", ())
    write_dicom(path, GREY, detector="0.3\\0.4")
    detector = read_header(path)
    assert (detector.spacing, detector.unit) == ((0.4, 0.3), "mm")
    assert "not corrected for magnification" in detector.notes[0]
    assert read_header(path, (0.1, 0.1)).notes == ()
    write_dicom(path, GREY)
    unknown = read_header(path)
    assert (unknown.spacing, unknown.unit) == ((1.0, 1.0), "px")
    given = read_header(path, (0.5, 0.6))
    assert (given.spacing, given.unit) == ((0.5, 0.6), "mm")
    np.testing.assert_array_equal(read_image(path).array, GREY.T[None])


def test_white_is_high_in_every_file(tmp_path):
    path = write_dicom(tmp_path / "xray.dcm", GREY, photometric="MONOCHROME1", slope="2", intercept="-100")
    np.testing.assert_array_equal(read_image(path).array[0], 2 * (4095.0 - GREY.T) - 100)
    assert "MONOCHROME1" in read_header(path).notes[0]


def test_colour_becomes_luminance(tmp_path):
    colours = np.random.default_rng(0).integers(0, 255, (5, 6, 3)).astype(np.uint8)
    path = write_dicom(tmp_path / "us.dcm", colours)
    header, image = read_header(path), read_image(path)
    assert header.channels == len(image.array) == 1
    np.testing.assert_allclose(image.array[0].T, colours @ [0.299, 0.587, 0.114], atol=1e-3)


def test_a_folder_of_slices_is_one_image_and_files_of_pictures_are_many(tmp_path):
    write_series(tmp_path / "scans" / "anna", VOXELS)
    write_series(tmp_path / "scans" / "ben", VOXELS)
    found = {"anna": (tmp_path / "scans/anna",), "ben": (tmp_path / "scans/ben",)}
    assert images_by_case(tmp_path / "scans", spatial_dims=3) == images_by_case(tmp_path / "scans") == found
    assert images_by_case(tmp_path / "scans/anna", spatial_dims=3) == {"anna": (tmp_path / "scans/anna",)}
    for name in ("a", "b"):
        write_dicom(tmp_path / "xrays" / f"{name}.dcm", GREY, name=name)
    assert list(images_by_case(tmp_path / "xrays", spatial_dims=2)) == ["a", "b"]


def test_a_bundle_reads_a_series_as_a_data_set_does(tmp_path):
    write_series(tmp_path / "scan", VOXELS, step=(0, 0.5, 2.0))
    loaded = LoadFilesd("image")({"image": str(tmp_path / "scan")})
    image = read_image(tmp_path / "scan")
    np.testing.assert_array_equal(loaded["image"].numpy(), image.array)
    np.testing.assert_allclose(loaded["image"].affine.numpy(), image.affine)
    assert loaded["image"].meta["filename_or_obj"] == str(tmp_path / "scan")
    # Nor does it read what a data set refuses: MONAI's own readers would.
    (tmp_path / "scan" / "IM014").unlink()
    with pytest.raises(ValueError, match="slices are missing"):
        LoadFilesd("image")({"image": str(tmp_path / "scan")})


def test_the_cache_sees_a_slice_that_changed(tmp_path):
    write_series(tmp_path / "scan", VOXELS)
    before = cache_key(str(tmp_path / "scan"), len, ["image"], "code")
    assert cache_key(str(tmp_path / "scan"), len, ["image"], "code") == before
    write_dicom(tmp_path / "scan" / "more", GREY, name="9")
    assert cache_key(str(tmp_path / "scan"), len, ["image"], "code") != before
