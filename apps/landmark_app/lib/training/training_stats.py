"""What is known of a training from corrections, in files beside its weights: for clients, and after a kill."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import psutil

from auto_config.bundle_scripts.file_names import CALIBRATION, PROGRESS, WEIGHTS
from auto_config.bundle_scripts.files.text import atomic_write_text

FOLD = "labels"
"""The fold of `train.json` that a training from corrections is, so it leaves the folds of `auto_config train` alone."""

RUNNING, DONE, FAILED, STOPPED = "running", "done", "failed", "stopped"

CALIBRATING = "running"
"""What is noted as ``calibration`` while it is made."""
_RECORD = "training.json"
_TAIL_BYTES = 8192


def folder(root: Path) -> Path:
    """Where the files of the training are."""
    return root / "models" / f"fold_{FOLD}"


def begin(root: Path, facts: dict[str, Any]) -> None:
    """Write that a training of this process begins.

    Args:
        root: folder of the bundle.
        facts: what clients see as they are.
    """
    folder(root).mkdir(parents=True, exist_ok=True)
    (folder(root) / PROGRESS).unlink(missing_ok=True)
    process = {"pid": os.getpid(), "created": psutil.Process().create_time()}
    begun = {"state": RUNNING, "started": time.time(), "ended": None, "error": None, "weights": weights_state(root)}
    _write(root, {**facts, **begun, "process": process})


def note(root: Path, facts: dict[str, Any]) -> None:
    """Add to what clients see of the training."""
    _write(root, {**_read(root), **facts})


def end(root: Path, error: str | None) -> None:
    """Write that the training has ended.

    Args:
        root: folder of the bundle.
        error: one line that says why it failed; None if it did not.
    """
    ended = {"state": FAILED if error else DONE, "ended": time.time(), "error": error}
    _write(root, {**_read(root), **ended, "replaced": _read(root).get("weights") != weights_state(root)})


def weights_state(root: Path) -> list[int] | None:
    """What tells one file of weights in use from another: time and size; None without weights."""
    path = root / "models" / WEIGHTS
    try:
        return [path.stat().st_mtime_ns, path.stat().st_size]
    except OSError:
        return None


def is_running(root: Path) -> bool:
    """Whether a process trains this bundle now, of this server or of one that was killed."""
    record = _read(root)
    return record.get("state") == RUNNING and _lives(record.get("process"))


def training_stats(root: Path) -> dict[str, Any]:
    """The last training of a bundle, running or not; empty if there was none.

    Args:
        root: folder of the bundle.

    Returns:
        ``state`` (running, done, failed, stopped), ``epoch``, ``max_epochs``, ``progress`` (0 to 1), ``loss``,
        ``mre_mm`` (last validation), ``best_mre_mm``, ``best_epoch``, ``before_mre_mm`` (weights in use before),
        ``seconds_left``, ``replaced`` (whether the new weights came into use), ``error``, ``training_cases``,
        ``validation_cases``, ``judge``, ``pretrained``; null where not known. ``calibration``: null before the end,
        ``running``, ``{"cases", "pooled", "notes"}``, ``kept`` (the weights in use stay, and are calibrated) or
        ``none: ...`` with the reason. ``total_epochs``, and ``total_time`` once it has ended, are what the progress bar
        of Slicer's stock plugin reads.
    """
    record = _read(root)
    if not record:
        return {}
    first, last = _first_and_last(folder(root) / PROGRESS)
    state = record["state"]
    if state == RUNNING and not _lives(record.get("process")):
        state = STOPPED
    running = state == RUNNING
    has_changed = record.get("weights") != weights_state(root)
    replaced = has_changed if running or state == STOPPED else record.get("replaced", False)
    stats = {
        **{name: record.get(name) for name in ("max_epochs", "pretrained", "judge", "error")},
        **{name: record.get(name) for name in ("training_cases", "validation_cases", "started", "ended")},
        **{name: last.get(name) for name in ("progress", "loss", "mre_mm", "best_mre_mm", "best_epoch")},
        "state": state,
        "epoch": last.get("epoch", 0),
        "before_mre_mm": first.get("best_mre_mm"),
        "seconds_left": last.get("seconds_left") if running else None,
        "replaced": replaced,
        "calibration": record.get("calibration") if running else _calibration(root, record, bool(replaced)),
        "total_epochs": record.get("max_epochs"),
    }
    if not running:
        stats["total_time"] = round((record.get("ended") or record["started"]) - record["started"], 1)
    return stats


def summary(stats: dict[str, Any]) -> str:
    """How a training ended, in one line for a person.

    Args:
        stats: of `training_stats`.
    """
    cases = "1 image" if stats["validation_cases"] == 1 else f"{stats['validation_cases']} images"
    before, best = stats["before_mre_mm"], stats["best_mre_mm"]
    if not stats["validation_cases"] or best is None:
        new = "the new weights are in use" if stats["replaced"] else "the weights in use stay"
        return f"{new}; nothing could judge them, label a second image"
    if not stats["replaced"]:
        return f"the weights in use stay: {before:.2f} mm on {cases}, and none of the new ones is better"
    than = "" if before is None else f", before {before:.2f} mm"
    return f"the new weights are in use: {best:.2f} mm on {cases}{than}; {_calibrated(stats.get('calibration'))}"


def _calibrated(calibration: Any) -> str:
    """The calibration of new weights, in a few words."""
    if isinstance(calibration, dict):
        return f"calibrated on {calibration['cases']} of them"
    return f"not calibrated ({str(calibration or 'none').removeprefix('none: ')})"


def _calibration(root: Path, record: dict[str, Any], replaced: bool) -> Any:
    """What is known of the calibration after a training; one that was stopped, or failed, did not make it."""
    if not replaced:
        return "kept" if (root / "models" / CALIBRATION).is_file() else "none: the weights in use stay"
    made = record.get("calibration")
    return "none: the training did not come to its end" if made in (None, CALIBRATING) else made


def _lives(process: Any) -> bool:
    try:
        found = psutil.Process(process["pid"])
        # A process that was killed keeps its number until the server has taken note of its end.
        return found.status() != psutil.STATUS_ZOMBIE and abs(found.create_time() - process["created"]) < 1.0
    except (psutil.Error, KeyError, TypeError, ValueError):
        return False


def _read(root: Path) -> dict[str, Any]:
    try:
        record = json.loads((folder(root) / _RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) and "state" in record and "started" in record else {}


def _write(root: Path, record: dict[str, Any]) -> None:
    atomic_write_text(folder(root) / _RECORD, json.dumps(record, indent=4) + "\n")


def _first_and_last(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The first and the last whole line of a file of JSON lines; it is read without its middle."""
    try:
        with path.open("rb") as stream:
            head = stream.readline()
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - _TAIL_BYTES))
            tail = stream.read().splitlines()
    except OSError:
        return {}, {}
    return _parsed(head), next((found for line in reversed(tail) if (found := _parsed(line))), {})


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}
