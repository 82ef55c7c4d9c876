"""Training of a bundle from the labels of a data store, by the bundle's own ``train.json``."""

from __future__ import annotations

import json
import logging
import pickle
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.train import TrainTask
from monailabel.utils.others.generic import device_map

from auto_config.bundle.json_text import json_text
from auto_config.bundle_scripts.file_names import WEIGHTS
from auto_config.bundle_scripts.files.text import atomic_write_text
from auto_config.bundle_scripts.points.instances import read_instances
from auto_config.errors import UserError
from auto_config.running import child
from auto_config.running.training import command

from ..core.background import end_with_parent, failure, one_line
from ..store.landmark_labels import LandmarkLabels
from ..tasks.bundles import ServedBundle
from . import training_stats
from .seen_cases import NOTHING, Seen, seen_by_weights_in_use, write_seen
from .train_calibration import calibrate_on
from .training_data import (
    TrainingCases,
    check_items,
    choose_cases,
    find_damage,
    items_of,
    of_kind,
    own_labels,
    own_validation,
)
from .training_options import OWN_VALIDATION, TrainingOptions, read_training_options

logger = logging.getLogger(__name__)

_CONFIG = "train_from_labels.json"
_MANY_EPOCHS = 50


class LandmarkTrain(TrainTask):
    """Trains a bundle on the final labels; MONAI Label calls it in a process of its own.

    The weights in use are judged first on the cases that are held out, and only better ones replace them, each by the
    rename of a whole file. So whatever ends the training, weights that work stay in use. The process ends when the
    server does, however that ends.

    Args:
        bundle: what is trained.
        device: what to train on if the request says nothing; None for the first GPU, or the CPU.
    """

    def __init__(self, bundle: ServedBundle, device: str | None = None) -> None:
        super().__init__(f"Trains '{bundle.name}' on the final labels, beginning with the weights in use")
        self.bundle = bundle
        self.device = device

    def info(self) -> dict[str, Any]:
        """As the base class, and the version of the bundle."""
        return {**super().info(), "version": self.bundle.card.version}

    def config(self) -> dict[str, Any]:
        """The options that clients show, with their defaults."""
        return {
            "device": list(self._devices()),
            "pretrained": True,
            "max_epochs": self._default_epochs(),
            "val_split": 0.2,
            "multi_gpu": True,
            "gpus": "all",
        }

    def stats(self) -> dict[str, Any]:
        """The last training, running or not; see `training_stats`."""
        return training_stats.training_stats(self.bundle.root)

    def options(self, request: Mapping[str, Any]) -> TrainingOptions:
        """Read a request for a training, also before a process is started for it.

        Raises:
            ClientError: a value that is not allowed.
        """
        return read_training_options(
            request,
            default_epochs=self._default_epochs(),
            devices=self._devices(),
            gpus=torch.cuda.device_count(),
        )

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Train.

        Args:
            request: see `read_training_options`.
            datastore: its ``datalist()`` gives the final labels.

        Returns:
            What `stats` gives at the end.

        Raises:
            SystemExit: the training failed; its last line of output begins with ``error:`` and says why. MONAI Label
                shows the last lines of output as the details of the task, and its state as ERROR.
        """
        with end_with_parent():
            return self._train(request, datastore)

    def _train(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any]:
        root = self.bundle.root
        try:
            options = self.options(request)
            if training_stats.is_running(root):
                raise UserError(f"another training of '{self.bundle.name}' still runs; wait for its end")
            items = [{"image": item["image"], "label": item["label"]} for item in datastore.datalist()]
            problems = datastore.label_problems() if isinstance(datastore, LandmarkLabels) else {}
            many = datastore.many_names(None) if isinstance(datastore, LandmarkLabels) else {}
        except Exception as refused:
            raise failure(one_line(refused)) from refused
        error: str | None
        training_stats.begin(root, {"max_epochs": options.max_epochs, "pretrained": options.pretrained})
        try:
            cases = self._cases(items, problems, many, options)
            counts = {"training_cases": len(cases.training), "validation_cases": len(cases.validation)}
            training_stats.note(root, {**counts, "judge": cases.judge})
            seen = self._write_seen(options, cases)
            error = self._run(options, cases)
            if error is None:
                training_stats.note(root, {"calibration": training_stats.CALIBRATING})
                training_stats.note(root, {"calibration": self._calibrate(options, cases, seen)})
        except Exception as unforeseen:
            error = one_line(unforeseen)
            logger.exception("The training of %s failed", self.bundle.name)
        training_stats.end(root, error)
        if error is not None:
            raise failure(error)
        print(training_stats.summary(self.stats()), flush=True)
        return self.stats()

    def _cases(
        self,
        items: list[dict[str, str]],
        problems: Mapping[str, str],
        others: Collection[str],
        options: TrainingOptions,
    ) -> TrainingCases:
        card, table = self.bundle.card, self.bundle.root / "configs" / "landmarks.json"
        many = {*card.many, *others}
        items = items_of(items, card.names, many)
        if not items and problems:
            raise UserError(f"no final label can be used: {next(iter(problems.values()))}; submit it again, then train")
        if not items:
            raise UserError("no image has a final label yet; place the landmarks of one and submit it, then train")
        items = own_labels(of_kind(items, card), card, many, training_stats.folder(self.bundle.root) / "labels")
        check_items(items, card, read_instances(table) if card.many else None)
        check_config(self.bundle.root)
        if options.pretrained:
            check_weights(self.bundle.root)
        needs_own = options.val_split == OWN_VALIDATION or len(items) == 1
        return choose_cases(items, own_validation(self.bundle.root) if needs_own else [], options.val_split)

    def _run(self, options: TrainingOptions, cases: TrainingCases) -> str | None:
        """Train in a process; why it failed, in one line, or None."""
        root = self.bundle.root
        config = training_stats.folder(root) / _CONFIG
        atomic_write_text(config, json_text(overrides(root, options, cases)))
        line = command(root, {}, options.processes, [config])
        ended = child.follow(line, log=root / "eval" / "train_error.log")
        if ended.status == 0:
            return None
        damage = find_damage([*cases.training, *cases.validation])
        return damage or ended.message or f"the training ended with status {ended.status}"

    def _write_seen(self, options: TrainingOptions, cases: TrainingCases) -> Seen:
        """What the weights that the training makes will have seen."""
        root = self.bundle.root
        before = seen_by_weights_in_use(root)
        start = before if options.pretrained else Seen(own=NOTHING)
        after = start.more(Path(item["image"]) for item in cases.training)
        write_seen(root, before, after)
        return after

    def _calibrate(self, options: TrainingOptions, cases: TrainingCases, seen: Seen) -> Any:
        """The calibration as `training_stats` tells it; none where it fails, since the new weights are good without."""
        root = self.bundle.root
        if not training_stats.training_stats(root)["replaced"]:
            return None
        try:
            return calibrate_on(root, self.bundle.card, cases, seen, options.device)
        except Exception as unforeseen:  # a bundle is code, which may raise anything
            logger.exception("The calibration of %s failed", self.bundle.name)
            return f"none: {one_line(unforeseen)}"

    def _devices(self) -> dict[str, str]:
        """What clients call the devices, and what torch does."""
        return {self.device: self.device} if self.device else device_map()

    def _default_epochs(self) -> int:
        path = self.bundle.root / "configs" / "train.json"
        try:
            planned = int(json.loads(path.read_text(encoding="utf-8"))["train"]["trainer"]["max_epochs"])
        except (OSError, ValueError, TypeError, KeyError):
            return _MANY_EPOCHS  # the list of all tasks must not fail over one damaged file; the training says so
        return min(_MANY_EPOCHS, planned)


def check_config(root: Path) -> None:
    """Refuse a bundle that cannot be trained because its ``train.json`` is damaged or gone.

    Args:
        root: folder of the bundle.

    Raises:
        UserError: it cannot be read, or is no JSON.
    """
    try:
        json.loads((root / "configs" / "train.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = one_line(error).replace(str(root), root.name)
        raise UserError(f"configs/train.json of '{root.name}' is damaged or gone ({reason}); put it back") from error


def check_weights(root: Path) -> None:
    """Refuse weights that a training cannot go on from.

    Args:
        root: folder of the bundle.

    Raises:
        UserError: ``models/model.pt`` is there and is no file of weights.
    """
    path = root / "models" / WEIGHTS
    if not path.is_file():
        return
    try:
        torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
        raise UserError(
            f"models/{WEIGHTS} of '{root.name}' is damaged; train from scratch (pretrained off), or put it back"
        ) from error


def overrides(root: Path, options: TrainingOptions, cases: TrainingCases) -> dict[str, Any]:
    """What is different from the bundle's own ``train.json``, as a config that is read after it.

    Args:
        root: folder of the bundle.
        options: how to train.
        cases: on what.
    """
    changed: dict[str, Any] = {
        "fold": training_stats.FOLD,
        "keep_better": True,
        "keep": "best",  # what is said of a training is the error of its best weights
        "train#trainer#max_epochs": options.max_epochs,
        "train#dataset#data": cases.training,
        "validate#dataset#data": cases.validation,
    }
    if options.processes == 1:
        changed["device"] = f"$torch.device('{options.device}')"
    weights = root / "models" / WEIGHTS
    if options.pretrained and weights.is_file():
        # After the handlers of the bundle, of which one may load the weights of another bundle.
        changed["+train#handlers"] = [
            {
                "_target_": "CheckpointLoader",
                "load_path": str(weights),
                "load_dict": {"model": "@network"},
                "map_location": "cpu",
            }
        ]
    return changed
