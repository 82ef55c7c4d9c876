"""Where `auto_config` is on this machine: what a user gave as its environment, as the first words of a command."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

NAME = "auto_config"
PACKAGE = "landmark-bundles"
OLDEST_PYTHON = (3, 10)
"""Of the package; older versions of Slicer have an older Python, which can still start the package elsewhere."""


class ProgramError(Exception):
    """Why there is no program to predict with, in one line that says what to do."""


def find_program(given: str, environment: Mapping[str, str]) -> tuple[str, ...]:
    """The first words of a command that runs `auto_config`.

    Args:
        given: what the user gave: the program, a Python, or the folder of a virtual environment; empty to look on the
            search path.
        environment: of the process, for ``PATH``; Slicer's own entries must not be in it.

    Raises:
        ProgramError: nothing of the kind is there.
    """
    text = given.strip().strip('"')
    if not text:
        found = shutil.which(NAME, path=environment.get("PATH", os.defpath))
        if found is None:
            raise ProgramError(
                f"no {NAME} on the search path; install it in an environment of its own (docs/slicer.md, 'On this "
                "computer') and give that environment's folder"
            )
        return (found,)
    path = Path(text).expanduser()
    if path.is_dir():
        return _of_folder(path)
    if not path.is_file():
        raise ProgramError(f"{path}: is not there; give the folder of an environment in which {PACKAGE} is installed")
    # A Python of an environment is a link; resolved, it would be the Python without the environment.
    if path.name.lower().startswith("python"):
        return (str(path.absolute()), "-m", NAME)
    return (str(path.absolute()),)


def _of_folder(folder: Path) -> tuple[str, ...]:
    places = ("bin", "Scripts", ".")
    programs = [folder / place / f"{NAME}{end}" for place in places for end in ("", ".exe")]
    pythons = [folder / place / name for place in places for name in ("python", "python.exe")]
    for path in programs:
        if path.is_file():
            return (str(path.absolute()),)
    for path in pythons:
        if path.is_file():
            return (str(path.absolute()), "-m", NAME)
    raise ProgramError(
        f"{folder}: has neither {NAME} nor a Python in bin or Scripts; give the folder of a virtual environment in "
        f"which {PACKAGE} is installed"
    )
