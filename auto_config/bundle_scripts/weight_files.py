"""Weights are read without running code that is in their file; a file that wants that is refused in one line."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer


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


def holds_weights(path: str | os.PathLike[str], weights: Mapping[str, torch.Tensor]) -> bool:
    """Whether a file is there and holds a state dict, value by value; NaN, as of an unknown shape, equals NaN."""
    if not Path(path).is_file():
        return False
    try:
        saved = read_weights(path)
    except (OSError, ValueError):
        return False  # not a file of ours
    return saved.keys() == weights.keys() and all(
        torch.equal(saved[name].nan_to_num(), weights[name].nan_to_num()) for name in weights
    )


def check_resumes(network: nn.Module, optimizer: Optimizer, state: Mapping[str, Any], path: object) -> None:
    """Refuse the state of another training.

    Args:
        network: that is trained, not wrapped.
        optimizer: its optimiser.
        state: of a checkpoint: ``network`` and ``optimizer_name``.
        path: its file.

    Raises:
        ValueError: another network or optimiser.
    """
    mine = {name: tensor.shape for name, tensor in network.state_dict().items()}
    theirs = {name: tensor.shape for name, tensor in state["network"].items()}
    differing = [name for name in [*mine, *theirs] if mine.get(name) != theirs.get(name)]
    if differing:
        raise ValueError(
            f"{path} belongs to another network (it differs in {differing[0]!r}): resume with the configuration it "
            "was trained with, or train without resume."
        )
    if state["optimizer_name"] != type(optimizer).__name__:
        raise ValueError(
            f"{path} belongs to the optimizer {state['optimizer_name']}, and this configuration has "
            f"{type(optimizer).__name__}: resume with the same one, or train without resume."
        )
