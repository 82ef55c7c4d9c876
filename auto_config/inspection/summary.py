"""What a data set is, in a dozen lines: format, counts, what is declared, and the grids of its images."""

from __future__ import annotations

from collections.abc import Sequence

import nibabel as nib
import numpy as np

from auto_config.bundle_scripts.points.landmarks import ABSENT, PRESENT, UNKNOWN
from auto_config.datasets.images import Header
from auto_config.datasets.model.dataset import Case, Dataset
from auto_config.datasets.model.names import sided_pairs
from auto_config.datasets.model.units import unit_of
from auto_config.inspection.cases import CaseReport
from auto_config.wording import counted, shortened

_STATUS_WORDS = ((PRESENT, "present"), (ABSENT, "absent"), (UNKNOWN, "unknown"))


def summarize(dataset: Dataset, reports: Sequence[CaseReport]) -> list[tuple[str, str]]:
    """Say what the data set is.

    Returns:
        Titles and one line of text for each.
    """
    tests = sum(case.split == "test" for case in dataset.cases)
    lines = [
        ("data set", str(dataset.source)),
        ("format", dataset.format),
        ("cases", f"{len(dataset.cases)}" + (f", {tests} of them marked as test" if tests else "")),
        ("landmarks", f"{len(dataset.names)}: {shortened(dataset.names)}"),
    ]
    status = [found.case.landmarks.status for found in reports if found.case.landmarks is not None]
    if status:
        table = np.stack(status)
        counts = [f"{np.count_nonzero(table == value)} {word}" for value, word in _STATUS_WORDS]
        lines.append(("points", ", ".join(counts)))
        if nothing := [
            found.case.name
            for found in reports
            if found.case.landmarks is not None
            and len(found.case.landmarks)
            and (found.case.landmarks.status == ABSENT).all()
        ]:
            lines.append(("hold nothing", f"{counted(len(nothing), 'case')}, all absent: {shortened(nothing)}"))
    lines += _summarize_declared(dataset, [found.case for found in reports])
    return lines + _summarize_headers([found.header for found in reports if found.header is not None])


def _summarize_declared(dataset: Dataset, cases: Sequence[Case]) -> list[tuple[str, str]]:
    """What is declared about the landmarks, and the pairs that names say where nothing is."""
    names, properties = dataset.names, dataset.properties
    pairs, _ = sided_pairs(names, properties.pairs)
    how = "by name" if properties.pairs is None else "declared"
    shown = [f"{names[left]} | {names[right]}" for left, right in pairs]
    lines = [("left-right pairs", f"{len(pairs)} {how}" + (f": {shortened(shown)}" if pairs else ""))]
    if properties.exchangeable:
        shown = [f"{one} | {other}" for one, other in properties.exchangeable]
        lines.append(("exchangeable", f"{counted(len(shown), 'pair')}: {shortened(shown)}"))
    if properties.many:
        sets = [case.landmarks.instances for case in cases if case.landmarks is not None]
        shown = []
        for name in properties.many:
            counts = [len(instances[name]) for instances in sets if name in instances]
            per_case = _range(np.array(counts)) if counts else ""
            how_many = f": {counted(sum(counts), 'point')}, {per_case} in a case" if counts else ""
            shown.append(name + how_many)
        lines.append(("many", shortened(shown)))
    if properties.measures:
        shown = [f"{measure.name} ({measure.kind})" for measure in properties.measures]
        lines.append(("measures", shortened(shown)))
    raters = sorted({rater for case in cases for rater in case.raters})
    if raters:
        lines.append(("raters", f"{len(raters)}: {shortened(raters)}"))
    return lines


def _summarize_headers(headers: Sequence[Header]) -> list[tuple[str, str]]:
    headers = [header for header in headers if np.isfinite(header.affine).all()]
    dims = len(headers[0].shape) if headers else 0
    headers = [header for header in headers if len(header.shape) == dims]
    if not headers:
        return []
    spacings = np.array([sorted(header.spacing) for header in headers])
    extents = np.array([np.array(header.shape) * header.spacing for header in headers])
    shapes = np.array([header.shape for header in headers])
    orientations: dict[str, int] = {}
    for header in headers if dims == 3 else []:
        codes = "".join(code or "?" for code in nib.aff2axcodes(header.affine))
        orientations[codes] = orientations.get(codes, 0) + 1
    units = sorted({header.unit for header in headers})
    kinds = sorted({header.dtype for header in headers})
    channels = sorted({header.channels for header in headers})
    ratio = (spacings[:, -1] / spacings[:, 0]).max() if spacings.min() > 0 else np.inf
    seen = f"{', '.join(map(str, channels))}; {', '.join(kinds)}"
    if dims == 2:
        return _summarize_pictures(headers, shapes, extents, seen)
    return [
        ("units", f"{', '.join(units)} in the headers; points and sizes are taken as mm"),
        ("spacing", f"{_range(spacings.ravel())} mm, slices up to {ratio:.2g} times as thick as pixels are wide"),
        ("shape", f"{_range(shapes)} voxels, in the order of the files"),
        ("extent", f"{_range(extents)} mm"),
        ("orientation", ", ".join(f"{codes} {count}" for codes, count in sorted(orientations.items()))),
        ("channels", seen),
    ]


def _summarize_pictures(
    headers: Sequence[Header], shapes: np.ndarray, extents: np.ndarray, channels: str
) -> list[tuple[str, str]]:
    """The same for pictures: ``shapes`` (N, 2) in pixels, ``extents`` (N, 2) in the unit of the headers."""
    unit = unit_of(headers)
    spacings = np.array([header.spacing for header in headers])
    size = "not known: sizes and errors are in pixels; --pixel_spacing MM gives it"
    if unit == "mm":
        size = f"{_range(spacings.ravel())} mm"
    lines = [
        ("unit", unit),
        ("pixel size", size),
        ("shape", f"{_range(shapes)} pixels (x, y)"),
        ("channels", channels),
    ]
    if unit == "mm":
        lines.insert(3, ("extent", f"{_range(extents)} mm"))
    return lines


def _range(values: np.ndarray) -> str:
    """The least and the largest of (N,) numbers or (N, D) sizes; one where both are written alike."""
    ends = [_box(np.atleast_1d(end)) for end in (values.min(axis=0), values.max(axis=0))]
    return " to ".join(dict.fromkeys(ends))


def _box(sizes: np.ndarray) -> str:
    return " x ".join(f"{size:.4g}" for size in sizes)
