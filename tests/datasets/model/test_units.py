"""Millimetres or pixels: what is known of the size of a pixel, and that a data set has one unit."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from auto_config.bundle_scripts.images.header import Header, picture_affine
from auto_config.datasets.model.dataset import Case, Dataset
from auto_config.datasets.model.units import checked_pixel_spacing, common_pixel_spacing, unit_of, unit_problems
from auto_config.errors import UserError

PIXELS = Header((7, 5), picture_affine(None), 1, "uint8", Path("a.png"), unit="px")
MILLIMETRES = replace(PIXELS, affine=picture_affine((0.1, 0.2)), unit="mm")


def test_one_picture_of_unknown_size_makes_pixels_the_unit():
    assert unit_of([MILLIMETRES, MILLIMETRES]) == "mm"
    assert unit_of([MILLIMETRES, PIXELS]) == "px"
    assert unit_of([]) == "mm"


def test_a_mixture_is_an_error_for_each_unknown_one():
    assert unit_problems({"a": PIXELS, "b": PIXELS}) == []
    (problem,) = unit_problems({"a": PIXELS, "b": MILLIMETRES})
    assert (problem.severity, problem.case) == ("error", "a")
    assert "--pixel_spacing" in problem.message


def dataset(*spacings):
    cases = tuple(Case(str(n), (Path(f"{n}.png"),), None, pixel_spacing=one) for n, one in enumerate(spacings))
    return Dataset(Path("set"), "csv", ("a",), cases, 2)


def test_a_bundle_has_one_pixel_size():
    assert common_pixel_spacing(dataset(None, None)) is None
    assert common_pixel_spacing(dataset((0.1, 0.2), (0.1, 0.2))) == [0.1, 0.2]
    with pytest.raises(UserError, match="different pixel sizes"):
        common_pixel_spacing(dataset((0.1, 0.1), (0.2, 0.2)))


def test_one_number_or_two():
    assert checked_pixel_spacing(None) is None
    assert checked_pixel_spacing([0.1]) == (0.1, 0.1)
    assert checked_pixel_spacing([0.1, 0.2]) == (0.1, 0.2)
    for wrong in ([], [0.1, 0.2, 0.3], [0.0], [-1.0], [np.inf], [np.nan, 1]):
        with pytest.raises(UserError, match="give the pixel size in mm"):
            checked_pixel_spacing(wrong)
