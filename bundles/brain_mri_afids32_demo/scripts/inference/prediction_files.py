"""The files of a prediction: ``CASE.mrk.json`` for each image; two tables and ``run.json`` for all."""

from __future__ import annotations

import csv
import io
import json
import platform
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from ..file_names import CALIBRATION
from ..files.text import atomic_write_text
from ..points.fcsv_files import write_fcsv
from ..points.landmark_files import write_markups
from ..points.landmarks import ABSENT, PRESENT, LandmarkSet
from .calibration import read_calibration

PREDICTIONS_FILE = "predictions.csv"
UNCERTAINTY_FILE = "uncertainty.csv"
RUN_FILE = "run.json"
CASE_ENDINGS = (".mrk.json", ".fcsv", ".json", ".labels.nii.gz", ".regions.nii.gz", ".regions.npz", ".heatmaps.nii.gz")
"""What the file of one case may end with, after the name of the case."""

_ENTRY = ("image_center", "seconds", "replaced", "verdict", "turned_deg")
"""What is known of a case beside its rows."""

_DECIMALS = 6  # of a millimetre or pixel: far below any error, and short enough to read


def prediction_columns(spatial_dims: int) -> list[str]:
    """Header of ``predictions.csv``: RAS mm in 3D; pixels and mm (x right, y down) in 2D."""
    axes = ["x_ras_mm", "y_ras_mm", "z_ras_mm"] if spatial_dims == 3 else ["x_px", "y_px", "x_mm", "y_mm"]
    return ["case", "landmark", *axes, "confidence", "present", "radius_mm", "verdict"]


def prediction_rows(case: str, result: Mapping[str, Any], unit: str = "mm") -> list[list[str]]:
    """Rows of ``predictions.csv`` for one case, in the order of its ``result``, the numbers as text.

    Where the unit is ``"px"``, because nobody knows the size of a pixel, the columns in mm are empty. Nobody promises
    that the radius of a case that has failed holds, so it is empty too.
    """
    rows: list[list[str]] = []
    verdict = verdict_of(result)["verdict"]
    for item in result["landmarks"]:
        world = item["world"]
        coordinates = world if len(world) == 3 else [*item["voxel"], *(world if unit == "mm" else [None, None])]
        promised = item["radius_mm"] is not None and unit == "mm" and verdict != "failed"
        radius = _number(item["radius_mm"]) if promised else ""
        numbers = ["" if x is None else _number(x) for x in coordinates]
        numbers += [_number(item["confidence"]), str(item["present"]), radius]
        rows.append([case, item["name"], *numbers, verdict])
    return rows


def verdict_of(result: Mapping[str, Any]) -> dict[str, Any]:
    """The verdict of a ``result`` as ``run.json`` has it, an empty one of scripts of an earlier version."""
    found = result.get("verdict") or {"verdict": "", "reasons": []}
    return {key: found[key] for key in ("verdict", "reasons", "not_judged") if key in found}


def uncertainty_columns(spatial_dims: int, unit: str = "mm") -> list[str]:
    """Header of ``uncertainty.csv``: what the heatmaps say, for each row of ``predictions.csv``; mm and mm², or px."""
    axes = "xyz"[:spatial_dims]
    pairs = [f"cov_{a}{b}_{unit}2" for i, a in enumerate(axes) for b in axes[i:]]
    judged = [f"{what}_{unit}" for what in ("spread", "disagreement", "shape_distance")]
    return ["case", "landmark", *judged, "replaced", "implausible", *pairs]


