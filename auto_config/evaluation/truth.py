"""True landmarks as they count."""

from __future__ import annotations

from dataclasses import replace

from auto_config.datasets.checks.cases import check_header, outside_absent
from auto_config.datasets.images import read_header
from auto_config.datasets.model.dataset import Case, Dataset


def with_outside_absent(dataset: Dataset) -> Dataset:
    """The data set with the points outside their images taken as absent, where the header of an image can be used."""
    return replace(dataset, cases=tuple(_outside_absent(case) for case in dataset.cases))


def _outside_absent(case: Case) -> Case:
    header = read_header(case.image, case.pixel_spacing)
    usable = not any(problem.severity == "error" for problem in check_header(case.name, header))
    return outside_absent(case, header) if usable else case
