"""Recipes: what `create` is told of a public benchmark that its converted data list does not say."""

from __future__ import annotations

from dataclasses import dataclass

from auto_config.errors import UserError
from auto_config.public_datasets.converting import BENCHMARKS


@dataclass(frozen=True)
class Recipe:
    """Settings for one benchmark.

    Args:
        name: Of the benchmark.
        modality: ``"ct"`` or ``"mr"``; None for pictures, whose grey values are normalised one by one.
        right: What is right for this set, and why; printed.
    """

    name: str
    modality: str | None
    right: tuple[str, ...]


RECIPES: dict[str, Recipe] = {
    one.name: one
    for one in (
        Recipe(
            "isbi2015",
            None,
            (
                "training 001 to 150, test Test1 and Test2, as published; the truth is the mean of the two doctors",
                "pixels are 0.1 mm, which no file says; a lateral view has no left-right pairs, so nothing is mirrored",
            ),
        ),
        Recipe(
            "afids",
            "mr",
            (
                "test 22 subjects of nnLandmark's split; the truth is the mean of the raters",
                "11 left-right pairs change places where an image is mirrored; grey values of MR have no unit",
            ),
        ),
        Recipe(
            "mml",
            "ct",
            (
                "training, validation (fold 0) and test as published; --complete takes the cases with all 14 landmarks",
                "voxel size is that of ID_spacing.npy; landmarks that are not there are absent, which is learnt",
            ),
        ),
    )
}
"""Recipes by the name of their benchmark."""


def recipe_of(name: str) -> Recipe:
    """The recipe of a benchmark.

    Raises:
        UserError: There is none of that name.
    """
    if name in RECIPES:
        return RECIPES[name]
    remedy = (
        f"it has no recipe yet: auto_config convert DIR DATA --from {name}, then auto_config create DATA BUNDLE"
        if name in BENCHMARKS
        else "a data set of one's own needs none: auto_config create SOURCE BUNDLE"
    )
    raise UserError(f"{name!r} is none of the recipes {', '.join(RECIPES)}; {remedy}")
