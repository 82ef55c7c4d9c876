"""What a training needs to go on exactly where it stopped, as tensors and primitives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine
from torch import nn
from torch.optim import Optimizer

from .random_state import random_state, restore_random_state
from .schedule import Schedule


def weights_of(network: nn.Module) -> dict[str, torch.Tensor]:
    """The state dict of a network on the CPU.

    A layer may have several names, as those of DynUNet have. From another device it is copied once, so that a file of
    weights is no larger than one from the CPU.
    """
    copies: dict[tuple[object, ...], torch.Tensor] = {}
    weights = {}
    for name, tensor in network.state_dict().items():
        memory = (tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
        if memory not in copies:
            copies[memory] = tensor.detach().cpu()
        weights[name] = copies[memory]
    return weights


def training_state(network: nn.Module, optimizer: Optimizer, schedule: Schedule, trainer: Engine) -> dict[str, Any]:
    """The state of everything that a step changes, random numbers included."""
    return {
        "network": weights_of(network),
        "optimizer_name": type(optimizer).__name__,
        "optimizer": optimizer.state_dict(),
        "scaler": None if trainer.scaler is None else trainer.scaler.state_dict(),
        "schedule": schedule.state_dict(),
        "random": random_state(),
    }


def restore_training_state(  # noqa: PLR0917
    state: dict[str, Any], path: Path, network: nn.Module, optimizer: Optimizer, schedule: Schedule, trainer: Engine
) -> None:
    """Bring everything back to what `training_state` gave.

    Args:
        state: Its content.
        path: The file that it was read from, for messages.
        network: Takes the weights; the others likewise.
        optimizer: Of the same kind as the one of then.
        schedule: Of the learning rate.
        trainer: The engine that trains.

    Raises:
        ValueError: The state belongs to another network or optimiser.
    """
    _check_fits(state, path, network, optimizer)
    network.load_state_dict(state["network"])
    optimizer.load_state_dict(state["optimizer"])
    schedule.load_state_dict(state["schedule"])
    if trainer.scaler is not None and state["scaler"]:
        trainer.scaler.load_state_dict(state["scaler"])
    restore_random_state(state["random"])


def _check_fits(state: dict[str, Any], path: Path, network: nn.Module, optimizer: Optimizer) -> None:
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
