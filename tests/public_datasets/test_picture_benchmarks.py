"""ISBI 2015 and hand X-rays: 2D, pixels whose size the files do not say."""

import benchmark_layouts as layouts
import numpy as np
import pytest
from PIL import Image as PillowImage

from auto_config.datasets.images import read_header
from auto_config.errors import UserError
from auto_config.public_datasets import hand_xray, isbi2015
from auto_config.public_datasets.shared.images import picture_array, write_picture


def test_isbi_truth_is_the_mean_of_two_doctors_in_tenths_of_a_millimetre(tmp_path):
    junior, senior = layouts.isbi_pixels(1), layouts.isbi_pixels(2)
    grey = layouts.isbi_case(tmp_path, "TrainingData", "001", junior, senior)
    layouts.isbi_case(tmp_path, "Test1Data", "151", junior, senior)
    layouts.isbi_case(tmp_path, "Test2Data", "301", junior, senior)
    reading = isbi2015.read(tmp_path)
    assert reading.spatial_dims == 2
    assert [(case.name, case.section) for case in reading.cases] == [
        ("001", "training"),
        ("151", "test"),
        ("301", "test"),
    ]
    case = reading.cases[0]
    np.testing.assert_allclose(case.landmarks.points, (junior + senior) / 2 * 0.1)
    np.testing.assert_allclose(case.raters["senior"].points, senior * 0.1)
    assert case.image.pixel_mm == 0.1
    assert len(set(reading.names)) == 19
    np.testing.assert_array_equal(picture_array(case.image.path), grey)  # colours of equal channels are grey


def test_isbi_training_cases_that_are_test_cases_are_left_out(tmp_path):
    for place, number in (("TrainingData", "038"), ("TrainingData", "144"), ("Test1Data", "283"), ("Test1Data", "173")):
        layouts.isbi_case(tmp_path, place, number, layouts.isbi_pixels(1), layouts.isbi_pixels(2))
    folder = next(tmp_path.rglob("RawImage"))
    (folder / "Test1Data" / "283.bmp").write_bytes((folder / "TrainingData" / "038.bmp").read_bytes())
    PillowImage.fromarray(np.zeros((9, 9), np.uint8)).save(folder / "Test1Data" / "173.bmp")  # another picture
    reading = isbi2015.read(tmp_path)
    assert [case.name for case in reading.cases] == ["144", "173", "283"]
    assert reading.properties.notes[-1] == (
        "Training cases that are the same pictures as test cases are left out: 038 (test case 283)."
    )


def test_isbi_one_doctor_alone_or_a_wrong_file(tmp_path):
    points = layouts.isbi_pixels()
    for number in ("001", "002", "003"):
        layouts.isbi_case(tmp_path / "cepha", "TrainingData", number, points, points)
    root = tmp_path / "cepha" / "AnnotationsByMD"
    (root / "400_senior" / "001.txt").unlink()
    (root / "400_junior" / "002.txt").write_text("1,2\n3,4\n1\n")
    reading = isbi2015.read(tmp_path)
    assert [case.name for case in reading.cases] == ["003"]
    assert reading.missing[0].path == root / "400_senior" / "001.txt"
    assert "must begin with 19 lines" in reading.problems[0].message
    (tmp_path / "cepha" / "RawImage" / "TrainingData" / "003.bmp").unlink()
    assert [one.case for one in isbi2015.read(tmp_path).missing] == ["001", "003"]
    with pytest.raises(UserError, match="holds no ISBI"):
        isbi2015.read(root)


def test_hand_the_wrist_is_fifty_millimetres_wide(tmp_path):
    points = {"3142": layouts.hand_points(1), "3143": layouts.hand_points(2) * 1.0}
    points["3143"][4] = (10.0, 25.0)  # 25 pixels from the first
    greys = layouts.hand_xray_set(tmp_path, points)
    reading = hand_xray.read(tmp_path)
    assert reading.spatial_dims == 2
    assert reading.names == tuple(map(str, range(1, 38)))
    assert [case.image.pixel_mm for case in reading.cases] == [1.0, 2.0]
    for case in reading.cases:
        world = case.landmarks.points
        assert np.linalg.norm(world[0] - world[4]) == pytest.approx(50.0)
        np.testing.assert_allclose(world / case.image.pixel_mm, points[case.name])
        np.testing.assert_array_equal(picture_array(case.image.path), greys[case.name])  # one slice, rows and columns
        assert case.section == "training"
        assert case.fold is None
    assert any("no split is marked" in note for note in reading.properties.notes)


def test_hand_the_lists_of_the_cross_validation_are_folds(tmp_path):
    layouts.hand_xray_set(tmp_path, {str(number): layouts.hand_points(number) for number in (1, 2, 3)})
    for fold, name in ((1, "3"), (2, "1"), (3, "2")):
        path = tmp_path / "setup" / "cv" / f"set{fold}" / "test.txt"
        path.parent.mkdir(parents=True)
        path.write_text(f"{name}\n")
    assert {case.name: case.fold for case in hand_xray.read(tmp_path).cases} == {"3": 0, "1": 1, "2": 2}


def test_hand_wrong_rows_and_missing_images(tmp_path):
    points = {str(number): layouts.hand_points(number) for number in (1, 2, 3)}
    points["2"][4] = points["2"][0]
    layouts.hand_xray_set(tmp_path, points)
    (tmp_path / "images" / "3.mha").unlink()
    table = tmp_path / "setup" / "all.csv"
    table.write_text(table.read_text() + "4,1,2\n")
    PillowImage.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / "images" / "4.png")
    reading = hand_xray.read(tmp_path)
    assert [case.name for case in reading.cases] == ["1"]
    assert [one.case for one in reading.missing] == ["3"]
    assert "landmarks 1 and 5 are the same point" in reading.problems[0].message
    assert "needs 74 numbers" in reading.problems[1].message
    table.write_text(table.read_text() * 2)
    with pytest.raises(UserError, match="occurs more than once"):
        hand_xray.read(tmp_path)
    with pytest.raises(UserError, match="holds no hand X-rays"):
        hand_xray.read(tmp_path / "images")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("size", [0.1, 50 / 437.31, 1.0])
def test_a_picture_keeps_its_grey_values_and_the_size_of_its_pixels(tmp_path, dtype, size):
    array = np.random.default_rng(0).uniform(0, 250, (7, 5)).astype(dtype)
    write_picture(tmp_path / "a.tif", array, size)
    np.testing.assert_array_equal(picture_array(tmp_path / "a.tif"), array)
    with PillowImage.open(tmp_path / "a.tif") as picture:
        assert picture.tag_v2[296] == 3  # per centimetre
        for tag in (282, 283):
            # At 3000 pixels the size of a pixel is exact to a thousandth of one.
            assert abs(10 / float(picture.tag_v2[tag]) / size - 1) * 3000 < 1e-3
    header = read_header(tmp_path / "a.tif")
    assert header.unit == "mm"
    assert header.notes == ()  # the size is meant, nobody has to be warned of it
