"""Reports and segmentations of landmarks: there and back, in the right place, for one's own and for other readers."""

import highdicom as hd
import numpy as np
import pydicom
import pytest
from ct_series import COLUMNS, ROWS, SLICES, copied, lps, make_series, ras
from landmark_app.lib.dicom.dicom_objects import (
    is_landmark_report,
    read_report,
    worst_verdict,
    write_balls,
    write_report,
)
from landmark_app.lib.dicom.dicom_series import read_slices, series_grid
from landmark_app.lib.labels.label_map_form import shown_point

from auto_config.bundle_scripts.points.landmarks import ABSENT, PRESENT, UNKNOWN, LandmarkSet

NAMES = ("Nasenrücken", "AC", "missing one", "unknown one", "外鼻")
POINTS = np.array([ras(5.3, 6.7, 4.1), ras(15.25, 10.5, 8.75), [np.nan] * 3, [np.nan] * 3, ras(20, 15, 2)])
STATUS = np.array([PRESENT, PRESENT, ABSENT, UNKNOWN, PRESENT])
LANDMARKS = LandmarkSet(NAMES, POINTS, STATUS)


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    folder = tmp_path_factory.mktemp("series")
    instances = make_series()
    for k in np.random.default_rng(0).permutation(len(instances)):
        instances[k].save_as(folder / f"{len(list(folder.iterdir()))}.dcm", write_like_original=False)
    (folder / "notes.txt").write_text("no DICOM")
    return folder


def test_the_grid_of_a_series(series):
    slices = read_slices(series)
    assert [one.InstanceNumber for one in slices] == list(range(1, SLICES + 1))
    grid = series_grid(slices)
    assert grid.shape == (COLUMNS, ROWS, SLICES)
    for voxel in [(0, 0, 0), (23, 0, 0), (0, 19, 0), (3, 4, 11)]:
        np.testing.assert_allclose(grid.affine[:3] @ [*voxel, 1.0], ras(*voxel), atol=1e-9)


def test_a_report_comes_back(series):
    slices = read_slices(series)
    report = write_report(
        LANDMARKS, slices, confidence={"AC": 0.123456, "missing one": 0.05}, radius_mm={"AC": 2.75, "外鼻": 4.0}
    )
    back = read_report(copied(report))
    assert set(back.landmarks.names) == set(NAMES)
    ordered = back.landmarks.ordered(NAMES)
    np.testing.assert_array_equal(ordered.status, STATUS)
    np.testing.assert_allclose(ordered.points, POINTS, atol=1e-3)
    assert back.confidence == pytest.approx({"AC": 0.123456, "missing one": 0.05})
    assert back.radius_mm == pytest.approx({"AC": 2.75, "外鼻": 4.0})
    assert back.series == slices[0].SeriesInstanceUID
    assert len(back.written) >= 14


def test_the_verdict_of_the_model_is_in_the_report(series):
    slices = read_slices(series)
    verdict = {"AC": "check", "missing one": "failed", "外鼻": "ok"}
    report = copied(write_report(LANDMARKS, slices, confidence={}, radius_mm={}, verdict=verdict))
    assert read_report(report).verdict == verdict
    assert read_report(copied(write_report(LANDMARKS, slices, confidence={}, radius_mm={}))).verdict == {}
    # Another reader sees a coded evaluation with its meaning.
    groups = hd.sr.Comprehensive3DSR.from_dataset(report).content.get_planar_roi_measurement_groups()
    said = {str(group.tracking_identifier): group.get_qualitative_evaluations() for group in groups}
    assert [(item.name.meaning, item.value.meaning) for item in said["AC"]] == [
        ("Presence of the landmark", "Present"),
        ("Verdict of the model on the image", "Look at the points"),
    ]
    assert len(said["Nasenrücken"]) == 1


@pytest.mark.parametrize(
    ("verdicts", "worst", "shown"),
    [
        ([], "", "Landmarks (balls)"),
        (["ok", "ok"], "ok", "Landmarks (balls)"),
        (["ok", "check", "ok"], "check", "Landmarks (balls), case to check"),
        (["failed", "check"], "failed", "Landmarks (balls), model failed"),
        (["something new"], "", "Landmarks (balls)"),
    ],
)
def test_the_verdict_stands_where_ohif_shows_it(series, verdicts, worst, shown):
    assert worst_verdict(verdicts) == worst
    assert write_balls(LANDMARKS, read_slices(series), 3.0, verdict=worst).SeriesDescription == shown


