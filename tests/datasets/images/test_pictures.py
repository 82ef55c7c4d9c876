"""Pictures: one reader for each format, the same in data sets and bundles, and their pixel size."""

import nibabel as nib
import numpy as np
import pytest
from monai.data import MetaTensor, PILReader
from monai.transforms import LoadImage
from PIL import Image as PillowImage
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from auto_config.bundle_scripts.images.loader import FileReader, LoadFilesd
from auto_config.bundle_scripts.images.reading import IMAGE_SUFFIXES, reason_of
from auto_config.datasets.images import image_suffix, read_header, read_image
from auto_config.errors import UserError

EIGHT = np.random.default_rng(0).integers(0, 256, (5, 7)).astype(np.uint8)  # rows, columns
SIXTEEN = np.random.default_rng(1).integers(0, 65536, (5, 7)).astype(np.uint16)
COLOUR = np.random.default_rng(2).integers(0, 256, (5, 7, 3)).astype(np.uint8)
LUMINANCE = np.asarray(PillowImage.fromarray(COLOUR).convert("L"))


def save(path, array, **options):
    PillowImage.fromarray(array).save(path, **options)
    return path


@pytest.mark.parametrize(
    ("name", "array", "expected"),
    [
        ("a.png", EIGHT, EIGHT),
        ("a.PNG", EIGHT, EIGHT),
        ("a.bmp", EIGHT, EIGHT),
        ("a.tif", EIGHT, EIGHT),
        ("a.tiff", SIXTEEN, SIXTEEN),
        ("a16.png", SIXTEEN, SIXTEEN),
        ("float.tif", EIGHT.astype(np.float32) / 7, EIGHT.astype(np.float32) / 7),
        ("colour.png", COLOUR, LUMINANCE),
        ("colour.bmp", COLOUR, LUMINANCE),
        ("alpha.png", np.dstack([COLOUR, np.full((5, 7), 9, np.uint8)]), LUMINANCE),
        ("black_white.png", EIGHT > 127, 255 * (EIGHT > 127)),
    ],
)
def test_data_sets_and_bundles_read_the_same_pixels(tmp_path, name, array, expected):
    path = save(tmp_path / name, array)
    image = read_image(path)
    np.testing.assert_array_equal(image.array, expected.T[None].astype(np.float32))
    assert image.array.dtype == np.float32
    assert image.header.shape == (7, 5) == read_header(path).shape
    np.testing.assert_array_equal(image.affine, np.eye(3))
    assert image.header.unit == "px"
    loaded = LoadImage(reader=FileReader(2), ensure_channel_first=True)(str(path))
    np.testing.assert_array_equal(loaded.numpy(), image.array)
    np.testing.assert_array_equal(loaded.affine.numpy(), np.eye(4))
    assert bool(image.header.notes) == (array.ndim == 3)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.tif"])
def test_grey_pixels_are_those_of_monais_reader(tmp_path, name):
    path = save(tmp_path / name, EIGHT)
    reader = PILReader()
    array, _ = reader.get_data(reader.read(str(path)))
    np.testing.assert_array_equal(read_image(path).array[0], array)


def test_the_pixel_size_is_given_or_unknown(tmp_path):
    path = save(tmp_path / "a.png", EIGHT, dpi=(300, 300))  # how it is printed, not how large it was
    assert read_header(path).unit == "px"
    header = read_header(path, (0.1, 0.2))
    assert (header.unit, header.spacing) == ("mm", (0.1, 0.2))
    loaded = LoadFilesd("image", 2, [0.1, 0.2])({"image": str(path)})
    assert isinstance(loaded["image"], MetaTensor)
    np.testing.assert_allclose(loaded["image"].affine.numpy(), np.diag([0.1, 0.2, 1, 1]))
    np.testing.assert_allclose(loaded["image"].meta["original_affine"], np.diag([0.1, 0.2, 1, 1]))
    assert tuple(loaded["image"].meta["spatial_shape"]) == (7, 5)


