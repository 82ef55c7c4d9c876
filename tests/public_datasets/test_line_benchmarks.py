"""FeTA and LFC: measures whose two ends have no names."""

import benchmark_layouts as layouts
import numpy as np
import pytest

from auto_config.bundle_scripts.points.landmarks import ABSENT, PRESENT, UNKNOWN
from auto_config.errors import UserError
from auto_config.public_datasets import feta, lfc
from auto_config.public_datasets.shared.itk_transform import read_transform

# FeTA


def test_feta_ends_are_voxels_in_anatomical_order(tmp_path):
    affine = layouts.feta_case(tmp_path, "sub-001", layouts.FETA_VOXELS)
    # The array order of the ends of HV differs between these cases; the anatomical one does not.
    layouts.feta_case(tmp_path, "sub-018", {**layouts.FETA_VOXELS, 2: [(10, 7, 3), (10, 8, 9)]})
    reading = feta.read(tmp_path)
    assert [(case.name, case.section) for case in reading.cases] == [("sub-001", "training"), ("sub-018", "test")]
    assert reading.names == tuple(f"{name}_{end}" for name in ("LCC", "HV", "bBIP", "sBIP", "TCD") for end in (1, 2))
    first, second = (dict(zip(reading.names, case.landmarks.points, strict=True)) for case in reading.cases)
    np.testing.assert_allclose(first["LCC_1"], layouts.to_world(affine, (10, 5, 8)))  # posterior first
    np.testing.assert_allclose(first["HV_1"], layouts.to_world(affine, (10, 8, 3)))  # inferior first
    np.testing.assert_allclose(second["HV_1"], layouts.to_world(affine, (10, 7, 3)))
    np.testing.assert_allclose(
        first["bBIP_1"], layouts.to_world(affine, (16, 12, 8))
    )  # x of the array runs to the left
    properties = reading.properties
    assert properties.pairs == (("bBIP_1", "bBIP_2"), ("sBIP_1", "sBIP_2"), ("TCD_1", "TCD_2"))
    assert [(one.name, one.kind, one.landmarks) for one in properties.measures][1] == (
        "HV",
        "distance",
        ("HV_1", "HV_2"),
    )
    assert properties.exchangeable == ()
    assert properties.descriptions["HV_1"] == "inferior end of the height of the vermis"
    assert any("HV_1 is the inferior and HV_2 the superior end" in note for note in properties.notes)
    assert len(feta.TEST) == 15


def test_feta_a_lacking_measure_is_absent_and_a_wrong_number_of_voxels_unknown(tmp_path):
    voxels = {**layouts.FETA_VOXELS, 3: [], 4: [(1, 12, 8)], 5: [(5, 6, 4), (14, 6, 4), (9, 9, 9)]}
    layouts.feta_case(tmp_path, "sub-002", voxels)
    reading = feta.read(tmp_path)
    (case,) = reading.cases
    status = [PRESENT] * 4 + [ABSENT] * 2 + [UNKNOWN] * 4
    assert list(case.landmarks.status) == status
    assert [problem.severity for problem in reading.problems] == ["warning", "warning"]
    assert "value 4 (sBIP) has 1 voxel, two were expected" in reading.problems[0].message
    assert "value 5 (TCD) has 3 voxels" in reading.problems[1].message
    assert "sub-002_rec-mial_meas.nii.gz" in reading.problems[0].message