def test_the_report_says_what_the_standard_asks(series):
    slices = read_slices(series)
    report = copied(write_report(LANDMARKS, slices, confidence={}, radius_mm={}))
    assert report.SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.34"  # Comprehensive 3D SR
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    assert report.StudyInstanceUID == slices[0].StudyInstanceUID
    assert report.SeriesInstanceUID != slices[0].SeriesInstanceUID
    assert str(report.PatientName) == "Müller^Äpfel"
    assert report.CompletionFlag == "COMPLETE"
    referenced = {
        item.ReferencedSOPInstanceUID
        for study in report.CurrentRequestedProcedureEvidenceSequence
        for one in study.ReferencedSeriesSequence
        for item in one.ReferencedSOPSequence
    }
    assert referenced == {one.SOPInstanceUID for one in slices}
    # Another reader, which knows nothing of ours, finds the points where they are in the patient.
    content = hd.sr.Comprehensive3DSR.from_dataset(report).content
    groups = content.get_planar_roi_measurement_groups(graphic_type=hd.sr.GraphicTypeValues3D.POINT)
    assert [str(group.tracking_identifier) for group in groups] == ["Nasenrücken", "AC", "外鼻"]
    np.testing.assert_allclose(groups[1].roi.value[0], lps(15.25, 10.5, 8.75), atol=1e-3)
    assert groups[0].roi.frame_of_reference_uid == slices[0].FrameOfReferenceUID


def test_only_ones_own_reports_are_read(series):
    slices = read_slices(series)
    report = copied(write_report(LANDMARKS, slices, confidence={}, radius_mm={}))
    assert is_landmark_report(report)
    report.ManufacturerModelName = "other"
    assert not is_landmark_report(report)
    with pytest.raises(ValueError, match="no report of landmarks"):
        read_report(report)
    broken = copied(write_report(LANDMARKS, slices, confidence={}, radius_mm={}))
    del broken.ContentSequence
    with pytest.raises(ValueError, match="damaged"):
        read_report(broken)


def test_balls_lie_around_the_points(series):
    slices = read_slices(series)
    segmentation = copied(write_balls(LANDMARKS, slices, 4.0))
    assert segmentation.SOPClassUID == "1.2.840.10008.5.1.4.1.1.66.4"  # Segmentation Storage, which OHIF 3.10 reads
    assert segmentation.SegmentationType == "BINARY"
    assert [segment.SegmentLabel for segment in segmentation.SegmentSequence] == ["Nasenrücken", "AC", "外鼻"]
    # OHIF reads names in any script only with this in each item.
    assert all(segment.SpecificCharacterSet == "ISO_IR 192" for segment in segmentation.SegmentSequence)
    assert [segment.SegmentNumber for segment in segmentation.SegmentSequence] == [1, 2, 3]
    assert all("RecommendedDisplayCIELabValue" in segment for segment in segmentation.SegmentSequence)
    read = hd.seg.Segmentation.from_dataset(segmentation)
    uids = [one.SOPInstanceUID for one in slices]
    voxels = read.get_pixels_by_source_instance(uids, assert_missing_frames_are_empty=True)
    assert voxels.shape == (SLICES, ROWS, COLUMNS, 3)
    grid = series_grid(slices)
    for k, row in enumerate((0, 1, 4)):
        number, y, x = np.argwhere(voxels[..., k]).T
        world = np.stack([x, y, number], axis=1) @ grid.affine[:3, :3].T + grid.affine[:3, 3]
        distance = np.linalg.norm(world - POINTS[row], axis=1)
        assert distance.max() <= 4.0, shown_point(POINTS[row])
        assert np.linalg.norm(world.mean(axis=0) - POINTS[row]) < 1.0


def test_no_ball_no_segmentation(series):
    slices = read_slices(series)
    nobody = LandmarkSet(("AC",), np.full((1, 3), np.nan), np.array([ABSENT]))
    assert write_balls(nobody, slices, 4.0) is None
    report = read_report(copied(write_report(nobody, slices, confidence={}, radius_mm={})))
    assert report.landmarks == nobody


def test_series_that_cannot_be_used(tmp_path):
    with pytest.raises(ValueError, match="no slice"):
        read_slices(tmp_path)
    for k, one in enumerate(make_series(slices=2)):
        one.ImagePositionPatient = lps(0, 0, 1).tolist()
        one.save_as(tmp_path / f"{k}.dcm", write_like_original=False)
    with pytest.raises(ValueError, match="one place"):
        read_slices(tmp_path)
    one = pydicom.dcmread(tmp_path / "0.dcm")
    one.Rows = 5
    one.save_as(tmp_path / "0.dcm")
    with pytest.raises(ValueError, match="different sizes"):
        read_slices(tmp_path)


def test_a_series_of_one_slice(tmp_path):
    make_series(slices=1)[0].save_as(tmp_path / "0.dcm", write_like_original=False)
    grid = series_grid(read_slices(tmp_path))
    np.testing.assert_allclose(grid.affine[:3] @ [2, 3, 0, 1.0], ras(2, 3, 0), atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(grid.affine[:3, 2]), 2.5)
