"""Points that a person set: read from files, and written into a result exactly as given."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from auto_config.bundle_scripts.grid.grids import apply_affine
from auto_config.bundle_scripts.points.landmark_files import LANDMARK_SUFFIXES, read_landmark_file
from auto_config.bundle_scripts.points.landmarks import ABSENT, PRESENT, UNKNOWN, LandmarkFileError, LandmarkSet
from auto_config.errors import UserError

TABLES = (".csv", ".tsv")


def landmark_table(bundle: Path) -> tuple[list[str], int]:
    """Names of the landmarks of a bundle in its order, and the number of their coordinates.

    Raises:
        UserError: no bundle.
    """
    path = bundle / "configs" / "landmarks.json"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return [str(item["name"]) for item in document["landmarks"]], int(document["spatial_dims"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: cannot be read; give a bundle that `auto_config create` wrote") from error


def read_fixed(source: Path, cases: Sequence[str], names: Sequence[str], spatial_dims: int) -> dict[str, LandmarkSet]:
    """The points that a person set, of each case that has some.

    Args:
        source: a landmark file (.mrk.json, .fcsv, .json) for the only case, a folder with a file ``CASE`` + ending for
            each, or a cohort table (.csv, .tsv) with the columns that `predict` writes.
        cases: names of the cases.
        names: landmarks of the bundle, in its order.
        spatial_dims: D.

    Returns:
        Sets with all names in world mm; a name that a file does not have is unknown.

    Raises:
        UserError: no such file, none for any case, a name that the bundle does not know, or a wrong file.
    """
    if not source.exists():
        raise UserError(f"{source}: is not there; give a landmark file, or a folder with one for each case")
    if source.is_dir():
        files = {case: [source / f"{case}{end}" for end in LANDMARK_SUFFIXES] for case in cases}
        there = {case: [path for path in paths if path.is_file()] for case, paths in files.items()}
        if several := next((paths for paths in there.values() if len(paths) > 1), None):
            raise UserError(f"{several[0]}: {several[1].name} is there as well; keep one of them")
        found = {case: _of_file(paths[0], names, spatial_dims) for case, paths in there.items() if paths}
        if not found:
            raise UserError(
                f"{source}: has a landmark file for none of the {len(cases)} cases, such as {cases[0]}.mrk.json; "
                f"allowed endings are {', '.join(LANDMARK_SUFFIXES)}"
            )
        return found
    if source.suffix.lower() in TABLES:
        return _of_table(source, cases, names, spatial_dims)
    if len(cases) > 1:
        raise UserError(
            f"{source}: is one landmark file for {len(cases)} images; give a folder with a file for each, or one image"
        )
    return {cases[0]: _of_file(source, names, spatial_dims)}


def _of_file(path: Path, names: Sequence[str], spatial_dims: int) -> LandmarkSet:
    try:
        read = read_landmark_file(path, spatial_dims=spatial_dims, names=names)
    except LandmarkFileError as error:
        raise UserError(str(error)) from error
    return _ordered(read, names, path)


def _of_table(path: Path, cases: Sequence[str], names: Sequence[str], spatial_dims: int) -> dict[str, LandmarkSet]:
    """The cases of a long table whose columns are those of ``predictions.csv``."""
    from auto_config.datasets.formats.shared.tables import read_table

    header, lines = read_table(path)
    axes = ["x_ras_mm", "y_ras_mm", "z_ras_mm"] if spatial_dims == 3 else ["x_mm", "y_mm"]
    if missing := [column for column in ("case", "landmark", *axes) if column not in header]:
        raise UserError(f"{path}: has no column '{missing[0]}'; needed are {', '.join(('case', 'landmark', *axes))}")
    points: dict[str, dict[str, tuple[list[float], int]]] = {}
    for number, cells in lines:
        row = dict(zip(header, cells, strict=False))
        case, name = row["case"].strip(), row["landmark"].strip()
        if case not in cases:
            continue
        if name in points.setdefault(case, {}):
            raise UserError(f"{path}: line {number} has '{name}' of '{case}' again; remove one of them")
        texts = [(row.get(axis) or "").strip() for axis in axes]
        absent = (row.get("present") or "1").strip() == "0" or (row.get("status") or "").strip() == "absent"
        try:
            world = [np.nan] * spatial_dims if absent or not any(texts) else [float(text) for text in texts]
        except ValueError as error:
            raise UserError(f"{path}: line {number}: {error}; give numbers in mm") from error
        known = bool(np.isfinite(world).all())
        points[case][name] = (world, ABSENT if absent else PRESENT if known else UNKNOWN)
    if not points:
        raise UserError(f"{path}: has a line for none of the cases {', '.join(cases[:3])}; compare its column 'case'")
    return {
        case: _ordered(
            LandmarkSet.from_rows(list(rows), np.array([p for p, _ in rows.values()]), [s for _, s in rows.values()]),
            names,
            path,
        )
        for case, rows in points.items()
    }


def _ordered(read: LandmarkSet, names: Sequence[str], path: Path) -> LandmarkSet:
    unknown = [name for name in read.names if name not in names]
    if unknown:
        raise UserError(
            f"{path}: has a point '{unknown[0]}', which is none of the bundle's landmarks {', '.join(names)}; rename "
            "or remove it"
        )
    return read.ordered(names)


def with_fixed(
    landmarks: Sequence[dict[str, Any]],
    names: Sequence[str],
    points: np.ndarray,
    status: np.ndarray,
    original: np.ndarray,
) -> list[dict[str, Any]]:
    """Landmarks of a ``result`` with those of a person exactly as given.

    Args:
        landmarks: ``result["landmarks"]``, one for each name.
        names: landmarks of the bundle.
        points: (L, D) world mm, NaN where a person set none.
        status: (L,) 1 present, 0 absent, -1 where the person says nothing.
        original: (D+1, D+1) voxel of the image file to world mm.
    """
    voxels = apply_affine(np.linalg.inv(original), points)
    out = []
    for item in landmarks:
        i = names.index(item["name"])
        if status[i] == UNKNOWN:
            out.append(item)
            continue
        certain: dict[str, Any] = {
            "fixed": True,
            "confidence": 1.0 if status[i] == PRESENT else 0.0,
            "present": int(status[i] == PRESENT),
            "radius_mm": None,
            "ellipsoid_mm2": None,
            "disagreement_mm": None,
            "replaced": False,
            "implausible": None,
        }
        if status[i] == PRESENT:
            dims = points.shape[1]
            certain |= {"world": [float(x) for x in points[i]], "voxel": [float(x) for x in voxels[i]]}
            certain |= {"spread_mm": 0.0, "covariance_mm2": [[0.0] * dims for _ in range(dims)]}
        out.append({**item, **certain})
    return out
