"""From files of any supported format to one `Dataset`."""

from auto_config.datasets.formats.shared.options import Coordinates
from auto_config.datasets.model.dataset import Case, Dataset, Problem
from auto_config.datasets.reading import Missing, read_dataset
from auto_config.datasets.registry import FORMATS

__all__ = ["FORMATS", "Case", "Coordinates", "Dataset", "Missing", "Problem", "read_dataset"]
