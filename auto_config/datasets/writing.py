"""Write a data set in any format that is written, whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import get_args

from auto_config.datasets.assembly.case_table import FILE_NAME as CASE_TABLE
from auto_config.datasets.assembly.case_table import has_placement, write_case_table
from auto_config.datasets.formats.shared.target import ImageMode, Target, first_and_count
from auto_config.datasets.model.dataset import Dataset
from auto_config.datasets.model.properties import FILE_NAME as PROPERTIES_FILE
from auto_config.datasets.model.properties import properties_document
from auto_config.datasets.registry import WRITERS, Writer
from auto_config.errors import UserError


def check_target(
    source: str | Path, target: str | Path, to: str, images: ImageMode | None = None, *, overwrite: bool = False
) -> Path:
    """Whether a conversion may begin: said before anything is read.

    Returns:
        The absolute path of the folder to write.

    Raises:
        UserError: There is no such format, the target is there, or it holds the source.
    """
    if to not in WRITERS:
        raise UserError(f"--to is {to!r}; allowed are {', '.join(WRITERS)}")
    if images is not None and images not in get_args(ImageMode):
        raise UserError(f"--images is {images!r}; allowed are {', '.join(get_args(ImageMode))}")
    if images == "refer" and not WRITERS[to].refers:
        raise UserError(f"--images refer is not possible with --to {to}, which finds images by their names; use link")
    path, read = Path(os.path.abspath(target)), Path(os.path.abspath(source))  # noqa: PTH100 - links keep their names
    if path.suffix.lower() in (".csv", ".tsv", ".json"):
        raise UserError(f"{target}: a folder is written, with the file in it; give a name without {path.suffix}")
    if path == read or path in read.parents:
        raise UserError(f"{target}: is or holds the source {source}, which is never changed; give another folder")
    if path.exists() and not path.is_dir():
        raise UserError(f"{target}: is a file; give a folder")
    if path.exists() and any(path.iterdir()) and not overwrite:
        raise UserError(f"{target}: is there and not empty; give another folder, or add --overwrite")
    return path


def write_dataset(
    dataset: Dataset, path: Path, to: str, images: ImageMode | None = None, *, overwrite: bool = False
) -> list[str]:
    """Write a data set, whole or not at all.

    Args:
        dataset: What to write.
        path: Absolute path of the folder to write; it is replaced if `overwrite` and there.
        to: One of `WRITERS`.
        images: What happens to the images; what is usual for the format if None.
        overwrite: Replace what is there.

    Returns:
        What the format cannot hold, a sentence each.

    Raises:
        UserError: The format cannot hold the data set, or an image cannot be read or linked.
    """
    writer = WRITERS[to]
    _check_fits(dataset, to, writer)
    inside = [image for case in dataset.cases for image in case.image if path in image.parents]
    if inside:
        raise UserError(f"{inside[0]}: this image of the source lies in {path}, which is replaced; give another folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    working = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
    try:
        target = Target(working, path, dataset, images or writer.images)
        target.losses.extend(_losses(dataset, to, writer))
        writer.write(target)
        _write_declarations(target, writer)
        _place_images(target, writer)
        working.chmod(0o755)
        _publish(working, path, overwrite=overwrite)
    finally:
        shutil.rmtree(working, ignore_errors=True)
    return target.losses


def _check_fits(dataset: Dataset, to: str, writer: Writer) -> None:
    if dataset.spatial_dims not in writer.dims:
        raise UserError(f"--to {to} holds pictures, these are volumes; use {', '.join(_formats(dataset.spatial_dims))}")
    several = [case.name for case in dataset.cases if len(case.image) > 1]
    if several and not writer.channels:
        fitting = ", ".join(name for name in _formats(dataset.spatial_dims) if WRITERS[name].channels)
        raise UserError(
            f"{first_and_count(several, 'case')}: several channel files, --to {to} holds one; use {fitting}"
        )


def _formats(dims: int) -> list[str]:
    return [name for name, writer in WRITERS.items() if dims in writer.dims]


def _losses(dataset: Dataset, to: str, writer: Writer) -> list[str]:
    rated = [case.name for case in dataset.cases if case.raters]
    losses = []
    if rated and not writer.raters:
        losses.append(
            f"{first_and_count(rated, 'case')}: landmarks of single raters are lost, {to} has no place for them"
        )
    return losses


def _write_declarations(target: Target, writer: Writer) -> None:
    """Write ``landmarks.json`` and ``cases.csv`` for what the format itself has no place for."""
    dataset = target.dataset
    spacing = target.pixel_spacing
    if not writer.properties:
        document = properties_document(dataset.names, dataset.properties)
        if spacing is not None:
            document["pixel_spacing"] = list(spacing)
        target.write_json(document, PROPERTIES_FILE)
    if not writer.placement and has_placement(dataset.cases):
        write_case_table(target.file(CASE_TABLE), [(target.stem(case), case) for case in dataset.cases])
    renamed = [case for case in dataset.cases if target.stem(case) != case.name]
    if renamed:
        names = first_and_count([case.name for case in renamed], "case")
        target.losses.append(f"{names} cannot be file names and are renamed, the first to {target.stem(renamed[0])!r}")


def _place_images(target: Target, writer: Writer) -> None:
    """Put images beside the landmark files of a format that does not do so itself."""
    if writer.refers or (target.folder / "images").is_dir() or (target.folder / "imagesTr").is_dir():
        return
    for case in target.cases:
        target.image_paths(case)


def _publish(working: Path, path: Path, *, overwrite: bool) -> None:
    """Move what is written to its place."""
    if not path.exists():
        working.rename(path)
        return
    if not overwrite and any(path.iterdir()):
        raise UserError(f"{path}: is there and not empty; give another folder, or add --overwrite")
    old = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".old", dir=path.parent))
    path.rename(old / "old")
    try:
        working.rename(path)
    except OSError:
        (old / "old").rename(path)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)
