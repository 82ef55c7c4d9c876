"""Self-configuring landmark detection: from scans and points to a MONAI Bundle.

from auto_config import evaluate, plan, predict, read_dataset, train, write_bundle

scans = read_dataset("scans")
write_bundle(plan(scans), "brain_landmarks")
train("brain_landmarks", time_budget="15m")
found = predict("brain_landmarks", "brain_landmarks/data/datalist.json")
print(evaluate(found, scans).mean, "mm")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from auto_config.api.arrays import ArrayImage
    from auto_config.api.data import DataWarning, read_dataset, write_cases
    from auto_config.api.evaluating import Evaluation, evaluate
    from auto_config.api.planned import plan, write_bundle
    from auto_config.api.predicting import CasePrediction, Model, Predictions, open_bundle, predict
    from auto_config.api.training import Training, TrainingFailedError, train
    from auto_config.bundle.planning_data import Planned
    from auto_config.errors import UserError
    from auto_config.planning import PlanOptions

__version__ = "0.1.0"

__all__ = [
    "ArrayImage",
    "CasePrediction",
    "DataWarning",
    "Evaluation",
    "Model",
    "PlanOptions",
    "Planned",
    "Predictions",
    "Training",
    "TrainingFailedError",
    "UserError",
    "evaluate",
    "open_bundle",
    "plan",
    "predict",
    "read_dataset",
    "train",
    "write_bundle",
    "write_cases",
]

# Imported when they are asked for: torch and MONAI take seconds, and the command line needs neither for its help.
_PLACES = {
    "api.arrays": ("ArrayImage",),
    "api.data": ("DataWarning", "read_dataset", "write_cases"),
    "api.evaluating": ("Evaluation", "evaluate"),
    "api.planned": ("plan", "write_bundle"),
    "api.predicting": ("CasePrediction", "Model", "Predictions", "open_bundle", "predict"),
    "api.training": ("Training", "TrainingFailedError", "train"),
    "bundle.planning_data": ("Planned",),
    "errors": ("UserError",),
    "planning": ("PlanOptions",),
}


def __getattr__(name: str) -> Any:
    for place, names in _PLACES.items():
        if name in names:
            return getattr(import_module(f"auto_config.{place}"), name)
    raise AttributeError(f"module 'auto_config' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
