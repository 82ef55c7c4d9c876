"""Weights are read without running code that is in their file; a file that wants that is refused in one line."""

from __future__ import annotations

import os
import pickle
from typing import Any

import torch


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
