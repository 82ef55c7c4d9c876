"""From files of any supported format to one `Dataset`."""

from auto_config.datasets.detect import FORMATS, read_dataset
from auto_config.datasets.model import Case, Dataset, Problem

__all__ = ["FORMATS", "Case", "Dataset", "Problem", "read_dataset"]
