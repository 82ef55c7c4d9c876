"""A package, as `package` writes it, or the folder of a bundle: opened, and refused where it is neither."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

import numpy as np

from auto_config.errors import UserError
from auto_config.federation.checks import Planned
from auto_config.fingerprint.summary import Fingerprint
from auto_config.methods.plan import Plan

NEEDED = ("configs/train.json", "configs/inference.json", "configs/plan.json", "configs/landmarks.json")
LARGEST_BYTES = 20 * 2**30
"""Of all files of a package together: far above any ensemble, and below what fills a disk."""
LEFT_BEHIND = ("data", "cache", "eval")
"""Folders of a bundle that belong to whoever trained it."""


@contextmanager
def opened_package(path: Path) -> Iterator[Path]:
    """The folder of a package; that of a zip is there until the block ends.

    Args:
        path: of the zip, or of the folder of a bundle.

    Raises:
        UserError: it is neither.
    """
    if path.is_dir():
        yield _checked(path, path)
        return
    if not path.is_file():
        raise UserError(f"{path}: does not exist; give the zip that `package` wrote, or the folder of a bundle")
    with TemporaryDirectory() as temporary:
        yield _checked(_extracted(path, Path(temporary)), path)


def _extracted(path: Path, folder: Path) -> Path:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            parts = [PurePosixPath(member.filename.replace("\\", "/")) for member in members]
            if any(part.is_absolute() or ".." in part.parts for part in parts):
                raise UserError(f"{path}: holds files that would lie outside of its folder; do not use it")
            tops = {part.parts[0] for part in parts if part.parts}
            if len(tops) != 1:
                raise UserError(f"{path}: holds {len(tops)} folders; give a zip that `package` wrote")
            if sum(member.file_size for member in members) > LARGEST_BYTES:
                raise UserError(f"{path}: would unpack to more than {LARGEST_BYTES >> 30} GB; do not use it")
            archive.extractall(folder)
    except zipfile.BadZipFile as error:
        raise UserError(f"{path}: is no whole zip ({error}); get it again") from error
    return folder / tops.pop()


def _checked(folder: Path, given: Path) -> Path:
    missing = next((name for name in NEEDED if not (folder / name).is_file()), None)
    if missing is not None:
        raise UserError(f"{given}: has no {missing}; give the zip that `package` wrote, or the folder of a bundle")
    return folder


def copied(folder: Path, target: Path) -> None:
    """Copy what a package would hold; a new folder."""
    ignored = shutil.ignore_patterns("__pycache__", "latest.pt", "progress.jsonl", "*.tmp", "out_of_fold.json")

    def skip(place: str, names: list[str]) -> set[str]:
        top = set(LEFT_BEHIND) if Path(place) == folder else set()
        return {*ignored(place, names), *(top & set(names))}

    shutil.copytree(folder, target, ignore=skip)


def planned(folder: Path) -> Planned:
    """What a package says of the data it was planned for.

    Raises:
        UserError: plan.json or landmarks.json are not those of a bundle.
    """
    try:
        document = json.loads((folder / "configs" / "plan.json").read_text(encoding="utf-8"))
        plan = Plan.from_dict(document["decisions"])
        numbers = Fingerprint.from_dict(document["fingerprint"])
        table = json.loads((folder / "configs" / "landmarks.json").read_text(encoding="utf-8"))["landmarks"]
        names = [str(row["name"]) for row in table]
        offsets = [row["mean_offset_mm"] or [np.nan] * numbers.spatial_dims for row in table]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{folder.name}: its plan.json or landmarks.json is of another version or broken "
            f"({type(error).__name__}: {error}); write the bundle again with this version"
        ) from error
    return Planned(plan, numbers, tuple(names), np.array(offsets, dtype=np.float64))
