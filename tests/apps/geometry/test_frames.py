"""Where viewers show pictures: as ITK, and so Slicer, reads them; and the way between there and a 2D bundle."""

import itk
import nibabel as nib
import numpy as np
import pytest
from dicom_writer import write_dicom
from hypothesis import given, settings
from hypothesis import strategies as st
from landmark_app.lib.geometry.balls import Grid
from landmark_app.lib.geometry.frames import Frame, read_frame, read_raw, shown_grid
from landmark_app.lib.store.images import why_unreadable
from picture_tools import SIZE, write_picture
from PIL import ExifTags, Image

from auto_config.datasets.images import read_image
from auto_config.errors import UserError

ORIENTATION = int(ExifTags.Base.Orientation)


def as_slicer_shows(path, pixel):
    """(3,) RAS mm of a pixel (x, y) by ITK's own arithmetic, as in Slicer; LPS turned to RAS."""
    image = itk.imread(str(path))
    index = [*pixel, *[0] * (image.GetImageDimension() - 2)]
    place = np.array([*image.TransformIndexToPhysicalPoint([int(x) for x in index]), 0.0])[:3]
    return place * [-1, -1, 1]


@pytest.mark.parametrize("ending", [".png", ".jpg", ".bmp", ".tif"])
@pytest.mark.parametrize("dpi", [None, (254, 127)])
def test_pictures_lie_where_itk_puts_them(tmp_path, ending, dpi):
    path = write_picture(tmp_path / f"a{ending}", **({"dpi": dpi} if dpi else {}))
    grid = shown_grid(path)
    assert grid.shape == (*SIZE, 1)
    frame = read_frame(path, 2, (0.5, 0.25))
    assert frame.axes == (0, 1)
    for pixel in [(0, 0), (10, 3), (59, 43)]:
        np.testing.assert_allclose((grid.affine @ [*pixel, 0, 1])[:3], as_slicer_shows(path, pixel), atol=1e-9)
        # The bundle was told that a pixel is 0.5 mm across and 0.25 mm down.
        own = np.array([pixel]) * [0.5, 0.25]
        np.testing.assert_allclose(frame.to_shown(own)[0], as_slicer_shows(path, pixel), atol=1e-9)
        np.testing.assert_allclose(frame.from_shown(as_slicer_shows(path, pixel)[None]), own, atol=1e-9)
    # The bundle and the viewer take the same pixel for the first, and the same axis for the first one.
    seen = itk.array_from_image(itk.imread(str(path), itk.F)).T
    np.testing.assert_allclose(read_image(path).array[0], seen, atol=2)


@pytest.mark.parametrize("shape", [(12, 9, 1), (12, 1, 9), (1, 12, 9)])
def test_a_volume_of_one_slice_is_a_picture_where_it_lies(tmp_path, shape):
    affine = np.array([[-0.5, 0, 0, 10], [0, 0.25, 0, -7], [0, 0, 2, 30], [0, 0, 0, 1.0]])
    path = tmp_path / "slice.nii.gz"
    nib.save(nib.Nifti1Image(np.random.default_rng(0).random(shape).astype(np.float32), affine), path)
    grid, frame = shown_grid(path), read_frame(path, 2)
    assert grid.shape == shape
    np.testing.assert_allclose(grid.affine, affine)
    voxel = np.array([3.0, 4, 5]) * (np.array(shape) > 1)
    world = (affine @ [*voxel, 1])[None, :3]
    own = voxel[list(frame.axes)] * np.abs(np.diag(affine)[list(frame.axes)])
    np.testing.assert_allclose(frame.from_shown(world), own[None], atol=1e-6)
    np.testing.assert_allclose(frame.to_shown(own[None]), world, atol=1e-6)
    array, raw = read_raw(path)
    assert array.shape == (1, *shape)
    assert raw.shape == shape


