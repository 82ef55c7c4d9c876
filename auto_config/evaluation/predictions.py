"""Read what `predict` wrote: ``predictions.csv``, and of ``run.json`` what the baseline needs."""

from __future__ import annotations

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from auto_config.bundle_scripts.points.landmark_text import read_text
from auto_config.bundle_scripts.points.landmarks import LandmarkFileError
from auto_config.errors import UserError

WORLD_COLUMNS = {3: ("x_ras_mm", "y_ras_mm", "z_ras_mm"), 2: ("x_mm", "y_mm")}
PIXEL_COLUMNS = ("x_px", "y_px")
"""Columns of pictures whose pixel size nobody knows: the columns in mm are empty then."""


EXCHANGED = (
    "the first argument is what `auto_config predict` wrote, the second the true landmarks; if they are exchanged, "
    "turn them around"
)


@dataclass(frozen=True)
class Predictions:
    """The predictions of a folder.

    Attributes:
        names: landmark names in the order of the table.
        cases: case names in the order of the table.
        points: (N, L, D) world mm.
        present: (N, L) whether the model calls the landmark present.
        failed: reason for each case that could not be predicted.
        training_cases: names of cases that the bundle was trained on, as far as the run says so.
        mean_shape: (L, D) training mean of point minus image centre in mm, NaN where not known.
        centers: (N, D) image centres in world mm, NaN where not known.
        bundle: name and version of the bundle, ``""`` where not known.
        unit: ``"px"`` where points are in pixels, because the pixel size is not known; all lengths are then in pixels.
        instances: for each landmark with many instances, for each case, those that the model calls present (K, D).
        instance_covariance: the same for (K, D, D) mm² of the heatmaps, NaN where not known.
        confidence: (N, L) probability of presence, NaN where the table has none.
        radius: (N, L) mm of the regions, NaN where there is none.
        covariance: (N, L, D, D) mm² of the heatmaps, NaN where not known.
        implausible: (N, L) whether the shape rules the point out.
        calibration: what ``run.json`` says of the bundle's calibration, None where it had none.
        exchangeable: pairs of landmarks that may change places, as ``run.json`` has them.
        seconds: that each case took, as ``run.json`` has them.
        peak_memory: MB of ``process`` and ``gpu``, as ``run.json`` has them.
        verdicts: ``verdict`` and ``reasons`` by case, as ``run.json`` has them; empty of earlier versions.
    """

    names: tuple[str, ...]
    cases: tuple[str, ...]
    points: np.ndarray
    present: np.ndarray
    failed: Mapping[str, str]
    training_cases: tuple[str, ...]
    mean_shape: np.ndarray
    centers: np.ndarray
    bundle: str
    unit: str = "mm"
    instances: Mapping[str, tuple[np.ndarray, ...]] = field(default_factory=dict)
    instance_covariance: Mapping[str, tuple[np.ndarray, ...]] = field(default_factory=dict)
    confidence: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    radius: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    covariance: np.ndarray = field(default_factory=lambda: np.zeros((0, 0, 0, 0)))
    implausible: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), dtype=bool))
    calibration: Mapping[str, Any] | None = None
    exchangeable: tuple[tuple[str, str], ...] = ()
    seconds: Mapping[str, Any] = field(default_factory=dict)
    peak_memory: Mapping[str, Any] = field(default_factory=dict)
    verdicts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def spatial_dims(self) -> int:
        """Number D of coordinates."""
        return int(self.points.shape[-1])