def uncertainty_rows(case: str, result: Mapping[str, Any]) -> list[list[str]]:
    """Rows of ``uncertainty.csv`` for one case; what was not judged is empty."""
    rows = []
    for item in result["landmarks"]:
        # Scripts of a bundle from before this table say less.
        judged = [item.get(key) for key in ("spread_mm", "disagreement_mm", "shape_distance_mm")]
        covariance = item.get("covariance_mm2") or []
        # Significant digits: of voxels of micrometres it is far below the sixth decimal.
        upper = [
            repr(float(f"{covariance[i][j]:.6g}")) for i in range(len(covariance)) for j in range(i, len(covariance))
        ]
        texts = ["" if value is None else _number(value) for value in judged]
        flags = ["" if item.get(key) is None else str(int(item[key])) for key in ("replaced", "implausible")]
        dims = len(item["world"])
        rows.append([case, item["name"], *texts, *flags, *(upper or [""] * (dims * (dims + 1) // 2))])
    return rows


def landmark_note(
    item: Mapping[str, Any], level: float | None, unit: str = "mm", verdict: Mapping[str, Any] | None = None
) -> str:
    """What a viewer shows of a landmark: how sure it is, and how far the true point may be, in mm or pixels.

    The probability of a region is promised for cases like those of the calibration. Where a case is to be looked at,
    the note says so beside it; where it has failed, the note promises nothing.

    Args:
        item: of ``result["landmarks"]``.
        level: probability of the regions; None for none.
        unit: of lengths.
        verdict: on the case, as `verdict_of` has it; None for none.
    """
    said = (verdict or {}).get("verdict") or "ok"
    note = f"confidence {item['confidence']:.2f}"
    if item.get("radius_mm") is not None and level is not None and said != "failed":
        note += f", within {item['radius_mm']:.3g} {unit} with probability {level:g}"
        note += " if this case is like those of the calibration" if said == "check" else ""
    if verdict is not None and said != "ok":
        note += f"; CASE {said.upper()}: {verdict['reasons'][0]}"
    return note


def result_landmarks(result: Mapping[str, Any]) -> LandmarkSet:
    """The landmarks of a ``result``, in world mm; those that it does not call present are absent."""
    items = result["landmarks"]
    return LandmarkSet.from_rows(
        [item["name"] for item in items],
        np.array([item["world"] for item in items], dtype=np.float64),
        [PRESENT if item["present"] else ABSENT for item in items],
        many={item["name"] for item in items if "instance" in item},
    )


def previous_cases(folder: Path) -> set[str]:
    """Names of the cases in the ``predictions.csv`` of a folder; none where there is no such file.

    A name that is more than a file name is left out, so that nobody's table can point out of the folder.
    """
    path = folder / PREDICTIONS_FILE
    if not path.is_file():
        return set()
    with path.open(encoding="utf-8", newline="") as stream:
        cases = {row.get("case") or "" for row in csv.DictReader(stream)}
    return {case for case in cases if case and Path(case).name == case}


def foreign_file(folder: Path, case: str, previous: set[str]) -> Path | None:
    """A file that a prediction of ``case`` would overwrite and that no earlier prediction wrote, or None.

    Args:
        folder: the output folder.
        case: name of the case.
        previous: what `previous_cases` gave for the folder.
    """
    if case in previous:
        return None
    return next((path for ending in CASE_ENDINGS if (path := folder / f"{case}{ending}").exists()), None)


class PredictionFolder:
    """Writes the predictions of a run into one folder.

    After each case its files and both tables are written, and ``run.json`` by `finish`; all atomically, so that a run
    that is killed leaves whole files, none of them without its rows.

    Args:
        folder: the output folder; made where it does not exist.
        bundle: root folder of the bundle, of which ``configs/landmarks.json`` and ``configs/metadata.json`` are read.
        order: names of cases in the order that the tables shall have, also where they are written in another; None for
            the order in which they are written.
    """

    def __init__(self, folder: str | Path, bundle: str | Path, order: Sequence[str] = ()) -> None:
        self.folder = Path(folder)
        configs = Path(bundle) / "configs"
        metadata = json.loads((configs / "metadata.json").read_text(encoding="utf-8"))
        landmarks = json.loads((configs / "landmarks.json").read_text(encoding="utf-8"))
        self._bundle = {"name": metadata.get("name", ""), "version": metadata.get("version", "")}
        self._spatial_dims = int(landmarks["spatial_dims"])
        self._unit = str(landmarks.get("unit", "mm"))
        self._mean_shape = {item["name"]: item.get("mean_offset_mm") for item in landmarks["landmarks"]}
        self._calibration = read_calibration(Path(bundle) / "models" / CALIBRATION, list(self._mean_shape))
        self._many = [item["name"] for item in landmarks["landmarks"] if item.get("instances") == "many"]
        ends = {tuple(sorted((x["name"], x["exchangeable"]))) for x in landmarks["landmarks"] if x.get("exchangeable")}
        self._exchangeable = sorted(map(list, ends))
        self._place = {case: number for number, case in enumerate(order)}
        self._rows: dict[str, list[list[str]]] = {}
        self._uncertainty: dict[str, list[list[str]]] = {}
        self.cases: dict[str, dict[str, Any]] = {}
        self.folder.mkdir(parents=True, exist_ok=True)

    def write(
        self,
        case: str,
        result: Mapping[str, Any],
        *,
        image_center: np.ndarray,
        seconds: float,
        fcsv: bool = False,
        inline_json: bool = False,
    ) -> None:
        """Write the files of one case and remember its rows.

        Args:
            case: name of the case.
            result: what `LandmarkResultd` made.
            image_center: (D,) world mm of the middle of the original image, for the mean-shape baseline.
            seconds: time that the case took.
            fcsv: also write ``CASE.fcsv``.
            inline_json: also write ``CASE.json``, the whole ``result``.

        Raises:
            ValueError: the case was written before, or its name cannot be that of a file.
        """
        if case in self.cases:
            raise ValueError(
                f"{self.folder}: two images are called '{case}'; rename one of them, or give each a 'case'"
            )
        if Path(case).name != case:
            raise ValueError(f"case '{case}' cannot be the name of a file; give the case a name without '/'")
        self._rows[case] = prediction_rows(case, result, self._unit)
        self._uncertainty[case] = uncertainty_rows(case, result)
        self._write_tables()
        landmarks = result_landmarks(result)
        verdict = verdict_of(result)
        notes = [landmark_note(item, result.get("level"), self._unit, verdict) for item in result["landmarks"]]
        write_markups(self.folder / f"{case}.mrk.json", landmarks, descriptions=notes, node_name=case)
        if fcsv:
            write_fcsv(self.folder / f"{case}.fcsv", landmarks)
        if inline_json:
            text = json.dumps({"case": case, **result}, indent=1, ensure_ascii=False, allow_nan=False)
            atomic_write_text(self.folder / f"{case}.json", text + "\n")
        self.cases[case] = {
            "image_center": [round(float(x), _DECIMALS) for x in image_center],
            "seconds": round(seconds, 3),
            "replaced": [item["name"] for item in result["landmarks"] if item["replaced"]],
            "verdict": verdict,
            "turned_deg": result.get("turned_deg"),
        }

    def keep(
        self, case: str, entry: Mapping[str, Any], rows: Sequence[Sequence[str]], uncertainty: Sequence[Sequence[str]]
    ) -> None:
        """Take over a case of an earlier run, whose files are there.

        Args:
            case: name of the case.
            entry: what `entries` said of it.
            rows: its lines of ``predictions.csv``.
            uncertainty: its lines of ``uncertainty.csv``.
        """
        self._rows[case], self._uncertainty[case] = [[*row] for row in rows], [[*row] for row in uncertainty]
        self.cases[case] = {key: entry[key] for key in _ENTRY}

    def entries(self) -> dict[str, dict[str, Any]]:
        """All that ``run.json`` says of each case that was written or kept, in the order of the tables."""
        return {case: self.cases[case] for case in self._ordered(self.cases)}

    def _ordered(self, cases: Iterable[str]) -> list[str]:
        """Those that `order` names first."""
        return sorted(cases, key=lambda case: self._place.get(case, len(self._place)))

    def finish(
        self,
        *,
        options: Mapping[str, Any],
        failed: Mapping[str, str] | None = None,
        training_cases: Sequence[str] = (),
        peak_memory: Mapping[str, float | None] | None = None,
        made_by: Mapping[str, Any] | None = None,
    ) -> None:
        """Write ``run.json``, and ``predictions.csv`` also where no case was predicted.

        Args:
            options: the options of the run, JSON-able.
            failed: reason for each case that could not be predicted.
            training_cases: names of the cases that the bundle was trained on, where that is known.
            peak_memory: largest memory of ``process`` and ``gpu`` in MB, None where it is not known.
            made_by: what tells whether results need not be made again, JSON-able; None leaves it out.
        """
        self._write_tables()
        entries = self.entries()
        run = {
            "bundle": self._bundle,
            "unit": self._unit,
            "options": dict(options),
            "packages": {"python": platform.python_version()} | {p: version(p) for p in ("monai", "numpy", "torch")},
            "failed": dict(failed or {}),
            "verdicts": self.verdicts(failed or {}),
            "training_cases": list(training_cases),
            "seconds": {case: entry["seconds"] for case, entry in entries.items()},
            "peak_memory_mb": dict(peak_memory or {}),
            "replaced_by_shape": {case: entry["replaced"] for case, entry in entries.items() if entry["replaced"]},
            "turned_deg": {case: turn for case, one in entries.items() if (turn := one["turned_deg"]) is not None},
            "mean_shape": self._mean_shape,
            **({"many": self._many} if self._many else {}),
            **({"exchangeable": self._exchangeable} if self._exchangeable else {}),
            "image_centers": {case: entry["image_center"] for case, entry in entries.items()},
            "calibration": None if self._calibration is None else self._calibration.summary(),
            **({} if made_by is None else {"made_by": dict(made_by)}),
        }
        text = json.dumps(run, indent=1, ensure_ascii=False, allow_nan=False)
        atomic_write_text(self.folder / RUN_FILE, text + "\n")

    def verdicts(self, failed: Mapping[str, str]) -> dict[str, dict[str, Any]]:
        """``verdict`` and ``reasons`` of each case; one that could not be predicted has failed.

        Args:
            failed: reason for each case that could not be predicted.
        """
        judged = {case: entry["verdict"] for case, entry in self.entries().items() if entry["verdict"]["verdict"]}
        return judged | {
            case: {"verdict": "failed", "reasons": [f"could not be predicted: {reason}"]}
            for case, reason in failed.items()
        }

    def _write_tables(self) -> None:
        dims = self._spatial_dims
        columns = uncertainty_columns(dims, self._unit)
        order = self._ordered(self._rows)
        _write_csv(self.folder / PREDICTIONS_FILE, [prediction_columns(dims), *_joined(self._rows, order)])
        _write_csv(self.folder / UNCERTAINTY_FILE, [columns, *_joined(self._uncertainty, order)])


def _joined(rows: Mapping[str, list[list[str]]], order: Sequence[str]) -> list[list[str]]:
    return [row for case in order for row in rows[case]]


def _write_csv(path: Path, rows: Sequence[Sequence[str]]) -> None:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    atomic_write_text(path, stream.getvalue())


def _number(value: float) -> str:
    """Shortest text of a number that is exact to the sixth decimal."""
    return repr(round(float(value), _DECIMALS))
