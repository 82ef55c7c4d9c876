"""The rounds of a site, by MONAI's own client of federated learning, and the weights that they begin and end with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.fl.client import MonaiAlgo
from monai.fl.utils.constants import ExtraItems
from monai.fl.utils.exchange_object import ExchangeObject

from auto_config.bundle.opened import untrained_network
from auto_config.bundle_scripts.file_names import CALIBRATION, ENSEMBLE, WEIGHTS
from auto_config.bundle_scripts.files.text import atomic_write_text
from auto_config.bundle_scripts.files.weights import atomic_save, read_weights
from auto_config.errors import UserError
from auto_config.federation.averaging import SiteUpdate
from auto_config.federation.site import known_cases


class LocalTraining:
    """The rounds of one site: each begins with the weights of all and ends with its own.

    Optimiser and learning rate go on from round to round; the rate decays over all rounds.

    Args:
        bundle: folder that `join` wrote.
        rounds: rounds of the federation.
        local_epochs: epochs of each round.
        fold: of the site's cases, whose validation cases judge; "none" trains on all.
        name: of the site, for what MONAI says.

    Raises:
        UserError: no bundle with a data list.
    """

    def __init__(
        self, bundle: Path, *, rounds: int, local_epochs: int = 1, fold: int | str = 0, name: str = "site"
    ) -> None:
        root = bundle.absolute()
        listed = root / "data" / "datalist.json"
        if not listed.is_file():
            raise UserError(f"{listed}: does not exist; set the package up for this site first: auto_config join")
        given = {"fold": fold, "schedule#epochs": rounds * local_epochs}
        self._algo = MonaiAlgo(
            bundle_root=str(root),
            local_epochs=local_epochs,
            send_weight_diff=False,
            train_kwargs=dict(given),
            eval_kwargs=dict(given),
        )
        self._algo.initialize({ExtraItems.CLIENT_NAME: name})
        labels = [item["label"] for item in self._algo.train_workflow.train_dataset_data]
        self.cases = len(labels)
        self.known = np.array(known_cases(labels, landmark_names(root)))

    def round(self, weights: Mapping[str, np.ndarray]) -> SiteUpdate:
        """Judge the weights of all on this site's validation cases, then train from them.

        Args:
            weights: state dict as arrays.
        """
        before = self._algo.evaluate(_exchanged(weights)).metrics
        self._algo.train(_exchanged(weights))
        own = {name: tensor.cpu().numpy() for name, tensor in self._algo.get_weights().weights.items()}
        metrics = {name: float(value) for name, value in before.items() if np.isfinite(value)}
        return SiteUpdate(own, self.cases, self.known, metrics)

    def close(self) -> None:
        """Give everything back."""
        self._algo.finalize()


def _exchanged(weights: Mapping[str, np.ndarray]) -> ExchangeObject:
    # Copies: MONAI's client puts these tensors into its network.
    return ExchangeObject(weights={name: np.array(array) for name, array in weights.items()})


def landmark_names(bundle: Path) -> list[str]:
    """Names in channel order."""
    table = json.loads((bundle / "configs" / "landmarks.json").read_text(encoding="utf-8"))
    return [str(row["name"]) for row in table["landmarks"]]


def first_weights(bundle: Path, seed: int = 0) -> dict[str, np.ndarray]:
    """What the first round begins with: the weights of the package, or those of a new network.

    Args:
        bundle: folder of the coordinator's bundle.
        seed: of a new network.
    """
    path = bundle / "models" / WEIGHTS
    found: Mapping[str, torch.Tensor] = (
        read_weights(path) if path.is_file() else untrained_network(bundle, seed).state_dict()
    )
    return {name: tensor.numpy() for name, tensor in found.items()}


def landmark_layers(bundle: Path, weights: Mapping[str, np.ndarray]) -> list[str]:
    """Tensors of output layers with a channel for each landmark, for `averaging.average`.

    Args:
        bundle: folder of the coordinator's bundle.
        weights: of its network.
    """
    config: dict[str, Any] = json.loads((bundle / "configs" / "train.json").read_text(encoding="utf-8"))
    layers = config["network_def"].get("output_layers", {})
    names = [f"stages.{stage}.{layer}.{kind}" for stage, layer in layers.items() for kind in ("weight", "bias")]
    count = len(landmark_names(bundle))
    return [name for name in names if name in weights and weights[name].shape[0] == count]


def put_into_use(bundle: Path, weights: Mapping[str, np.ndarray]) -> None:
    """Make averaged weights those that the bundle predicts with; a calibration of others is removed.

    Args:
        bundle: folder of a bundle.
        weights: state dict as arrays.
    """
    models = bundle / "models"
    models.mkdir(exist_ok=True)
    (models / CALIBRATION).unlink(missing_ok=True)
    atomic_write_text(models / ENSEMBLE, json.dumps({"files": [WEIGHTS]}, indent=4) + "\n")
    atomic_save({name: torch.from_numpy(np.array(array)) for name, array in weights.items()}, models / WEIGHTS)
