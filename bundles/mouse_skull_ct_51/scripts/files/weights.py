"""Files of weights: written whole or not at all, and read without running code that is in them."""

from __future__ import annotations

import contextlib
import math
import os
import pickle
from pathlib import Path
from typing import Any

import torch

from .atomic import written_whole
from .errors import naming_the_file


def read_weights(path: str | os.PathLike[str]) -> Any:
    """Read a file of tensors and primitives on the CPU.

    Args:
        path: written by ``torch.save``.

    Raises:
        OSError: if the file cannot be opened.
        ValueError: if it is no whole file of weights, or holds Python objects, which could run code. What torch says
            then is not repeated, because it explains how to switch its check off.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path}: is no plain file of weights: it holds Python objects, which could run code, or is damaged; give "
            "a file with a state dict of tensors alone, or train again"
        ) from error
    except (RuntimeError, EOFError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: is damaged or no file of weights; put it back, or train again") from error


def atomic_save(obj: object, path: str | os.PathLike[str]) -> None:
    """Write with `torch.save` so that a reader, or a kill at any moment, never sees half a file.

    Args:
        obj: Tensors and primitives, in dictionaries and lists, so that ``torch.load(..., weights_only=True)`` reads it.
        path: Where to write; its folder must exist.

    Raises:
        UnwritableError: The disk is full, for one; what was there before is untouched.
    """
    path = Path(path)
    with naming_the_file(path), written_whole(path) as stream:
        torch.save(obj, stream)


def remove_leftovers(folder: Path, before: float = math.inf) -> None:
    """Remove files that a killed process left unfinished.

    Args:
        folder: Of weights.
        before: Only those that were last changed before this time, in seconds since the epoch.
    """
    for leftover in folder.glob("*.tmp"):
        with contextlib.suppress(FileNotFoundError):
            if leftover.stat().st_mtime < before:
                leftover.unlink()
