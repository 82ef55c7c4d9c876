"""A second round of training on predictions: of scans that nobody labelled, where the verdict on them is ok."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from auto_config.bundle.json_text import json_text
from auto_config.bundle.opened import open_bundle
from auto_config.bundle_scripts.file_names import PROGRESS, SCORE, SECOND_ROUND, WEIGHTS
from auto_config.bundle_scripts.files.text import atomic_write_text
from auto_config.bundle_scripts.points.instances import read_instances
from auto_config.bundle_scripts.training.dataset import TRAINING, read_cases
from auto_config.calibration.validation_cases import folds_in_use
from auto_config.errors import UserError, one_line
from auto_config.rounds.files import CONFIG, file_of
from auto_config.wording import counted

OK = "ok"
TOLERANCE = 0.1
"""The second round saw many more scans, and few labels have few validation cases, which do not tell small differences:
with five labelled skulls it was 14 % better on the test and 1 % worse on the one validation case."""

Item = dict[str, Any]


def require_first_round(folder: Path, fold: int, *, overwrite: bool = False) -> list[Item]:
    """Look whether there can be a second round, before anything is predicted.

    Args:
        folder: of the bundle.
        fold: number of the fold.
        overwrite: a training that has not ended may be replaced.

    Returns:
        The scans that nobody labelled, ``[{"case", "image": paths}, ...]``.

    Raises:
        UserError: no unlabelled scans, a landmark with any number of instances, a first round that is missing, has not
            ended or is not in use alone.
    """
    items = _scans(folder)
    if any(read_instances(folder / "configs" / "landmarks.json").many):
        raise UserError(f"{folder}: an image may have any number of a landmark, for which there is no second round")
    weights = file_of(folder, fold, WEIGHTS)
    if not weights.is_file():
        raise UserError(
            f"{weights}: is not there, and its network must label the scans; train it first: auto_config train {folder}"
        )
    rows = _progress(folder, fold)
    if not overwrite and rows and rows[-1].get("progress", 1.0) < 1.0:
        option = "--self_training --resume" if file_of(folder, fold, CONFIG).is_file() else "--resume"
        raise UserError(
            f"{folder}: the training of fold {fold} has not ended: go on with {option}, or replace it with --overwrite"
        )
    if folds_in_use(folder) != [fold]:
        raise UserError(
            f"{folder}: predicts with other networks than that of fold {fold}, which saw its validation cases, so "
            f"nothing can judge a second round; use it alone: auto_config train {folder} --fold {fold} --overwrite"
        )
    return items


def second_round(
    folder: Path, fold: int, items: Sequence[Item], *, until: float | None = None, device: str | None = None
) -> str:
    """Predict unlabelled scans by the network of a fold, and write the config of the second round.

    The validation cases of the fold stay unseen: its own network labels, and they are not among the training cases.
    Each labelled case is there so many times that the labelled ones are half of the samples at least.

    Args:
        folder: of the bundle, which is trained, and calibrated if its verdicts are to have a stated rate.
        fold: its number.
        items: of `require_first_round`.
        until: time after which no further scan is predicted, as `time.time` counts; None for no limit.
        device: such as ``cpu``; None for the bundle's own choice.

    Returns:
        A sentence on the predictions. The config is `CONFIG` in the folder of the fold.

    Raises:
        UserError: no verdicts, or no prediction with the verdict ok.
    """
    weights = file_of(folder, fold, WEIGHTS).resolve()
    predicted, verdicts, left_out = _predicted(folder, items, weights, until, device)
    counts = ", ".join(f"{counted(number, 'scan')} {verdict}" for verdict, number in sorted(verdicts.items()))
    if left_out:
        counts += f", no time for {counted(left_out, 'scan')}"
    if not predicted:
        raise UserError(
            f"{folder}: no prediction of an unlabelled scan has the verdict ok ({counts}), so none can be trained on; "
            "label some of them, see `auto_config review`"
        )
    config = json.loads((folder / "configs" / "train.json").read_text(encoding="utf-8"))
    labelled = read_cases(str(folder / "data" / "datalist.json"), config["dataset_dir"], TRAINING, fold)
    repeated = labelled * -(-len(predicted) // len(labelled))
    cases = weights.with_name(SECOND_ROUND)
    # A data list of its own: what stands in a config is evaluated, and names of files must not be.
    atomic_write_text(cases, json_text({"training": [*repeated, *predicted]}))
    atomic_write_text(weights.with_name(CONFIG), json_text(_changes(cases, weights)))
    return f"{len(predicted)} of {counted(len(items), 'unlabelled scan')} are trained on ({counts})."


def _changes(cases: Path, weights: Path) -> dict[str, Any]:
    """What is different from ``train.json``."""
    return {
        "keep": "best",
        "keep_better": True,
        "keep_tolerance": TOLERANCE,
        "train#dataset#data#datalist": str(cases),
        "train#dataset#data#fold": "none",
        # After the handlers of the bundle, of which one may load the weights of another bundle.
        "+train#handlers": [
            {
                "_target_": "CheckpointLoader",
                "load_path": str(weights),
                "load_dict": {"model": "@network"},
                "map_location": "cpu",
            }
        ],
    }


def score_of(folder: Path, fold: int) -> str | None:
    """The content of ``score.json``, which a training removes when it begins."""
    path = file_of(folder, fold, SCORE)
    return path.read_text(encoding="utf-8") if path.is_file() else None


def finished(folder: Path, fold: int, score: str | None) -> str | None:
    """With and without the second round, in one sentence; None where its validation says nothing.

    Args:
        folder: of the bundle, whose second round has ended.
        fold: its number.
        score: what `score_of` gave before; it is put back where the weights of the first round stay in use.
    """
    path = file_of(folder, fold, SCORE)
    second = score_of(folder, fold)
    if second is None and score is not None:
        atomic_write_text(path, score)
    try:
        rows = _progress(folder, fold)
        first = next(row["mre_mm"] for row in rows if row["epoch"] == 0 and row["progress"] == 0)
        unit = json.loads((folder / "configs" / "landmarks.json").read_text(encoding="utf-8")).get("unit", "mm")
        last = next(row["mre_mm"] for row in reversed(rows) if row["mre_mm"] is not None)
        reached = last if second is None else json.loads(second)["value"]
        said = f"{reached:.3g} {unit}, without it {first:.3g} {unit}"
    except (KeyError, TypeError, ValueError, StopIteration):
        return None
    used = "first" if second is None else "second"
    return (
        f"With unlabelled scans the error on the validation cases is {said}; the weights of the {used} round are used."
    )


def _progress(folder: Path, fold: int) -> list[dict[str, Any]]:
    """Lines of ``progress.jsonl``; none where it cannot be read."""
    try:
        lines = file_of(folder, fold, PROGRESS).read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]
    except (OSError, ValueError):
        return []


def _scans(folder: Path) -> list[Item]:
    """Scans of the bundle's data list that nobody labelled."""
    path = folder / "data" / "datalist.json"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        items, root = document.get("unlabelled") or [], Path(document["dataset_dir"])
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise UserError(f"{path}: cannot be read ({one_line(error)}); train where the bundle was made") from error
    if not items:
        raise UserError(f"{folder}: knows no unlabelled scans; create it with --unlabelled FOLDER")
    files = [[item["image"]] if isinstance(item["image"], str) else item["image"] for item in items]
    return [
        {"case": item["case"], "image": [os.path.normpath(root / part) for part in parts]}
        for item, parts in zip(items, files, strict=True)
    ]


