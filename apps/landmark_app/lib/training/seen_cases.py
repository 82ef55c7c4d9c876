"""Which labelled images the weights of a bundle were trained on, so that only unseen ones calibrate them.

A training goes on from the weights in use, which may come from a training before it whose cases it does not have. Which
cases judge changes as labels are added. So each training writes down, before it begins, what the weights in use have
seen and what its own will have seen. The file is never changed while it runs: which of the two counts is told by the
weights, so a kill at any moment leaves it true.
"""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from auto_config.bundle_scripts.file_names import WEIGHTS
from auto_config.bundle_scripts.files.text import atomic_write_text
from auto_config.calibration.out_of_fold import fingerprint_of

from .training_stats import folder

FILE_NAME = "seen.json"

EVERYTHING, NOTHING = "everything", "nothing"

_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class Seen:
    """What weights were trained on.

    Attributes:
        images: labelled images: name of the file to a hash of its bytes; None if nobody knows. Either tells an image
            again: a file that a DICOM server sends again has the name and not the bytes, and one that was renamed the
            other way round.
        own: of the bundle's own data list: `EVERYTHING` (or nobody knows), `NOTHING`, or the number of the fold whose
            cases they have not seen.
    """

    images: Mapping[str, str] | None = field(default_factory=dict)
    own: str = EVERYTHING

    def has(self, image: Path) -> bool:
        """Whether an image is, or may be, one of `images`."""
        return self.images is None or image.name in self.images or _digest(image) in self.images.values()

    def more(self, images: Iterable[Path]) -> Seen:
        """With more images."""
        if self.images is None:
            return self
        return Seen({**self.images, **{image.name: _digest(image) for image in images}}, self.own)


def seen_by_weights_in_use(root: Path) -> Seen:
    """What ``models/model.pt`` of a bundle was trained on.

    Args:
        root: folder of the bundle.
    """
    in_use = _fingerprint(root / "models" / WEIGHTS)
    if in_use is None:
        return Seen(own=NOTHING)
    record = _read(folder(root) / FILE_NAME)
    if record.get("weights_before") == in_use:
        return _parsed(record.get("before"))
    if _fingerprint(folder(root) / WEIGHTS) == in_use:
        return _parsed(record.get("after"))
    for path in sorted((root / "models").glob(f"fold_*/{WEIGHTS}")):
        number = path.parent.name.removeprefix("fold_")
        if number.isdecimal() and _fingerprint(path) == in_use:
            return Seen(own=number)
    if not record:
        return Seen()
    # A kill between the two files of new weights leaves those of an epoch before, which only the record speaks of.
    return Seen(_parsed(record.get("after")).images)


def write_seen(root: Path, before: Seen, after: Seen) -> None:
    """Write, before a training begins, what the weights in use have seen and what those that it makes will have seen.

    Args:
        root: folder of the bundle.
        before: of `seen_by_weights_in_use`.
        after: the weights that the training goes on from, if any, with the cases that it trains on.
    """
    content = {
        "weights_before": _fingerprint(root / "models" / WEIGHTS),
        "before": asdict(before),
        "after": asdict(after),
    }
    folder(root).mkdir(parents=True, exist_ok=True)
    atomic_write_text(folder(root) / FILE_NAME, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def _fingerprint(weights: Path) -> str | None:
    """What tells weights from others; None where there are none that can be read."""
    try:
        return fingerprint_of(weights)
    except (OSError, EOFError, RuntimeError, AttributeError, pickle.UnpicklingError):
        return None


def _read(path: Path) -> Mapping[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _parsed(content: Any) -> Seen:
    """What a part of the record says; one that is missing or damaged says that nobody knows."""
    if not isinstance(content, dict) or not isinstance(content.get("images"), dict):
        return Seen(images=None)
    return Seen({str(name): str(digest) for name, digest in content["images"].items()}, str(content.get("own")))


def _digest(image: Path) -> str:
    digest = hashlib.sha256()
    with image.open("rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
