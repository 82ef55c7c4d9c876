"""From files of any supported format to one `Dataset`."""

from auto_config.datasets.assembly import Missing, read_dataset
from auto_config.datasets.formats import FORMATS
from auto_config.datasets.model import Case, Dataset, Problem
from auto_config.datasets.options import Coordinates

__all__ = ["FORMATS", "Case", "Coordinates", "Dataset", "Missing", "Problem", "read_dataset"]
