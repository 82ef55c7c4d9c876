"""A second round of training on predictions: of scans that nobody labelled, where the verdict on them is ok."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auto_config.bundle.json_text import json_text
from auto_config.bundle_scripts.file_names import PROGRESS, SCORE
from auto_config.bundle_scripts.files.text import atomic_write_text
from auto_config.errors import UserError, one_line
from auto_config.wording import counted

FILE_NAME = "self_training.json"
OK = "ok"
TOLERANCE = 0.1
"""The second round saw many more scans, and few labels have few validation cases, which do not tell small differences:
with five labelled skulls it was 14 % better on the test and 1 % worse on the one validation case."""


@dataclass(frozen=True)
class SecondRound:
    """What the second round trains on.

    Args:
        config: file of what is different from ``train.json``.
        said: one sentence on the predictions.
    """

    config: Path
    said: str


def second_round(folder: Path, fold: int, *, device: str | None = None) -> SecondRound:
    """Predict the unlabelled scans of a bundle by the network of a fold, and write the config of the second round.

    The validation cases of the fold stay unseen: its own network labels, and they are not among the training cases.
    Each labelled case is there so many times that the labelled ones are half of the samples at least.

    Args:
        folder: of the bundle, which is trained, and calibrated if its verdicts are to have a stated rate.
        fold: its number.
        device: such as ``cpu``; None for the bundle's own choice.

    Raises:
        UserError: no unlabelled scans, no weights, no verdicts, or no prediction with the verdict ok.
    """
    items = _unlabelled(folder)
    weights = folder / "models" / f"fold_{fold}" / "model.pt"
    _check(folder, weights)
    predicted, verdicts = _predicted(folder, items, weights, device)
    counts = ", ".join(f"{counted(number, 'scan')} {verdict}" for verdict, number in sorted(verdicts.items()))
    if not predicted:
        raise UserError(
            f"{folder}: no prediction of an unlabelled scan has the verdict ok ({counts}), so none can be trained on; "
            "label some of them, see `auto_config review`"
        )
    labelled = _labelled(folder, fold)
    repeated = labelled * -(-len(predicted) // len(labelled))
    config = {
        "keep_better": True,
        "keep_tolerance": TOLERANCE,
        "train#dataset#data": [*repeated, *predicted],
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
    path = weights.with_name(FILE_NAME)
    atomic_write_text(path, json_text(config))
    return SecondRound(path, f"{len(predicted)} of {counted(len(items), 'unlabelled scan')} are trained on ({counts}).")


def compared(folder: Path, fold: int) -> str | None:
    """With and without the second round, in one sentence; None where its validation says nothing.

    Args:
        folder: of the bundle, whose second round has ended.
        fold: its number.
    """
    models = folder / "models" / f"fold_{fold}"
    try:
        rows = [json.loads(line) for line in (models / PROGRESS).read_text(encoding="utf-8").splitlines()]
        first = next(row["mre_mm"] for row in rows if row["epoch"] == 0 and row["progress"] == 0)
        unit = json.loads((folder / "configs" / "landmarks.json").read_text(encoding="utf-8")).get("unit", "mm")
        last = next(row["mre_mm"] for row in reversed(rows) if row["mre_mm"] is not None)
        kept = json.loads((models / SCORE).read_text(encoding="utf-8")) if (models / SCORE).is_file() else None
        used = "first" if kept is None else "second"
        said = f"{last if kept is None else kept['value']:.3g} {unit}, without it {first:.3g} {unit}"
    except (OSError, ValueError, KeyError, TypeError, StopIteration):
        return None
    return (
        f"With unlabelled scans the error on the validation cases is {said}; the weights of the {used} round are used."
    )


def _unlabelled(folder: Path) -> list[dict[str, Any]]:
    """Scans of the bundle's data list that nobody labelled: ``[{"case", "image": paths}, ...]``."""
    path = folder / "data" / "datalist.json"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        items, root = document.get("unlabelled") or [], Path(document["dataset_dir"])
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise UserError(f"{path}: cannot be read ({one_line(error)}); train where the bundle was made") from error
    if not items:
        raise UserError(f"{folder}: knows no unlabelled scans; create it with --unlabelled FOLDER")
    return [{"case": item["case"], "image": [str(root / part) for part in _listed(item["image"])]} for item in items]


def _listed(image: str | list[str]) -> list[str]:
    return [image] if isinstance(image, str) else image


def _check(folder: Path, weights: Path) -> None:
    """Look whether a first round was trained, and each landmark is there once."""
    if not weights.is_file():
        raise UserError(
            f"{weights}: is not there, and its network must label the scans; train it first: auto_config train {folder}"
        )
    table = json.loads((folder / "configs" / "landmarks.json").read_text(encoding="utf-8"))
    if any(row.get("many") for row in table["landmarks"]):
        raise UserError(f"{folder}: an image may have any number of a landmark, for which there is no second round")


def _predicted(
    folder: Path, items: list[dict[str, Any]], weights: Path, device: str | None
) -> tuple[list[dict[str, Any]], Counter[str]]:
    """Training cases made of the predictions with the verdict ok, and how many have which verdict."""
    from rich.progress import track

    from auto_config.bundle.opened import open_bundle

    opened = open_bundle(folder, device=device, weights=[weights])
    cases, verdicts = [], Counter[str]()
    for item in track(items, description="unlabelled scans", transient=True):
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
    return cases, verdicts


def _label(result: Mapping[str, Any]) -> dict[str, Any]:
    """The landmarks that were found, and how sure each is; those that were not are unknown, and not absent."""
    found = [item for item in result["landmarks"] if item["present"]]
    return {
        "label": {item["name"]: item["world"] for item in found},
        "confidence": {item["name"]: round(float(item["confidence"]), 4) for item in found},
    }


def _labelled(folder: Path, fold: int) -> list[dict[str, Any]]:
    """The training cases of a fold, as its first round had them."""
    from auto_config.bundle_scripts.training.dataset import TRAINING, read_cases

    config = json.loads((folder / "configs" / "train.json").read_text(encoding="utf-8"))
    return read_cases(str(folder / "data" / "datalist.json"), config["dataset_dir"], TRAINING, fold)
