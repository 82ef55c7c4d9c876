"""What a PACS keeps of landmarks, read by the letters of the DICOM standard and not by the code that wrote it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from pydicom.dataset import Dataset

MEASUREMENT_GROUP, TRACKING_IDENTIFIER = "125007", "112039"


def report_points(report: Dataset) -> dict[str, np.ndarray]:
    """(3,) LPS mm by name of the points in a structured report (TID 1500)."""
    points = {}
    for group in _items(report):
        if _code(group) == MEASUREMENT_GROUP:
            content = list(_items(group))
            [name] = [item.TextValue for item in content if _code(item) == TRACKING_IDENTIFIER]
            for item in content:
                if item.ValueType == "SCOORD3D":
                    assert item.GraphicType == "POINT"
                    points[name] = np.array(item.GraphicData, dtype=float)
    return points


def segment_middles(segmentation: Dataset) -> dict[str, np.ndarray]:
    """(3,) LPS mm by label of the middle of each segment's voxels."""
    labels = {one.SegmentNumber: one.SegmentLabel for one in segmentation.SegmentSequence}
    shared = segmentation.SharedFunctionalGroupsSequence[0]
    directions = np.reshape(shared.PlaneOrientationSequence[0].ImageOrientationPatient, (2, 3)).astype(float)
    down, right = (float(size) for size in shared.PixelMeasuresSequence[0].PixelSpacing)
    pixels = segmentation.pixel_array.reshape(-1, segmentation.Rows, segmentation.Columns)
    voxels: dict[str, list[np.ndarray]] = {label: [] for label in labels.values()}
    for frame, plane in zip(segmentation.PerFrameFunctionalGroupsSequence, pixels, strict=True):
        rows, columns = np.nonzero(plane)
        steps = np.stack([columns * right, rows * down], axis=1)
        origin = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, dtype=float)
        label = labels[frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber]
        voxels[label].append(origin + steps @ directions)
    return {label: np.concatenate(found).mean(axis=0) for label, found in voxels.items()}


def _items(dataset: Dataset) -> Iterator[Dataset]:
    for item in dataset.get("ContentSequence", []):
        yield item
        yield from _items(item)


def _code(item: Dataset) -> str:
    return item.ConceptNameCodeSequence[0].CodeValue if "ConceptNameCodeSequence" in item else ""