@given(
    points=st.lists(st.tuples(st.floats(-50, 50), st.floats(-50, 50)), min_size=1, max_size=4),
    spacing=st.tuples(st.floats(0.01, 10), st.floats(0.01, 10)),
    size=st.floats(0.01, 10),
)
@settings(max_examples=30, deadline=None, derandomize=True)
def test_there_and_back(points, spacing, size):
    affine = np.diag([-size, -size, 1.0, 1.0])
    frame = Frame(Grid((20, 10, 1), affine), (0, 1), np.diag([*spacing, 1.0]))
    back = frame.from_shown(frame.to_shown(np.array(points)))
    np.testing.assert_allclose(back, points, atol=1e-6 * max(1, max(spacing) / size))
    assert frame.scale == pytest.approx(np.mean([size / spacing[0], size / spacing[1]]))
    nowhere = frame.to_shown(np.full((1, 2), np.nan))
    assert np.isnan(nowhere).all()


def test_volumes_stay_as_they_are(tmp_path):
    path = tmp_path / "volume.nii.gz"
    affine = np.diag([-2.0, 1.0, 3.0, 1.0])
    nib.save(nib.Nifti1Image(np.random.default_rng(0).random((5, 6, 7)).astype(np.float32), affine), path)
    frame = read_frame(path, 3)
    np.testing.assert_allclose(frame.grid.affine, affine)
    points = np.random.default_rng(0).random((4, 3))
    np.testing.assert_array_equal(frame.to_shown(points), points)
    np.testing.assert_array_equal(frame.from_shown(points), points)
    assert frame.scale == 1.0


def test_what_a_bundle_does_not_take_is_said(tmp_path):
    picture = write_picture(tmp_path / "a.png")
    with pytest.raises(UserError, match="is a picture; this bundle was made for 3D"):
        read_frame(picture, 3)
    picture.write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"a\.png"):
        read_frame(picture, 2)
    with pytest.raises(UserError, match=r"a\.png"):
        read_raw(picture)


@pytest.mark.parametrize("turned", [2, 3, 6])
def test_a_tiff_that_programs_turn_differently_is_refused(tmp_path, turned):
    """Pillow, with which bundles read, turns it and ITK does not: points would lie beside their places."""
    path = write_picture(tmp_path / "a.tif", tiffinfo={ORIENTATION: turned})
    seen = itk.array_from_image(itk.imread(str(path), itk.F)).T
    with Image.open(path) as picture:
        assert not np.array_equal(np.asarray(picture).T, seen)
    for read in (shown_grid, lambda one: read_frame(one, 2)):
        with pytest.raises(UserError, match=r"a\.tif: .*is marked to be shown turned"):
            read(path)
    assert "is marked to be shown turned" in why_unreadable(path)
    upright = write_picture(tmp_path / "b.tif", tiffinfo={ORIENTATION: 1})
    assert shown_grid(upright).shape == (*SIZE, 1)
    assert why_unreadable(upright) is None


def test_what_itk_cannot_read_is_said_in_one_line(tmp_path):
    rows = np.random.default_rng(0).random(SIZE[::-1]) > 0.5
    Image.fromarray(rows).save(tmp_path / "a.bmp")  # of one bit, which Pillow reads
    with pytest.raises(UserError) as refused:
        shown_grid(tmp_path / "a.bmp")
    for reason in (why_unreadable(tmp_path / "a.bmp"), str(refused.value)):
        assert "depths" in reason
        assert "\n" not in reason
        assert ".cxx" not in reason


@pytest.mark.parametrize("spacing", [None, "0.2\\0.1"])
def test_a_dicom_file_lies_where_itk_puts_it(tmp_path, spacing):
    rows = np.random.default_rng(0).integers(0, 4000, SIZE[::-1]).astype(np.uint16)
    place = {"position": "5\\-7\\30", "orientation": "1\\0\\0\\0\\0.6\\0.8"} if spacing else {}
    path = write_dicom(tmp_path / "a.dcm", rows, spacing=spacing, **place)
    frame = read_frame(path, 2)
    assert (frame.grid.shape, frame.axes) == ((*SIZE, 1), (0, 1))
    for pixel in [(0, 0), (10, 3), (59, 43)]:
        own = np.array([pixel]) * ([0.1, 0.2] if spacing else [1, 1])
        np.testing.assert_allclose(frame.to_shown(own)[0], as_slicer_shows(path, pixel), atol=1e-6)
    # The bundle and the viewer take the same pixel for the first.
    assert read_image(path).array[0, 10, 3] == itk.array_from_image(itk.imread(str(path)))[0, 3, 10] == rows[3, 10]
