"""Landmarks as DICOM objects: a structured report (SR, TID 1500) and a segmentation (SEG) of balls, both by highdicom.

The report is the label: each landmark is a measurement group with its name as tracking identifier, its presence, its
confidence, its radius, the verdict of the model on the image where the point is the model's, and, where it is present,
its point as a 3D region (SCOORD3D, LPS mm, in the frame of reference of the series). A landmark with several instances
has as many groups of its name. The segmentation is for viewers that show no points.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from auto_config import __version__
from auto_config.bundle_scripts.grid.label_map import draw_balls
from auto_config.bundle_scripts.points.landmarks import ABSENT, PRESENT, UNKNOWN, LandmarkSet, duplicate_names

from .dicom_series import series_grid

MANUFACTURER = "landmark-bundles"
SERIES_DESCRIPTION = "Landmarks"
"""Of the reports; `is_landmark_report` knows them by it and by the maker."""

_SCHEME = "99LANDMARKS"  # codes of one's own begin with 99
_LANDMARK = hd.sr.CodedConcept("landmark", _SCHEME, "Anatomical landmark")
_PRESENCE = hd.sr.CodedConcept("presence", _SCHEME, "Presence of the landmark")
_CONFIDENCE = hd.sr.CodedConcept("confidence", _SCHEME, "Confidence of the model")
_RADIUS = hd.sr.CodedConcept("radius", _SCHEME, "Radius around the point that holds the landmark")
_VERDICT = hd.sr.CodedConcept("verdict", _SCHEME, "Verdict of the model on the image")
_VERDICTS = {
    "ok": hd.sr.CodedConcept("ok", _SCHEME, "Like the cases that the model was calibrated on"),
    "check": hd.sr.CodedConcept("check", _SCHEME, "Look at the points"),
    "failed": hd.sr.CodedConcept("failed", _SCHEME, "Points of the model are not to be trusted"),
}
"""Of a model on an image, from the best to the worst."""
_BALLS_SAID = {"check": ", case to check", "failed": ", model failed"}
_STATUS = {PRESENT: codes.SCT.Present, ABSENT: codes.SCT.Absent, UNKNOWN: codes.SCT.Unknown}
_IMAGING = hd.sr.CodedConcept("363679005", "SCT", "Imaging procedure")
_STRUCTURE = hd.sr.CodedConcept("123037004", "SCT", "Anatomical structure")
_RAS_LPS = np.array([-1.0, -1.0, 1.0])
_UTF8 = "ISO_IR 192"


@dataclass(frozen=True, eq=False)
class LandmarkReport:
    """What is in a report.

    Args:
        landmarks: World RAS mm.
        confidence: By name, only of landmarks that have one.
        radius_mm: By name, only of landmarks that have one.
        series: Series Instance UID of the image.
        written: Date and time of its content, sortable text.
        verdict: Of the model on the image, by name, only of landmarks whose point is the model's.
    """

    landmarks: LandmarkSet
    confidence: Mapping[str, float] = field(default_factory=dict)
    radius_mm: Mapping[str, float] = field(default_factory=dict)
    series: str = ""
    written: str = ""
    verdict: Mapping[str, str] = field(default_factory=dict)


def write_report(
    landmarks: LandmarkSet,
    slices: Sequence[Dataset],
    *,
    confidence: Mapping[str, float],
    radius_mm: Mapping[str, float],
    verdict: Mapping[str, str] | None = None,
) -> hd.sr.Comprehensive3DSR:
    """Make the report of an image's landmarks.

    Args:
        landmarks: World RAS mm.
        slices: The slices of the image's series (`read_slices`), which the report refers to.
        confidence: 0 to 1 by name, of those that have one.
        radius_mm: mm by name, of those that have one.
        verdict: ``ok``, ``check`` or ``failed`` of the model on the image, by name, of those whose point is its own.

    Returns:
        The report, in the study of the image and in a series of its own.
    """
    frame = str(slices[0].FrameOfReferenceUID)
    groups = [
        _group(
            name,
            point,
            status,
            frame,
            confidence=confidence.get(name),
            radius_mm=radius_mm.get(name),
            verdict=(verdict or {}).get(name),
        )
        for name, point, status in _named_rows(landmarks)
    ]
    device = hd.sr.DeviceObserverIdentifyingAttributes(uid=hd.UID(), name=MANUFACTURER, manufacturer_name=MANUFACTURER)
    observer = hd.sr.ObserverContext(codes.DCM.Device, device)
    content = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_device_context=observer),
        procedure_reported=_IMAGING,
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
        referenced_images=_with_distances(slices),
    )
    report = hd.sr.Comprehensive3DSR(
        evidence=list(slices),
        content=content[0],
        series_instance_uid=hd.UID(),
        series_number=900,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer=MANUFACTURER,
        is_complete=True,
    )
    report.ManufacturerModelName = MANUFACTURER
    report.SoftwareVersions = __version__
    report.SeriesDescription = SERIES_DESCRIPTION
    report.SpecificCharacterSet = _UTF8  # names of landmarks may be in any script
    return report


def is_landmark_report(dataset: Dataset) -> bool:
    """Whether a dataset is a report of `write_report`."""
    return dataset.get("Modality") == "SR" and dataset.get("ManufacturerModelName") == MANUFACTURER


def read_report(dataset: Dataset) -> LandmarkReport:
    """Read a report of `write_report`.

    Raises:
        ValueError: Another dataset, or one that is damaged.
    """
    if not is_landmark_report(dataset):
        raise ValueError("the dataset is no report of landmarks")
    try:
        content = hd.sr.Comprehensive3DSR.from_dataset(dataset).content
        groups = [*content.get_planar_roi_measurement_groups(), *content.get_image_measurement_groups()]
        rows = [_row(group) for group in groups]
        series = _source_series(dataset)
    except (AttributeError, KeyError, IndexError, TypeError, RuntimeError, ValueError, StopIteration) as error:
        raise ValueError(f"the report of landmarks is damaged ({error})") from error
    names = [row[0] for row in rows]
    points = np.array([row[1] for row in rows]).reshape(len(rows), 3)
    landmarks = LandmarkSet.from_rows(names, points, [row[2] for row in rows], duplicate_names(names))
    return LandmarkReport(
        landmarks=landmarks,
        confidence={row[0]: row[3][_CONFIDENCE.value] for row in rows if _CONFIDENCE.value in row[3]},
        radius_mm={row[0]: row[3][_RADIUS.value] for row in rows if _RADIUS.value in row[3]},
        series=series,
        written=f"{dataset.get('ContentDate', '')}{dataset.get('ContentTime', '')}",
        verdict={row[0]: row[4] for row in rows if row[4]},
    )


def worst_verdict(verdicts: Iterable[str]) -> str:
    """The worst of some verdicts, or nothing where there is none."""
    order = list(_VERDICTS)
    return max((one for one in verdicts if one in order), key=order.index, default="")


def write_balls(
    landmarks: LandmarkSet, slices: Sequence[Dataset], radius_mm: float, *, verdict: str = ""
) -> hd.seg.Segmentation | None:
    """Make a segmentation of balls around the landmarks that are present.

    Binary segments, one for each landmark with all of its instances, which OHIF 3.10 and other viewers of today read;
    frames without any voxel are left out, as the standard allows.

    Args:
        landmarks: World RAS mm.
        slices: The slices of the image's series (`read_slices`).
        radius_mm: Radius of the balls in mm.
        verdict: Of the model on the image, where points of it are among them; ``check`` and ``failed`` stand in the
            description of the series, which is all that OHIF shows of such a thing.

    Returns:
        The segmentation, in the study of the image and in a series of its own; None where no ball lies in the image.
    """
    grid = series_grid(list(slices))
    rows = landmarks.rows()
    points = np.array([point for _, point, _ in rows]).reshape(-1, 3)
    values = np.array([index + 1 for index, *_ in rows])
    labels = draw_balls(points, grid.shape, grid.affine, radius_mm, values)
    shown = [k for k in range(len(landmarks)) if (labels == k + 1).any()]
    if not shown:
        return None
    # Segments are numbered 1..n without gaps.
    numbers = np.zeros(len(landmarks) + 1, dtype=labels.dtype)
    numbers[np.array(shown) + 1] = np.arange(1, len(shown) + 1)
    algorithm = hd.AlgorithmIdentificationSequence(
        name=MANUFACTURER, family=codes.DCM.ArtificialIntelligence, version=__version__
    )
    segments = [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=_short(landmarks.names[k]),
            segmented_property_category=_STRUCTURE,
            segmented_property_type=_LANDMARK,
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.SEMIAUTOMATIC,
            algorithm_identification=algorithm,
            tracking_uid=hd.UID(),
            tracking_id=_short(landmarks.names[k]),
        )
        for number, k in enumerate(shown, start=1)
    ]
    for segment, turn in zip(segments, np.arange(len(shown)) / len(shown) * 2 * np.pi, strict=True):
        color = hd.color.CIELabColor(65.0, 60.0 * float(np.cos(turn)), 60.0 * float(np.sin(turn)))
        segment.RecommendedDisplayCIELabValue = list(color.value)
        # OHIF 3.10 does not take the character set of the whole for what is in a sequence.
        segment.SpecificCharacterSet = _UTF8
    segmentation = hd.seg.Segmentation(
        source_images=list(slices),
        pixel_array=numbers[labels].transpose(2, 1, 0),  # (slices, rows, columns)
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=segments,
        series_instance_uid=hd.UID(),
        series_number=901,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=MANUFACTURER,
        software_versions=__version__,
        device_serial_number="0",
        content_label="LANDMARKS",
        content_description="Balls around landmarks",
    )
    segmentation.SeriesDescription = f"{SERIES_DESCRIPTION} (balls){_BALLS_SAID.get(verdict, '')}"
    segmentation.SpecificCharacterSet = _UTF8
    return segmentation


def _with_distances(slices: Sequence[Dataset]) -> list[Dataset]:
    """The slices with their distance and thickness, which highdicom lists of each image and many series leave out."""
    distance = float(np.linalg.norm(series_grid(list(slices)).affine[:3, 2]))
    filled = []
    for one in slices:
        shallow = copy.copy(one)
        shallow.SpacingBetweenSlices = one.get("SpacingBetweenSlices") or distance
        shallow.SliceThickness = one.get("SliceThickness") or distance
        filled.append(shallow)
    return filled


def _named_rows(landmarks: LandmarkSet) -> list[tuple[str, np.ndarray, int]]:
    """Name, point (RAS mm, NaN where not present) and status of each landmark, or of each of its instances."""
    return [(landmarks.names[index], point, status) for index, point, status in landmarks.rows()]


def _group(
    name: str,
    point: np.ndarray,
    status: int,
    frame: str,
    *,
    confidence: float | None,
    radius_mm: float | None,
    verdict: str | None,
) -> hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations | hd.sr.MeasurementsAndQualitativeEvaluations:
    """The measurement group of a landmark."""
    measurements = []
    if confidence is not None:
        measurements.append(hd.sr.Measurement(_CONFIDENCE, float(confidence), codes.UCUM.NoUnits))
    if radius_mm is not None:
        measurements.append(hd.sr.Measurement(_RADIUS, float(radius_mm), codes.UCUM.Millimeter))
    evaluations = [hd.sr.QualitativeEvaluation(_PRESENCE, _STATUS[status])]
    if verdict in _VERDICTS:
        evaluations.append(hd.sr.QualitativeEvaluation(_VERDICT, _VERDICTS[verdict]))
    common = {
        "tracking_identifier": hd.sr.TrackingIdentifier(uid=hd.UID(), identifier=name),
        "finding_type": _LANDMARK,
        "measurements": measurements,
        "qualitative_evaluations": evaluations,
    }
    if status != PRESENT:
        return hd.sr.MeasurementsAndQualitativeEvaluations(**common)
    region = hd.sr.ImageRegion3D(hd.sr.GraphicTypeValues3D.POINT, (point * _RAS_LPS)[None], frame)
    return hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations(referenced_region=region, **common)


def _row(
    group: hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations | hd.sr.MeasurementsAndQualitativeEvaluations,
) -> tuple[str, np.ndarray, int, dict[str, float], str]:
    """Name, point (RAS mm, NaN where not present), status, numbers and verdict (or nothing) of a measurement group."""
    evaluations = {item.name.value: item.value for item in group.get_qualitative_evaluations()}
    status = next(status for status, code in _STATUS.items() if code.value == evaluations[_PRESENCE.value].value)
    point = np.full(3, np.nan)
    if status == PRESENT:
        point = np.asarray(group.roi.value, dtype=np.float64).reshape(3) * _RAS_LPS
    numbers = {item.name.value: float(item.value) for item in group.get_measurements()}
    said = evaluations.get(_VERDICT.value)
    verdict = said.value if said is not None and said.value in _VERDICTS else ""
    return str(group.tracking_identifier), point, status, numbers, verdict


def _source_series(dataset: Dataset) -> str:
    """Series Instance UID of the images that the report is about."""
    for keyword in ("CurrentRequestedProcedureEvidenceSequence", "PertinentOtherEvidenceSequence"):
        for study in dataset.get(keyword) or []:
            for series in study.ReferencedSeriesSequence:
                return str(series.SeriesInstanceUID)
    raise KeyError("no referenced series")


def _short(name: str) -> str:
    r"""A name for a field of DICOM of at most 64 characters, in which ``\`` would separate values."""
    return name.replace("\\", "/")[:64]
