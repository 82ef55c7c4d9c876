"""Images that a training from corrections in the server has seen: they are in no data list of the bundle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from pathlib import Path

from auto_config.bundle.opened import weight_files
from auto_config.calibration.out_of_fold import fingerprint_of

FOLDER = "models/fold_labels"
"""Where the server trains; its ``seen.json`` tells what the weights before and after the last training have seen."""

_BLOCK_BYTES = 1 << 20


def labels_seen(bundle: Path) -> Collection[str] | None:
    """SHA-256 of the image files that weights in use were trained on in the server.

    Args:
        bundle: Folder of the bundle.

    Returns:
        The hashes, none where the weights are of another training; None if the record cannot be read or does not know.

    Raises:
        UserError: weights that are not there.
    """
    record, weights = bundle / FOLDER / "seen.json", bundle / FOLDER / "model.pt"
    if not record.is_file():
        return ()
    try:
        content = json.loads(record.read_text(encoding="utf-8"))
        used = {fingerprint_of(path) for path in weight_files(bundle)}
        if content["weights_before"] in used:
            return set(content["before"]["images"].values())
        if weights.is_file() and fingerprint_of(weights) in used:
            return set(content["after"]["images"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return ()


def file_hash(path: Path) -> str | None:
    """SHA-256 of a file; None for a folder."""
    if not path.is_file():
        return None
    content = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            content.update(block)
    return content.hexdigest()