def _predicted(
    folder: Path, items: Sequence[Item], weights: Path, until: float | None, device: str | None
) -> tuple[list[Item], Counter[str], int]:
    """Training cases made of the predictions with the verdict ok, how many have which verdict, and how many are left.

    Raises:
        UserError: the bundle gives no verdicts.
    """
    from rich.progress import track

    opened = open_bundle(folder, device=device, weights=[weights])
    cases: list[Item] = []
    verdicts = Counter[str]()
    for number, item in enumerate(track(items, description="unlabelled scans", transient=True)):
        if until is not None and time.time() >= until:
            return cases, verdicts, len(items) - number
        files = [Path(file) for file in item["image"]]
        try:
            result = opened.predict(opened.preprocess(files))["result"]
        except Exception as error:  # transforms raise whatever they like over an image that they cannot use
            print(f"warning: {files[0]}: cannot be predicted ({one_line(error)})")
            verdicts["not read"] += 1
            continue
        if "verdict" not in result:
            raise UserError(f"{folder}: gives no verdicts, because an earlier version made it; create it again")
        verdict = str(result["verdict"]["verdict"])
        verdicts[verdict] += 1
        if verdict == OK:
            image = item["image"]
            cases.append({"case": item["case"], "image": image[0] if len(image) == 1 else image, **_label(result)})
    return cases, verdicts, 0


def _label(result: Mapping[str, Any]) -> dict[str, Any]:
    """The landmarks that were found, and how sure each is; those that were not are unknown, and not absent."""
    found = [item for item in result["landmarks"] if item["present"]]
    return {
        "label": {item["name"]: item["world"] for item in found},
        "confidence": {item["name"]: round(float(item["confidence"]), 4) for item in found},
    }