@pytest.mark.parametrize(
    ("tags", "spacing"),
    [
        ({282: 254.0, 283: 508.0, 296: 2}, (0.1, 0.05)),
        ({282: 50.0, 283: 50.0, 296: 3}, (0.2, 0.2)),
        ({282: 72.0, 283: 72.0, 296: 2}, None),
        ({282: 300.0, 283: 300.0, 296: 1}, None),
        ({282: 4.0, 283: 4.0, 296: 1, 270: "ImageJ=1.53\nunit=mm\n"}, (0.25, 0.25)),
        ({282: 0.02, 283: 0.02, 296: 1, 270: "ImageJ=1.53\nunit=micron\n"}, (0.05, 0.05)),
        ({}, None),
    ],
    ids=["inch", "cm", "screen", "no unit", "ImageJ", "micrometres", "none"],
)
def test_the_resolution_of_a_tiff(tmp_path, tags, spacing):
    info = ImageFileDirectory_v2()
    for tag, value in tags.items():
        info[tag] = value
    header = read_header(save(tmp_path / "a.tif", EIGHT, tiffinfo=info))
    if spacing is None:
        assert header.unit == "px"
    else:
        assert header.unit == "mm"
        np.testing.assert_allclose(header.spacing, spacing, rtol=1e-6)
        assert "from its resolution tag" in header.notes[0]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_volume_with_a_single_slice_is_a_picture(tmp_path, axis):
    shape = [6, 5, 4]
    shape[axis] = 1
    voxels = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    nib.save(nib.Nifti1Image(voxels, np.diag([-0.5, 0.7, 2.0, 1])), tmp_path / "a.nii.gz")
    image = read_image(tmp_path / "a.nii.gz")
    kept = [other for other in range(3) if other != axis]
    np.testing.assert_array_equal(image.array[0], voxels.squeeze(axis))
    np.testing.assert_allclose(image.affine, np.diag([*np.array([0.5, 0.7, 2.0])[kept], 1]))
    assert image.header.unit != "px"


def test_a_flat_mha_is_a_picture_with_its_spacing(tmp_path):
    import itk

    picture = itk.image_from_array(EIGHT)
    picture.SetSpacing([0.3, 0.4])
    picture.SetOrigin([5.0, 6.0])
    itk.imwrite(picture, str(tmp_path / "a.mha"))
    image = read_image(tmp_path / "a.mha")
    np.testing.assert_array_equal(image.array, EIGHT.T[None])
    np.testing.assert_allclose(image.affine, np.diag([0.3, 0.4, 1]))


def test_pages_and_damage_are_told_in_one_line(tmp_path):
    pages = [PillowImage.fromarray(EIGHT), PillowImage.fromarray(EIGHT)]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    save(tmp_path / "cut.png", np.tile(EIGHT, (40, 40)))
    cut = tmp_path / "cut.png"
    cut.write_bytes(cut.read_bytes()[:200])
    for name, message in (("pages.tif", "has several pages"), ("cut.png", "cannot be read")):
        with pytest.raises(UserError, match=message) as caught:
            read_image(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_a_bundle_refuses_images_of_other_axes(tmp_path):
    path = save(tmp_path / "a.png", EIGHT)
    with pytest.raises(ValueError, match=r"a\.png: is a picture of 7 x 5; this bundle was made for 3D, give a volume"):
        FileReader(3).read(str(path))
    nib.save(nib.Nifti1Image(np.zeros((4, 5, 6), np.float32), np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(ValueError, match=r"is a volume of 4 x 5 x 6; this bundle was made for 2D, give a picture"):
        LoadFilesd("image", 2)({"image": str(tmp_path / "a.nii")})


def test_a_bundle_refuses_images_of_other_channels(tmp_path):
    path = str(save(tmp_path / "a.png", EIGHT))
    assert LoadFilesd("image", 2, channels=1)({"image": path})["image"].shape[0] == 1
    with pytest.raises(ValueError, match=r"a\.png: has 2 channels; this bundle was made for 1, give an image"):
        LoadFilesd("image", 2, channels=1)({"image": [path, path]})


def test_every_ending_has_a_reader(tmp_path):
    for suffix in IMAGE_SUFFIXES:
        assert image_suffix(tmp_path / f"a{suffix.upper()}") == suffix
        (tmp_path / f"a{suffix}").write_bytes(b"not an image")
        with pytest.raises(UserError, match=f"a{suffix}: image cannot be read"):
            read_header(tmp_path / f"a{suffix}")


@pytest.mark.parametrize("orientation", [3, 6])
def test_a_turned_tiff_is_refused_and_other_pictures_are_read_as_stored(tmp_path, orientation):
    path = save(tmp_path / "a.tif", EIGHT, tiffinfo={274: orientation})
    for read in (read_header, read_image):
        with pytest.raises(UserError, match="shown turned \\(orientation tag\\); save it upright"):
            read(path)
    exif = PillowImage.Exif()
    exif[274] = orientation
    stored = save(tmp_path / "b.png", EIGHT, exif=exif)
    np.testing.assert_array_equal(read_image(stored).array[0], EIGHT.T)
    assert "is read as its pixels are stored" in read_header(stored).notes[0]


def test_where_in_its_own_sources_itk_failed_is_not_told():
    said = "/src/Modules/IO/itkGDCMImageIO.cxx:633:\nITK ERROR: GDCMImageIO(0x55e950ade0c0): no pixels"
    assert reason_of(RuntimeError(said.replace("ITK ERROR", "itk::ERROR"))) == "no pixels"
