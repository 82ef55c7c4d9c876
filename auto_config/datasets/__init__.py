"""From files of any supported format to one `Dataset`."""

from auto_config.datasets.model.dataset import Case, Dataset, Problem
from auto_config.datasets.reading import read_dataset
from auto_config.datasets.registry import FORMATS

__all__ = ["FORMATS", "Case", "Dataset", "Problem", "read_dataset"]
