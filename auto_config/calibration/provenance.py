"""What decides a prediction, as one digest: predictions that are kept count as long as it is the same."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from auto_config.bundle import earlier
from auto_config.calibration import searching
from auto_config.calibration.out_of_fold import fingerprint_of
from auto_config.prediction import densities

CONFIGS = ("configs/inference.json", "configs/landmarks.json")
OWN = (Path(densities.__file__), Path(earlier.__file__), Path(searching.__file__))
"""Code outside of the bundle that decides what is kept: another version may take another density at a true point."""


def prediction_digest(bundle: Path, weights: Sequence[Path]) -> str:
    """The digest of weights and of everything else that decides them: scripts, configs, landmarks, `OWN`.

    Args:
        bundle: Folder of the bundle.
        weights: Files of the weights that are averaged; the numbers in them count, not how they were saved.
    """
    content = hashlib.sha256("".join(fingerprint_of(path) for path in weights).encode())
    for path in [*(bundle / name for name in CONFIGS), *sorted((bundle / "scripts").rglob("*.py"))]:
        content.update(f"\n{path.relative_to(bundle).as_posix()}\n".encode())
        content.update(hashlib.sha256(path.read_bytes()).digest())
    for path in OWN:
        content.update(hashlib.sha256(path.read_bytes()).digest())
    return content.hexdigest()
