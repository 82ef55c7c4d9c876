"""What a DICOM disc holds beside the slices: a DICOMDIR, scout images. They are passed over, with a line."""

import struct

import numpy as np
import pytest
from dicom_writer import element, write_dicom, write_series

from auto_config.bundle_scripts.images.reading import ImageFileError, read_header, read_image
from auto_config.datasets.formats.shared.case_files import find_images
from auto_config.prediction.input import find_images as find_to_predict

VOXELS = np.random.default_rng(0).integers(0, 1000, size=(20, 18, 12))


def write_dicomdir(folder):
    """The index of a disc: DICOM, and no image."""
    folder.mkdir(parents=True, exist_ok=True)
    syntax = element("0002|0002", "UI", b"1.2.840.10008.1.3.10") + element("0002|0010", "UI", b"1.2.840.10008.1.2.1")
    head = element("0002|0000", "UL", struct.pack("<I", len(syntax)))
    body = element("0004|1130", "CS", b"DISC")
    (folder / "DICOMDIR").write_bytes(bytes(128) + b"DICM" + head + syntax + body)


def write_scout(folder, name="SCOUT", series="1.2.3.2", **tags):
    rows = np.zeros((40, 50), dtype=np.uint16)
    given = {"orientation": "1\\0\\0\\0\\0\\-1", "spacing": "1\\1", "position": "0\\0\\0", **tags}
    write_dicom(folder / name, rows, series=series, name=f"5.{series[-1]}", **given)


def test_a_dicomdir_is_no_image_and_prints_nothing(tmp_path, capfd):
    write_dicomdir(tmp_path)
    write_dicomdir(tmp_path / "other")
    write_series(tmp_path / "ct", VOXELS)
    write_dicomdir(tmp_path / "ct")
    assert find_images(tmp_path)[1] == [tmp_path / "ct"]
    assert find_to_predict(tmp_path) == {"ct": (tmp_path / "ct",)}
    np.testing.assert_array_equal(read_image(tmp_path / "ct").array[0], VOXELS)
    with pytest.raises(ImageFileError, match="DICOM"):
        read_header(tmp_path / "other")
    assert tuple(capfd.readouterr()) == ("", "")


def test_scouts_beside_one_volume_are_passed_over_with_a_line(tmp_path, capfd):
    write_series(tmp_path, VOXELS)
    expected = read_header(tmp_path)
    write_scout(tmp_path)
    write_scout(tmp_path, "LATERAL", "1.2.3.3", orientation="0\\1\\0\\0\\0\\-1")
    header = read_header(tmp_path)
    assert header.shape == expected.shape and np.array_equal(header.affine, expected.affine)
    assert [note for note in header.notes if "LATERAL" in note and "SCOUT" in note and "passed over" in note]
    np.testing.assert_array_equal(read_image(tmp_path).array[0], VOXELS)
    assert tuple(capfd.readouterr()) == ("", "")


@pytest.mark.parametrize("slices", [12, 4])
def test_two_volumes_stay_an_error_and_a_folder_each_helps(slices, tmp_path):
    write_series(tmp_path / "both", VOXELS)
    write_series(tmp_path / "both", VOXELS[..., :slices], first=50, series="1.2.3.4")
    with pytest.raises(ImageFileError, match="put each into a folder of its own"):
        read_header(tmp_path / "both")
    write_series(tmp_path / "one", VOXELS[..., :slices], series="1.2.3.4")
    assert read_header(tmp_path / "one").shape == (20, 18, slices)