def read_predictions(folder: Path) -> Predictions:
    """Read the predictions in a folder.

    Args:
        folder: what ``auto_config predict`` wrote, with ``predictions.csv`` and, for the baseline, ``run.json``; a path
            of the table itself will do.

    Returns:
        The predictions.

    Raises:
        UserError: no table, a column that is missing, a coordinate that is no number, or a landmark that a case has
            twice or not at all.
    """
    path = folder if folder.is_file() else folder / "predictions.csv"
    if not path.is_file():
        raise UserError(f"{path}: is not there; {EXCHANGED}")
    columns, lines = _rows(path)
    dims = 3 if "x_ras_mm" in columns else 2
    for column in ("case", "landmark", *WORLD_COLUMNS[dims]):
        if column not in columns:
            raise UserError(f"{path}: has no column '{column}'; {EXCHANGED}")
    unit = _unit_of(lines, dims)
    run = _read_run(path.parent / "run.json")
    names = tuple(dict.fromkeys(line["landmark"] for line in lines))
    cases = tuple(dict.fromkeys(line["case"] for line in lines))
    many = [name for name in names if name in set(run.get("many") or ())]
    rows = _placed(path, lines, cases, names, WORLD_COLUMNS[dims] if unit == "mm" else PIXEL_COLUMNS)
    _check_rows(path, rows, cases, names, many)
    first = [row for row in rows if row.number == 0]
    place = tuple(np.array([[row.case, row.landmark] for row in first]).T) if first else ([], [])

    def filled(values: Sequence[Any], empty: np.ndarray) -> np.ndarray:
        """(N, L, ...) with the values of the first rows."""
        empty[place] = values
        return empty

    shape = (len(cases), len(names))
    spreads, implausible = read_uncertainty(path.with_name("uncertainty.csv"), cases, names, dims)
    unknown = np.full((dims, dims), np.nan)
    counted = [row for row in rows if row.present and names[row.landmark] in many]
    bundle = run.get("bundle") or {}
    return Predictions(
        names=names,
        cases=cases,
        points=filled([row.point for row in first], np.full((*shape, dims), np.nan)),
        present=filled([row.present for row in first], np.ones(shape, dtype=bool)),
        failed=dict(run.get("failed") or {}),
        training_cases=tuple(run.get("training_cases") or ()),
        mean_shape=_table(run.get("mean_shape") or {}, names, dims),
        centers=_table(run.get("image_centers") or {}, cases, dims),
        bundle=f"{bundle.get('name', '')} {bundle.get('version', '')}".strip(),
        unit=unit,
        instances=_of_many(counted, names, many, len(cases), value=lambda row: row.point, shape=(dims,)),
        instance_covariance=_of_many(
            counted, names, many, len(cases), value=lambda row: spreads.get(row.place, unknown), shape=(dims, dims)
        ),
        confidence=filled([row.confidence for row in first], np.full(shape, np.nan)),
        radius=filled([row.radius for row in first], np.full(shape, np.nan)),
        covariance=filled([spreads.get(row.place, unknown) for row in first], np.full((*shape, dims, dims), np.nan)),
        implausible=implausible,
        calibration=run.get("calibration"),
        exchangeable=tuple((str(one), str(other)) for one, other in run.get("exchangeable") or ()),
        seconds=dict(run.get("seconds") or {}),
        peak_memory=dict(run.get("peak_memory_mb") or {}),
        verdicts=_verdicts(run.get("verdicts") or {}),
    )


@dataclass(frozen=True)
class _Row:
    """A line of the table: the place of its case and landmark, and which of several rows of both it is, from 0."""

    line: int
    case: int
    landmark: int
    number: int
    point: tuple[float, ...]
    present: bool
    confidence: float
    radius: float

    @property
    def place(self) -> tuple[int, int, int]:
        return self.case, self.landmark, self.number


def _unit_of(lines: Sequence[Mapping[str, str]], dims: int) -> Literal["mm", "px"]:
    """Pixels where the columns in mm of a picture are there and empty."""
    in_mm = any(line[column] for line in lines for column in WORLD_COLUMNS[dims])
    return "px" if dims == 2 and lines and not in_mm else "mm"


def _placed(
    path: Path,
    lines: Sequence[Mapping[str, str]],
    cases: Sequence[str],
    names: Sequence[str],
    columns: Sequence[str],
) -> list[_Row]:
    """The lines of a table as rows; a coordinate that is no number is an error."""
    place = {name: k for k, name in enumerate(names)}, {case: n for n, case in enumerate(cases)}
    seen: Counter[tuple[int, int]] = Counter()
    rows = []
    for number, line in enumerate(lines, start=2):
        k, n = place[0][line["landmark"]], place[1][line["case"]]
        point = tuple(_coordinate(line, column, path, number) for column in columns)
        confidence, radius = (optional_number(line.get(key)) for key in ("confidence", "radius_mm"))
        rows.append(_Row(number, n, k, seen[n, k], point, line.get("present", "1") != "0", confidence, radius))
        seen[n, k] += 1
    return rows


def _check_rows(
    path: Path, rows: Sequence[_Row], cases: Sequence[str], names: Sequence[str], many: Sequence[str]
) -> None:
    """Every case has each landmark, and one that is not of many once."""
    for row in rows:
        if row.number and names[row.landmark] not in many:
            raise UserError(
                f"{path}: line {row.line}: landmark '{names[row.landmark]}' of case '{cases[row.case]}' is there "
                "twice; remove one"
            )
    there = {(row.case, row.landmark) for row in rows}
    for n, case in enumerate(cases):
        for k, name in enumerate(names):
            if (n, k) not in there:
                raise UserError(f"{path}: case '{case}' has no row for landmark '{name}'; predict this case again")


