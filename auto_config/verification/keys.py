"""The ids that the model zoo asks for in ``train.json`` and ``inference.json``, read without running anything.

MONAI's own `check_properties` builds the workflow, so it needs images, and it takes an id that is optional for MONAI
and missing for right. The zoo requires more: see "Preferred Files and Keys" of its CONTRIBUTING.md.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from auto_config.verification.finding import Finding, passed

# Of the zoo: bundle_root, device, network_def, inferer and output_dir. MONAI's workflow requires the others.
_INFERENCE = ("bundle_root", "device", "dataset_dir", "output_dir", "dataset", "evaluator", "network_def", "inferer")
# MONAI requires `train#inferer`, the zoo the others.
_TRAIN = (
    "bundle_root",
    "device",
    "dataset_dir",
    "output_dir",
    "train#trainer",
    "train#trainer#max_epochs",
    "train#dataset",
    "train#dataset#data",
    "train#handlers",
    "train#inferer",
    "validate#evaluator",
    "validate#handlers",
    "validate#dataset",
    "validate#dataset#data",
)
# Where a part is used -> the id that it has to have. Clients exchange parts under these ids.
_TRAIN_NAMES = {
    "train#dataset#transform": "train#preprocessing",
    "train#trainer#inferer": "train#inferer",
    "train#trainer#postprocessing": "train#postprocessing",
    "train#trainer#key_train_metric": "train#key_metric",
    "train#trainer#train_handlers": "train#handlers",
    "validate#dataset#transform": "validate#preprocessing",
    "validate#dataloader#dataset": "validate#dataset",
    "validate#evaluator#inferer": "validate#inferer",
    "validate#evaluator#postprocessing": "validate#postprocessing",
    "validate#evaluator#key_val_metric": "validate#key_metric",
    "validate#evaluator#val_handlers": "validate#handlers",
}
_INFERENCE_NAMES = {
    "dataset#transform": "preprocessing",
    "evaluator#inferer": "inferer",
    "evaluator#postprocessing": "postprocessing",
    "evaluator#key_val_metric": "key_metric",
    "evaluator#val_handlers": "handlers",
}
_VALIDATORS = {
    "ValidationHandler": {"interval": "val_interval", "validator": "validate#evaluator"},
    # Ours makes a `ValidationHandler` of the arguments.
    "Schedule": {"val_interval": "val_interval", "evaluator": "validate#evaluator"},
}
"""Classes that validate during a training -> for each of their arguments the id that it has to be."""


def check_keys(root: Path) -> list[Finding]:
    """Required ids, parts under the names that clients look for, and how often a training validates.

    Args:
        root: folder of the bundle.
    """
    train, inference = _read(root, "train"), _read(root, "inference")
    found: list[Finding] = []
    if inference is not None:
        found += [_required("inference", inference, _INFERENCE), _named("inference", inference, _INFERENCE_NAMES)]
    if train is not None:
        found += [_required("train", train, _TRAIN), _named("train", train, _TRAIN_NAMES), _validation(train)]
    return found


def _read(root: Path, name: str) -> dict[str, Any] | None:
    """A config; None where there is none, it cannot be read or is no object, which `check_files` says."""
    try:
        content = json.loads((root / "configs" / f"{name}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _at(config: Mapping[str, Any], where: str) -> Any:
    """What stands at an id; None where nothing does. An id may also be written whole, as ``"train#handlers": []``."""
    if where in config:
        return config[where]
    content: Any = config
    for part in where.split("#"):
        if not isinstance(content, dict) or part not in content:
            return None
        content = content[part]
    return content


def _required(name: str, config: Mapping[str, Any], wanted: tuple[str, ...]) -> Finding:
    what = f"ids that the zoo requires in configs/{name}.json"
    missing = [where for where in wanted if _at(config, where) is None]
    if not missing:
        return passed(what)
    remedy = f"define them in configs/{name}.json under these ids; `auto_config create` writes all of them"
    return Finding(what, "failed", f"missing: {', '.join(missing)}", remedy)


def _refers(used: Any, where: str, at: str) -> bool:
    """Whether a value, which stands under the id `at`, is the part with an id, or an expression that reads it."""
    if not isinstance(used, str):
        return False
    text = used.replace("::", "#")
    if "@#" in text or "%#" in text:
        from monai.bundle import ConfigParser

        try:
            text = ConfigParser.resolve_relative_ids(at.replace("#", "::"), text).replace("::", "#")
        except ValueError:  # more levels up than there are
            return False
    whole = re.search(rf"@{re.escape(where)}(?![\w#])", text)
    return text in (f"@{where}", f"%{where}") or (text.startswith("$") and whole is not None)


def _named(name: str, config: Mapping[str, Any], names: Mapping[str, str]) -> Finding:
    """A part that is used stands under its own id, and what uses it refers to that."""
    what = f"ids of parts in configs/{name}.json"
    wrong = [
        f"{use} is not @{where}"
        for use, where in names.items()
        if _at(config, use) is not None and not _refers(_at(config, use), where, use)
    ]
    wrong += [
        f"{use} refers to {where}, which is missing"
        for use, where in names.items()
        if _refers(_at(config, use), where, use) and _at(config, where) is None
    ]
    if not wrong:
        return passed(what)
    remedy = "define the part under that id and refer to it: clients exchange parts by these names"
    return Finding(what, "failed", "; ".join(wrong), remedy)


def _components(content: Any, where: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Everything that a config builds, with its id."""
    if isinstance(content, dict):
        if "_target_" in content:
            yield where, content
        for key, value in content.items():
            yield from _components(value, f"{where}#{key}" if where else key)
    elif isinstance(content, list):
        for number, value in enumerate(content):
            yield from _components(value, f"{where}#{number}" if where else str(number))


def _validation(train: Mapping[str, Any]) -> Finding:
    what = "val_interval of configs/train.json is used"
    wrong = []
    found = False
    for where, component in _components(train):
        arguments = _VALIDATORS.get(str(component["_target_"]).rsplit(".", 1)[-1])
        if arguments is None:
            continue
        found = True
        wrong += [
            f"{where}#{argument} is not @{wanted}"
            for argument, wanted in arguments.items()
            if not _refers(component.get(argument), wanted, f"{where}#{argument}")
        ]
    if not found:
        wrong = ["nothing validates during a training"]
    elif _at(train, "val_interval") is None:
        wrong.append("val_interval is missing")
    if not wrong:
        return passed(what)
    remedy = 'define "val_interval" at the top and give ValidationHandler (or schedule) "@val_interval"'
    return Finding(what, "failed", "; ".join(wrong), remedy)
