"""Slicer's own Python as the place where landmark-bundles runs: installed after asking, in a process of its own too."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import slicer
from LandmarkBundlesLib.programs import NAME, OLDEST_PYTHON, PACKAGE, ProgramError

from .parts import TITLE


class OwnPython:
    """The Python that comes with Slicer."""

    def program(self) -> tuple[str, ...]:
        """First words of a command; what is missing is installed, if the user agrees.

        Raises:
            ProgramError: this Slicer's Python is too old, or the user does not want the installation.
        """
        if sys.version_info[:2] < OLDEST_PYTHON:
            raise ProgramError(
                f"this Slicer has Python {sys.version_info[0]}.{sys.version_info[1]}, and {PACKAGE} needs "
                f"{'.'.join(map(str, OLDEST_PYTHON))} or newer; use an environment of its own"
            )
        python = shutil.which("PythonSlicer")
        if python is None:
            raise ProgramError("PythonSlicer is not on Slicer's search path; use an environment of its own")
        if importlib.util.find_spec(NAME) is None:
            self._install()
        return (str(Path(python)), "-m", NAME)

    @staticmethod
    def _install() -> None:
        source = checkout()
        if source is None:
            raise ProgramError(
                f"{PACKAGE} is not in Slicer's Python; install its wheel there, in the Python console by "
                "slicer.util.pip_install('FILE.whl'), or use an environment of its own"
            )
        question = (
            f"Install {PACKAGE} from {source}, with PyTorch and MONAI, into Slicer's own Python? This downloads up to "
            "3 GB, takes minutes, and may change versions of packages that other extensions use. An environment of its "
            "own does not."
        )
        if not slicer.util.confirmOkCancelDisplay(question, windowTitle=TITLE):
            raise ProgramError(f"{PACKAGE} is not in Slicer's Python; use an environment of its own")
        try:
            if importlib.util.find_spec("torch") is None:
                _install_torch()
            slicer.util.pip_install([str(source)])
        except subprocess.CalledProcessError as error:
            raise ProgramError(f"pip could not install {PACKAGE}; its words are in the Python console") from error
        importlib.invalidate_caches()
        if importlib.util.find_spec(NAME) is None:
            raise ProgramError(f"{PACKAGE} was installed, but Slicer does not find it; restart Slicer")


def checkout() -> Path | None:
    """The repository that this module lies in, whose package fits it; None where the module was copied elsewhere.

    The package is not fetched by its name: that would be whatever an index has under it.
    """
    root = Path(__file__).resolve().parents[4]
    file = root / "pyproject.toml"
    if not file.is_file() or f'name = "{PACKAGE}"' not in file.read_text(encoding="utf-8"):
        return None
    return root


def _install_torch() -> None:
    """By the extension PyTorch, where it is there: it chooses the build for this machine's GPU."""
    try:
        import PyTorchUtils
    except ImportError:
        return  # pip brings one along
    if PyTorchUtils.PyTorchUtilsLogic().installTorch(askConfirmation=True) is None:
        raise ProgramError("PyTorch was not installed; use an environment of its own")
