"""From files of any supported format to one `Dataset`."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from auto_config.datasets.model.dataset import Case, Dataset, Problem
    from auto_config.datasets.reading import read_dataset
    from auto_config.datasets.registry import FORMATS

__all__ = ["FORMATS", "Case", "Dataset", "Problem", "read_dataset"]

# Imported when they are asked for: a prediction reads images, and needs no format of data sets.
_PLACES = {
    "Case": "model.dataset",
    "Dataset": "model.dataset",
    "FORMATS": "registry",
    "Problem": "model.dataset",
    "read_dataset": "reading",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
    globals()[name] = value
    return value