def _of_many(
    rows: Sequence[_Row],
    names: Sequence[str],
    many: Sequence[str],
    cases: int,
    *,
    value: Callable[[_Row], Any],
    shape: tuple[int, ...],
) -> dict[str, tuple[np.ndarray, ...]]:
    """For each landmark of `many`, for each case the values (K, *shape) of its rows."""
    found: dict[str, list[list[Any]]] = {name: [[] for _ in range(cases)] for name in many}
    for row in rows:
        found[names[row.landmark]][row.case].append(value(row))
    return {
        name: tuple(np.array(one, dtype=np.float64).reshape(-1, *shape) for one in of_cases)
        for name, of_cases in found.items()
    }


def read_uncertainty(
    path: Path, cases: tuple[str, ...], names: tuple[str, ...], dims: int
) -> tuple[dict[tuple[int, int, int], np.ndarray], np.ndarray]:
    """What ``uncertainty.csv`` says of the rows of ``predictions.csv``, which it has in the same order.

    Args:
        path: of the file, which need not be there.
        cases: (N,) names.
        names: (L,) landmarks.
        dims: number D of coordinates.

    Returns:
        Covariances (D, D) in mm² by case, landmark and number of the row of both, counted from 0; and (N, L) whether
        the first point is implausible, False where the file does not say it.
    """
    covariances: dict[tuple[int, int, int], np.ndarray] = {}
    implausible = np.zeros((len(cases), len(names)), dtype=bool)
    if not path.is_file():
        return covariances, implausible
    place = {case: n for n, case in enumerate(cases)}, {name: k for k, name in enumerate(names)}
    seen: Counter[tuple[int, int]] = Counter()
    for row in _rows(path)[1]:
        n, k = place[0].get(row.get("case", "")), place[1].get(row.get("landmark", ""))
        if n is None or k is None:
            continue
        covariance = np.full((dims, dims), np.nan)
        for i in range(dims):
            for j in range(i, dims):
                axes = f"{'xyz'[i]}{'xyz'[j]}"
                value = optional_number(row.get(f"cov_{axes}_mm2") or row.get(f"cov_{axes}_px2"))
                covariance[i, j] = covariance[j, i] = value
        covariances[n, k, seen[n, k]] = covariance
        if not seen[n, k]:
            implausible[n, k] = row.get("implausible") == "1"
        seen[n, k] += 1
    return covariances, implausible


def _rows(path: Path) -> tuple[set[str], list[dict[str, str]]]:
    """The columns of a table and its lines; cells that a short line lacks are empty.

    Raises:
        UserError: the file cannot be read, or is no UTF-8.
    """
    try:
        reader = csv.DictReader(io.StringIO(read_text(path), newline=""), restval="")
        return set(reader.fieldnames or ()), list(reader)
    except LandmarkFileError as error:
        raise UserError(str(error)) from error
    except csv.Error as error:
        raise UserError(f"{path}: is not a table ({error}); predict again") from error


def optional_number(text: str | None) -> float:
    """A number of a table, NaN where there is none."""
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan


def _coordinate(row: Mapping[str, str | None], column: str, path: Path, line: int) -> float:
    text = row.get(column)
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"{path}: line {line}: {column} is '{text}', it must be a number; predict this case again")
    return value


def _read_run(path: Path) -> dict[str, Any]:
    """The record of the run, empty where there is none: then there is no baseline."""
    if not path.is_file():
        return {}
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(
            f"{path}: is not JSON ({error}); predict again, or remove it to evaluate without the baseline"
        ) from error
    return run if isinstance(run, dict) else {}


def _verdicts(found: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """``verdict`` and ``reasons`` by case; what is neither is left out."""
    return {
        case: {"verdict": str(said["verdict"]), "reasons": [str(reason) for reason in said.get("reasons") or ()]}
        for case, said in found.items()
        if isinstance(said, Mapping) and "verdict" in said
    }


def _table(values: Mapping[str, Any], keys: tuple[str, ...], dims: int) -> np.ndarray:
    """Rows (len(keys), dims) of a mapping to coordinates; NaN where a key has none."""
    rows = [values.get(key) or [math.nan] * dims for key in keys]
    return np.array(rows, dtype=np.float64).reshape(len(keys), dims)
