"""The weights that a bundle predicts with: ``models/model.pt``, or those that ``models/ensemble.json`` lists."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path

import torch
from torch import nn

from ...file_names import ENSEMBLE, WEIGHTS
from ...files.weights import read_weights
from ...methods.ensemble import EnsembleNetwork


def network_in_use(folder: Path, network: nn.Module) -> nn.Module | None:
    """What ``inference.json`` predicts with; None if there are no weights.

    Args:
        folder: The folder of weights, ``models`` of the bundle.
        network: Gives its layers; it is copied.

    Raises:
        OSError, RuntimeError, KeyError, TypeError, ValueError: The files are damaged, or belong to another network.
    """
    listed = folder / ENSEMBLE
    names = json.loads(listed.read_text(encoding="utf-8"))["files"] if listed.is_file() else [WEIGHTS]
    members = []
    for name in names:
        if not (folder / name).is_file():
            return None
        members.append(copy.deepcopy(network))
        members[-1].load_state_dict(read_weights(folder / name))
    return members[0] if len(members) == 1 else EnsembleNetwork(members)


def holds_weights(folder: Path, weights: dict[str, torch.Tensor]) -> bool:
    """Whether ``model.pt`` of a folder holds these weights."""
    path = folder / WEIGHTS
    if not path.is_file():
        return False
    try:
        saved = read_weights(path)
    except (OSError, ValueError):
        return False  # not a file of ours, so nobody can have loaded it into the network
    # The shape model says NaN where it knows nothing.
    return saved.keys() == weights.keys() and all(
        torch.equal(saved[name].nan_to_num(), weights[name].nan_to_num()) for name in weights
    )


def is_in_ensemble(folder: Path, file: str) -> bool:
    """Whether a file of weights is in use among others, as those of an ensemble that trains on."""
    try:
        listed = json.loads((folder / ENSEMBLE).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return file in listed


def weights_to_evaluate(folder: str | os.PathLike[str], fold: int | str, split: str) -> str:
    """The weights that never saw the cases they are about to be judged on.

    ``folder/model.pt`` comes from the newest training, whatever its fold, so it may have been trained on the
    validation cases of this one.

    Args:
        folder: The folder of weights, ``models`` of the bundle.
        fold: The fold whose cases are read, or "none".
        split: ``validation`` or ``test``.

    Returns:
        ``folder/fold_<fold>/model.pt`` for validation, ``folder/model.pt`` for tests. A bundle that was handed on
        without the folders of its folds has only the latter.

    Raises:
        ValueError: If other folds were trained and this one was not.
    """
    folder = Path(folder)
    mine = folder / f"fold_{fold}" / WEIGHTS
    if split != "validation":
        return str(folder / WEIGHTS)
    trained = sorted(path.parent.name.removeprefix("fold_") for path in folder.glob(f"fold_*/{WEIGHTS}"))
    if trained and not mine.is_file():
        raise ValueError(
            f"fold {fold} was not trained, and the weights in {folder} may have seen its cases; trained: "
            f"{', '.join(trained)}. Give --fold with one of these, or --split test."
        )
    return str(mine if trained else folder / WEIGHTS)
