"""What a bundle knows of other cases: ``configs/verdict.json`` and the ``verdict`` of ``models/calibration.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...points.landmark_text import read_text
from .judging import Reference
from .scores import Ranges
from .shape import TrainingShape


@dataclass(frozen=True)
class KnownCases:
    """What the verdict on a case is made with.

    Args:
        reference: Numbers of other cases; None where there are none.
        shape: Of the training cases, None where it is not known.
        ranges: Of spacing and extent in training, None where they are not known.
        useless: Why no case of this model can be trusted, None where it has learnt something.
    """

    reference: Reference | None = None
    shape: TrainingShape | None = None
    ranges: Ranges | None = None
    useless: str | None = None


def read_known_cases(training: str | Path, calibration: str | Path | None, names: Sequence[str]) -> KnownCases:
    """Read both files; either may be missing, and bundles of earlier versions have none.

    Args:
        training: ``configs/verdict.json``.
        calibration: ``models/calibration.json``, whose unseen cases count instead of the training cases.
        names: Landmarks of the bundle in channel order.

    Raises:
        ValueError: A file that cannot be used.
    """
    of_training = _read(Path(training), names, "create the bundle again, or remove the file")
    calibrated = {} if calibration is None else _read(Path(calibration), names, "run `auto_config calibrate` again")
    verdict = calibrated.get("verdict")
    try:
        reference = verdict or of_training.get("reference")
        shape = {**calibrated["shape"], **verdict["pose"]} if verdict else of_training.get("shape")
        return KnownCases(
            None if reference is None else Reference.read(reference),
            None if shape is None else TrainingShape.read(shape, shape),
            of_training.get("ranges"),
            calibrated.get("useless"),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        path = calibration if verdict else training
        said = f"what it says for verdicts cannot be used ({error!r})"
        raise ValueError(f"{path}: {said}; write the file again") from error


def _read(path: Path, names: Sequence[str], remedy: str) -> Mapping[str, Any]:
    """A JSON object for these landmarks; empty where there is no file."""
    if not path.is_file():
        return {}
    try:
        document = json.loads(read_text(path))
        if document["landmarks"] != list(names):
            raise ValueError("it is for other landmarks")
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: cannot be used ({error}); {remedy}") from error
    return dict(document)