def test_feta_a_transform_leads_from_the_measured_to_the_original_image(tmp_path):
    angle = np.radians(130)
    transform = np.eye(4)
    transform[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    transform[:3, 3] = (3.0, -2.0, 5.0)
    affine = layouts.feta_case(tmp_path, "sub-003", layouts.FETA_VOXELS, transform=transform)
    (case,) = feta.read(tmp_path).cases
    to_lps = np.diag([-1.0, -1.0, 1.0, 1.0])
    measured = layouts.to_world(to_lps @ affine, [(10, 5, 8), (10, 18, 9)])
    expected = layouts.to_world(to_lps, layouts.to_world(transform, measured))
    # Ordered where heads point the same way: posterior first there, whatever the pose in the image.
    np.testing.assert_allclose(case.landmarks.points[:2], expected, atol=1e-6)


def test_feta_subjects_without_measures_or_images(tmp_path):
    layouts.feta_case(tmp_path / "feta_2.4", "sub-001", layouts.FETA_VOXELS)
    layouts.feta_case(tmp_path / "feta_2.4", "sub-005", layouts.FETA_VOXELS, image=False)
    layouts.nifti(tmp_path / "feta_2.4" / "sub-004" / "anat" / "sub-004_rec-mial_T2w.nii.gz")
    reading = feta.read(tmp_path)
    assert [case.name for case in reading.cases] == ["sub-001"]
    assert [one.case for one in reading.missing] == ["sub-005"]
    assert reading.missing[0].path.name == "sub-005_rec-mial_T2w.nii.gz"
    assert any("without a usable label map" in note for note in reading.properties.notes)
    with pytest.raises(UserError, match="holds no FeTA"):
        feta.read(tmp_path / "feta_2.4" / "sub-004")


def test_feta_random_poses_make_the_ends_exchangeable(tmp_path):
    for number, voxels in enumerate(
        [[(2, 12, 8), (18, 12, 8)], [(10, 2, 8), (10, 20, 8)], [(10, 12, 2), (10, 12, 14)]]
    ):
        layouts.feta_case(tmp_path, f"sub-10{number}", {5: voxels})
    properties = feta.read(tmp_path).properties
    assert properties.exchangeable == (("TCD_1", "TCD_2"),)
    assert any("2 of the 3 lines" in note and "exchangeable" in note for note in properties.notes)


def test_transforms_in_text(tmp_path):
    path = tmp_path / "a_trf.txt"
    head = "#Insight Transform File V1.0\n#Transform 0\n"
    path.write_text(
        head + "Transform: AffineTransform_double_3_3\nParameters: 0 -1 0 1 0 0 0 0 1 1 2 3\nFixedParameters: 1 0 0\n"
    )
    # LPS: x -> A (x - c) + c + t.
    np.testing.assert_allclose(layouts.to_world(read_transform(path), (-5.0, -6.0, 7.0)), (4.0, -6.0, 10.0))
    for text in (
        "Transform: BSplineTransform_double_3_3\nParameters: 1\n",
        "",
        "Transform: AffineTransform_double_3_3\nParameters: 1 2\n",
    ):
        path.write_text(head + text)
        with pytest.raises(UserError, match=r"a_trf\.txt"):
            read_transform(path)


# LFC


def test_lfc_files_are_matched_by_name(tmp_path):
    layouts.lfc_case(tmp_path, "train", "1")
    layouts.lfc_case(tmp_path, "train", "2", flip=("HDV", "TCD"))
    layouts.lfc_case(tmp_path, "valid", "3", without=("CBD",))
    layouts.lfc_case(tmp_path, "test", "1")
    folder = tmp_path / "train_label" / "1"
    (folder / "TCD.mrk.json").rename(folder / "00_tcd_line.mrk.json")
    layouts.line_markup(folder / "other.mrk.json", [(0, 0, 0), (1, 1, 1)])
    reading = lfc.read(tmp_path)
    assert {case.name: case.section for case in reading.cases} == {
        "train_1": "training",
        "2": "training",
        "3": "validation",
        "test_1": "test",
    }
    for case in reading.cases:
        for measure, ends in layouts.LFC_RAS.items():
            rows = [reading.names.index(f"{measure}_1"), reading.names.index(f"{measure}_2")]
            if case.name == "3" and measure == "CBD":
                assert list(case.landmarks.status[rows]) == [UNKNOWN, UNKNOWN]
            else:
                np.testing.assert_allclose(case.landmarks.points[rows], ends, atol=1e-9)
    assert "other.mrk.json" in reading.problems[0].message
    assert "has no line of CBD" in reading.problems[1].message
    assert {problem.severity for problem in reading.problems} == {"warning"}
    assert reading.properties.pairs == (("BBD_1", "BBD_2"), ("CBD_1", "CBD_2"), ("TCD_1", "TCD_2"))
    assert len(reading.properties.measures) == 6


def test_lfc_the_coordinate_system_is_the_files(tmp_path):
    layouts.lfc_case(tmp_path, "train", "1")
    layouts.line_markup(tmp_path / "train_label" / "1" / "FOD.mrk.json", layouts.LFC_RAS["FOD"], system="RAS")
    (case,) = lfc.read(tmp_path).cases
    row = case.landmarks.names.index("FOD_1")
    np.testing.assert_allclose(case.landmarks.points[row : row + 2], layouts.LFC_RAS["FOD"], atol=1e-9)


def test_lfc_lines_that_cannot_be_used(tmp_path):
    layouts.lfc_case(tmp_path, "train", "1")
    folder = tmp_path / "train_label" / "1"
    layouts.line_markup(folder / "BBD.mrk.json", [(0, 0, 0)], labels=["a"], statuses=["defined"])
    layouts.line_markup(folder / "ADV.mrk.json", [(0, 0, 0), (1, 1, 1)], statuses=["defined", "undefined"])
    reading = lfc.read(tmp_path)
    (case,) = reading.cases
    assert [name for name, status in zip(reading.names, case.landmarks.status, strict=True) if status == UNKNOWN] == [
        "BBD_1",
        "BBD_2",
        "ADV_1",
        "ADV_2",
    ]
    assert "has 1 placed points" in " ".join(problem.message for problem in reading.problems)
    layouts.line_markup(folder / "second_TCD.mrk.json", [(0, 0, 0), (1, 1, 1)])
    (problem,) = lfc.read(tmp_path).problems
    assert problem.severity == "error"
    assert "a second line of TCD" in problem.message
    with pytest.raises(UserError, match="holds no LFC"):
        lfc.read(folder)
