"""What the reader of a public benchmark gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from auto_config.bundle_scripts.points.landmarks import LandmarkSet
from auto_config.datasets.formats.shared.entries import natural_key
from auto_config.datasets.model.dataset import Problem
from auto_config.datasets.model.properties import Properties

Section = Literal["training", "validation", "test"]
SECTIONS: tuple[Section, ...] = ("training", "validation", "test")
"""Sections of a datalist."""


@dataclass(frozen=True)
class SourceImage:
    """An image of a benchmark, and what its header should say.

    Args:
        path: The file as it was downloaded.
        affine: (4, 4) voxel to RAS mm, where the header of the file is not to be trusted: the image is written anew.
            None where it is.
        pixel_mm: Size of the pixels of a 2D picture, whose file says nothing or something wrong: it is written anew.
            None in 3D.
    """

    path: Path
    affine: np.ndarray | None = None
    pixel_mm: float | None = None

    @property
    def rewritten(self) -> bool:
        """Whether the image has to be written with another header."""
        return self.affine is not None or self.pixel_mm is not None


@dataclass(frozen=True)
class BenchmarkCase:
    """One case.

    Args:
        name: Its name, which can be a file name and is unique in the benchmark.
        image: Its image.
        landmarks: Points in world mm (3D: RAS; 2D: pixel times pixel size, x right, y down).
        section: Its place in the published split.
        fold: Its fold of a published cross-validation.
        raters: Landmarks of single raters by their names.
    """

    name: str
    image: SourceImage
    landmarks: LandmarkSet
    section: Section = "training"
    fold: int | None = None
    raters: Mapping[str, LandmarkSet] = field(default_factory=dict)


@dataclass(frozen=True)
class MissingFile:
    """A file that the benchmark has and this copy of it lacks.

    Args:
        case: Case that it belongs to.
        path: Where it should be.
        reason: What is there instead and the command that gets it, such as ``"a git-annex link without content; ..."``.
    """

    case: str
    path: Path
    reason: str


@dataclass(frozen=True)
class BenchmarkReading:
    """A benchmark as it was found in a folder.

    Args:
        names: Landmark names in their order.
        cases: The cases that are complete, in natural order.
        properties: Pairs, measures, descriptions, notes.
        problems: What is wrong in single files; an error leaves its case out, a warning does not.
        missing: Files that are not there; their cases are not among `cases`.
        spatial_dims: 2 or 3.
    """

    names: tuple[str, ...]
    cases: tuple[BenchmarkCase, ...]
    properties: Properties
    problems: tuple[Problem, ...] = ()
    missing: tuple[MissingFile, ...] = ()
    spatial_dims: int = 3


@dataclass(frozen=True)
class Benchmark:
    """A public benchmark.

    Args:
        name: Its name on the command line.
        title: What it is, in a few words.
        layout: What its folder holds, for the error where a folder is something else.
        download: Where it is to be had.
        read: Reads its folder; raises `UserError` where the folder is not that of the benchmark.
    """

    name: str
    title: str
    layout: str
    download: str
    read: Callable[[Path], BenchmarkReading]


def in_order(cases: Iterable[BenchmarkCase]) -> tuple[BenchmarkCase, ...]:
    """Cases in natural order of their names."""
    return tuple(sorted(cases, key=lambda case: natural_key(case.name)))


def unique_names(keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Names for cases that are identified by their folder and their number in it.

    Args:
        keys: (folder, number) of each case.

    Returns:
        The number where it occurs in one folder only, else ``FOLDER_NUMBER``.
    """
    keys = list(keys)
    count: dict[str, int] = {}
    for _, number in keys:
        count[number] = count.get(number, 0) + 1
    return {(folder, number): number if count[number] == 1 else f"{folder}_{number}" for folder, number in keys}
