"""Where a data set is written to: names of files, images that are referred to, linked or copied, and what is lost."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from auto_config.bundle_scripts.files.text import atomic_write_text
from auto_config.bundle_scripts.images.numpy_files import sidecar
from auto_config.bundle_scripts.points.landmark_names import quoted
from auto_config.bundle_scripts.points.landmarks import LandmarkSet
from auto_config.choices import ImageMode
from auto_config.datasets.images import Header, image_suffix, read_header
from auto_config.datasets.model.dataset import Case, Dataset
from auto_config.errors import UserError

_LONGEST_STEM = 150
_DETACHED = (".mhd", ".nhdr")


@dataclass(frozen=True)
class Target:
    """A data set on its way to disk.

    Args:
        folder: Folder to write into now.
        final: Folder that it becomes; paths in files and links are relative to it. Both have the same parent.
        dataset: What is written; each case has landmarks.
        images: What happens to the images.
        losses: What could not be written, a sentence each; writers add to it.
    """

    folder: Path
    final: Path
    dataset: Dataset
    images: ImageMode
    losses: list[str] = field(default_factory=list)

    @property
    def cases(self) -> tuple[Case, ...]:
        """The cases to write."""
        return self.dataset.cases

    @property
    def pixel_spacing(self) -> tuple[float, float] | None:
        """Pixel size (x, y) in mm that was given for all pictures; None where their files say it, or nobody knows."""
        return next((case.pixel_spacing for case in self.cases), None)

    def landmarks(self, case: Case) -> LandmarkSet:
        """The landmarks of a case.

        Raises:
            UserError: It has none.
        """
        if case.landmarks is None:
            raise UserError(f"case {case.name!r} has no landmarks; there is nothing to convert")
        return case.landmarks

    def header(self, case: Case) -> Header:
        """The header of a case's image."""
        return read_header(list(case.image), case.pixel_spacing)

    @cached_property
    def _stems(self) -> dict[str, str]:
        return file_stems(case.name for case in self.cases)

    def stem(self, case: Case) -> str:
        """Name of the case as a file name without ending; unique, also where upper and lower case are one."""
        return self._stems[case.name]

    @cached_property
    def _rater_stems(self) -> dict[str, str]:
        return file_stems(dict.fromkeys(rater for case in self.cases for rater in case.raters))

    def rater_stem(self, rater: str) -> str:
        """Name of the rater as a folder name."""
        return self._rater_stems[rater]

    def file(self, *parts: str) -> Path:
        """A path to write to, its folder made."""
        path = self.folder.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def write_json(self, document: Any, *parts: str) -> None:
        """Write a JSON file."""
        text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
        atomic_write_text(self.file(*parts), text + "\n")

    def image_paths(self, case: Case) -> list[str]:
        """Put the images of a case into place, and give their paths relative to the folder of the data set."""
        if self.images == "refer":
            return [_relative(path, self.final) for path in case.image]
        single = len(case.image) == 1
        names = [
            f"{self.stem(case)}{'' if single else f'_{channel:04d}'}{_ending(path)}"
            for channel, path in enumerate(case.image)
        ]
        for path, name in zip(case.image, names, strict=True):
            self.place(path, "images", name)
        return [f"images/{name}" for name in names]

    def place(self, image: Path, folder: str, name: str) -> None:
        """Link or copy an image into a folder.

        Raises:
            UserError: The system makes no links, or the image is a header whose data lie in another file.
        """
        if image.name.lower().endswith(_DETACHED):
            raise UserError(
                f"{image}: is a header whose data lie in another file, and cannot be renamed; save it as .mha or "
                ".nrrd, or convert with --to datalist, which only names its path"
            )
        if image.name.lower().endswith(".npy") and sidecar(image).is_file():
            self._put(sidecar(image), folder, sidecar(Path(name)).name)
        self._put(image, folder, name)

    def _put(self, image: Path, folder: str, name: str) -> None:
        path = self.file(folder, name)
        if self.images == "copy":
            (shutil.copytree if image.is_dir() else shutil.copyfile)(image, path)
            return
        try:
            path.symlink_to(_relative(image, self.final / folder), target_is_directory=image.is_dir())
        except OSError as error:
            raise UserError(f"{path}: no link can be made here ({error.strerror}); add --images copy") from error


def _relative(path: Path, start: Path) -> str:
    try:
        return Path(os.path.relpath(path, start)).as_posix()
    except ValueError:  # another drive
        return str(path)


def _ending(path: Path) -> str:
    return "" if path.is_dir() else path.name[-len(image_suffix(path) or "") :]


def file_stems(names: Iterable[str]) -> dict[str, str]:
    """Names as file names, by name.

    Signs that a file system or a reader takes for something else become ``_``; names that then are equal (also in
    upper and lower case) get a number.
    """
    stems: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        base = re.sub(r'[/\\:*?"<>|\x00-\x1f\x7f]', "_", name).strip(" .")[:_LONGEST_STEM].rstrip(" .")
        base = re.sub(r"\.(?=mrk$)", "_", base, flags=re.IGNORECASE) or "case"
        while len(base.encode("utf-8", "replace")) > _LONGEST_STEM:
            base = base[:-1]
        stem, number = base, 1
        while stem.casefold() in taken:
            number += 1
            stem = f"{base}_{number}"
        taken.add(stem.casefold())
        stems[name] = stem
    return stems


_LISTED = 20


def all_points(names: Sequence[str]) -> str:
    """``"2 points ('a: AC', 'b: PC')"``: which points a loss is about; of very many the first."""
    return f"{len(names)} point{'' if len(names) == 1 else 's'} ({quoted(names, _LISTED)})"


def first_and_count(names: Sequence[str], what: str) -> str:
    """``"case 'a' and 3 more cases"``: who a loss is about."""
    more = len(names) - 1
    return f"{what} {names[0]!r}" + (f" and {more} more" if more else "")
