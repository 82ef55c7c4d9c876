"""The weights that a training starts from stay where it was made; a bundle that travels is trained without them."""

from __future__ import annotations

from typing import Any

LOADER = "scripts.training.pretrained.LoadPretrained"


def without_pretrained(train: dict[str, Any]) -> dict[str, Any]:
    """A ``train.json`` that does not read ``models/pretrained.pt``.

    Args:
        train: its content; not changed.
    """
    section = train.get("train", {})
    handlers = [one for one in section.get("handlers", []) if one.get("_target_") != LOADER]
    if handlers == section.get("handlers", []):
        return train
    return {**train, "train": {**section, "handlers": handlers}}
