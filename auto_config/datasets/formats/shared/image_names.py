r"""Which image a table means: by path, by name, and by what spreadsheets and other systems make of both.

Windows writes ``C:\data\0001.png``; a Mac writes an accent as two signs; Excel takes the zeros of ``0001`` away.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path

from auto_config.datasets.formats.shared.entries import below, one_form
from auto_config.datasets.images import image_stem, is_image
from auto_config.datasets.model.dataset import Problem


def base_name(value: str) -> str:
    """The last part of a path of any system."""
    return _parts(value)[-1] if _parts(value) else ""


def named_stem(value: str) -> str:
    """The last part of a path of any system, without the ending of an image."""
    return image_stem(Path(base_name(value)))


def local_path(folder: Path, value: str) -> Path:
    """The path that a value means below a folder, in the Unicode form in which it is there.

    Backslashes are those of Windows where no file has them in its name.

    Raises:
        OSError: The name is too long for a file.
    """
    direct = below(folder, value)
    return direct if "\\" not in value or direct.exists() else below(folder, value.replace("\\", "/"))


def meant_name(written: str, names: Collection[str]) -> str | None:
    """The one of `names` that is meant: the same, or the one number that differs in leading zeros only."""
    if written in names:
        return written
    number = _number(written)
    alike = [name for name in names if number and _number(name) == number]
    return alike[0] if len(alike) == 1 else None


class ImageNames:
    """The images of a data set by all that a table may call them.

    Args:
        files: The images.
        folder: The folder of the table, where relative paths start.
    """

    def __init__(self, files: Sequence[Path], folder: Path) -> None:
        self._folder = folder
        self._by_name: dict[str, list[Path]] = {}
        self._by_number: dict[str, list[Path]] = {}
        for path in files:
            for key in {one_form(path.name), one_form(image_stem(path))}:
                self._by_name.setdefault(key, []).append(path)
            if number := _number(image_stem(path)):
                self._by_number.setdefault(number, []).append(path)

    def find(self, value: str) -> list[Path]:
        """The images that a value of the table may mean; those that share most of its path, if it is one.

        A file at the path, else those with this name, with or without ending, else those called by the same number
        with other leading zeros.
        """
        if not value.isprintable():
            return []
        try:
            direct = local_path(self._folder, value)
            if is_image(direct) and direct.resolve() != self._folder.resolve():
                return [direct]
        except OSError:  # a name that is too long for a file
            return []
        found = self._by_name.get(one_form(value)) or self._by_name.get(one_form(base_name(value)))
        return _nearest(found or self._by_number.get(_number(named_stem(value)), []), value)


def without_zeros(written: str, image: Path) -> bool:
    """Whether a name is that of its image but for leading zeros."""
    stem = image_stem(image)
    return named_stem(written) != stem and bool(_number(stem)) and _number(named_stem(written)) == _number(stem)


def zeros_problem(shortened: Sequence[tuple[str, Path]], source: Path) -> list[Problem]:
    """One warning where a table lost leading zeros: names as they are written, with their images."""
    if not shortened:
        return []
    written, image = shortened[0]
    count = f"{len(shortened)} {'case is' if len(shortened) == 1 else 'cases are'}"
    message = (
        f"{source}: {count} written without the leading zeros of the image, as spreadsheets do: {written!r} is taken "
        f"as {image.name}; if another image is meant, write its whole name"
    )
    return [Problem("warning", message)]


def _parts(value: str) -> list[str]:
    return [part for part in re.split(r"[/\\]", value) if part]


def _number(stem: str) -> str:
    """The digits of a name that is a number, without leading zeros; empty for any other name."""
    return (stem.lstrip("0") or "0") if stem.isascii() and stem.isdigit() else ""


def _nearest(candidates: Sequence[Path], value: str) -> list[Path]:
    """Of several candidates those whose folders agree with most of the end of a path."""
    folders = _parts(value)[-2::-1]

    def agreeing(path: Path) -> int:
        own = path.parts[-2::-1]
        return next((place for place, (a, b) in enumerate(zip(own, folders, strict=False)) if a != b), len(folders))

    most = max(map(agreeing, candidates), default=0)
    return [path for path in candidates if agreeing(path) == most]
