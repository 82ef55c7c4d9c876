"""The folder of exports: what is in it, and what may be replaced there. Light: no torch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from auto_config.errors import UserError

ONNX, TORCHSCRIPT = "onnx", "torchscript"
ENDINGS = {ONNX: ".onnx", TORCHSCRIPT: ".ts"}
PIPELINE = "pipeline.json"
_NAME = re.compile(r"(coarse|fine)(_\d+)?")
"""Of a stage, with the number of a network of an ensemble: what a user calls ``fine_tuned.onnx`` is none."""


def check_folder(folder: Path, formats: Sequence[str], overwrite: bool) -> None:
    """Refuse to replace exports unasked.

    Args:
        folder: of the exports.
        formats: that are to be written, of `ENDINGS`.
        overwrite: they may be replaced.

    Raises:
        UserError: the folder is a file, or exports are there.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file; give a folder for the exports")
    there = exports_in(folder, formats)
    if there and not overwrite:
        raise UserError(f"{there[0]}: an export is there; give another folder, or --overwrite to replace it")


def exports_in(folder: Path, formats: Sequence[str]) -> list[Path]:
    """Files that an earlier export in some formats has left."""
    endings = [ENDINGS[kind] for kind in formats]
    found = [path for path in sorted(folder.glob("*")) if path.suffix in endings and _NAME.fullmatch(path.stem)]
    if ONNX in formats and (folder / PIPELINE).exists():
        found.append(folder / PIPELINE)
    return found
