"""Calibration at the end of a training from corrections, on the labelled images that its weights did not see."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from auto_config.bundle_scripts.points.instances import read_instances
from auto_config.bundle_scripts.points.landmark_files import read_label
from auto_config.bundle_scripts.points.landmarks import PRESENT
from auto_config.bundle_scripts.training.shape_fit import training_shapes
from auto_config.calibration.conformal import smallest_n
from auto_config.calibration.cuts import cut_cases
from auto_config.calibration.others.other_cases import predict_other_cases
from auto_config.calibration.time_limit import limits_of, omitted_notes
from auto_config.calibration.verdict.spoiled_cases import spoiled_other_cases
from auto_config.calibration.writing import write_calibration
from auto_config.datasets.images import image_stem
from auto_config.prediction.input import training_cases

from ..tasks.bundles import Card
from .seen_cases import NOTHING, Seen
from .training_data import Item, TrainingCases
from .training_stats import weights_state

FEWEST_CASES = 3
"""With fewer, a region says more about these patients than about the next one."""

LEVEL = 0.9
"""The level of the regions that the server shows; where it would be infinite for a landmark, all have one region."""

WAITED_SECONDS = 160.0
"""A person waits for the end of a training: so long it predicts cut and spoiled cases, for presence and verdicts."""

OWN_FOLD = "0"
"""The fold whose validation cases `training_data.own_validation` gives."""

CHOSEN_NOTE = (
    "the cases are the labelled images that judged a training from labels: its weights are those of the epoch with the "
    "lowest error on them, so they are a little less new to it than a new case"
)


@dataclass(frozen=True)
class Unseen:
    """Cases that calibrate.

    Attributes:
        cases: items that the weights were not trained on.
        reason: why there are no more of them, in words that follow "none: "; None if all that judged are there.
    """

    cases: list[Item]
    reason: str | None = None


def unseen_cases(root: Path, cases: TrainingCases, seen: Seen) -> Unseen:
    """Those of the cases that judged a training that neither it nor a training before it was trained on.

    Args:
        root: folder of the bundle.
        cases: of the training.
        seen: by the weights that it made.
    """
    if not cases.validation:
        return Unseen([], "no labelled image was held out; label another one")
    if cases.judge == "bundle":
        if seen.own not in (NOTHING, OWN_FOLD):
            reason = "the weights that the training began with may have been trained on the bundle's validation cases"
            return Unseen([], reason)
        own: set[str] = set()
    else:
        paths: dict[str, tuple[Path, ...]] = {item["image"]: (Path(item["image"]),) for item in cases.validation}
        own = set() if seen.own == NOTHING else set(training_cases(root, paths))
    unseen = [item for item in cases.validation if item["image"] not in own and not seen.has(Path(item["image"]))]
    known = len(cases.validation) - len(unseen)
    reason = f"{known} of the {len(cases.validation)} cases that judged were trained on before"
    return Unseen(unseen, reason if known else None)


def calibrate_on(root: Path, card: Card, cases: TrainingCases, seen: Seen, device: str) -> dict[str, Any] | str:
    """Write ``models/calibration.json`` for the weights in use, if there are cases for it.

    Args:
        root: folder of the bundle.
        card: of the bundle.
        cases: of the training that made the weights in use.
        seen: by these weights.
        device: that predicts.

    Returns:
        ``{"cases", "pooled", "notes"}``, or why there is no calibration, beginning with ``none: ``.

    Raises:
        Exception: what a bundle raises over an image, or a file that cannot be written.
    """
    unseen = unseen_cases(root, cases, seen)
    if len(unseen.cases) < FEWEST_CASES:
        few = f"{FEWEST_CASES} unseen cases that judged are needed, there are {len(unseen.cases)}"
        return "none: " + "; ".join([*([few] if cases.validation else []), *([unseen.reason] if unseen.reason else [])])
    before = weights_state(root)
    items = [_item(item, card) for item in unseen.cases]
    found = predict_other_cases(root, items, device=device)
    cut_limit, limit = limits_of(WAITED_SECONDS)
    cuts = cut_cases(root, items, device=device, limit=cut_limit)
    spoiled = spoiled_other_cases(root, items, device=device, limit=limit)
    table = root / "configs" / "landmarks.json"
    present = (found.status == PRESENT).sum(axis=0)
    counts = np.bincount(read_instances(table).channels, present, len(card.names))
    pooled = bool((counts < smallest_n(LEVEL)).any())
    shapes = training_shapes(cases.training, str(table), card.spatial_dims)
    if weights_state(root) != before:
        return "none: other weights came into use meanwhile"
    notes = [CHOSEN_NOTE, *([unseen.reason] if unseen.reason else []), *omitted_notes(cut_limit, limit, remedy="")]
    written = write_calibration(root, found, pooled=pooled, notes=notes, shapes=shapes, cuts=cuts, spoiled=spoiled)
    return {"cases": written["cases"], "pooled": pooled, "notes": written["notes"]}


def _item(item: Item, card: Card) -> dict[str, Any]:
    """As `predict_other_cases` wants it."""
    image = Path(item["image"])
    label = read_label(item["label"], card.names, spatial_dims=card.spatial_dims, many=card.many)
    return {"case": image_stem(image), "image": [image], "label": label.to_inline()}
