"""Whether cases are new to the networks of a bundle: by files, voxels, bytes and groups; for `other_cases`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from auto_config.bundle_scripts.file_names import SECOND_ROUND
from auto_config.calibration.others.seen_labels import file_hash, labels_seen
from auto_config.calibration.out_of_fold import DATALIST, training_groups
from auto_config.datasets import Case
from auto_config.datasets.checks.duplicates import voxel_digest
from auto_config.datasets.images import read_header, read_image
from auto_config.errors import UserError
from auto_config.fingerprint.measuring import MeasuredCase
from auto_config.prediction.input import TRAINING, UNLABELLED, listed_images, training_cases
from auto_config.running.parallel import map_cases


def refuse_seen_files(bundle: Path, cases: Sequence[Case]) -> None:
    """Refuse training cases by the paths of their files, before anything is read.

    Raises:
        UserError: A case is a training case.
    """
    seen = training_cases(bundle, {case.name: case.image for case in cases})
    if seen:
        raise UserError(_was_seen(bundle, next(case for case in cases if case.name == seen[0]), len(seen)))


def refuse_seen_images(bundle: Path, measured: Sequence[MeasuredCase], workers: int | None) -> list[str]:
    """Refuse images that networks have seen under whatever name.

    Args:
        bundle: Folder of the bundle.
        measured: The cases.
        workers: Processes to read training images with; None for one on each core.

    Returns:
        What could not be compared, and what a group says, a sentence each.

    Raises:
        UserError: A case is one that the networks have seen.
    """
    cases = [one.case for one in measured]
    return [*_check_labels(bundle, cases), *_check_voxels(bundle, measured, workers), *_check_groups(bundle, cases)]


def _check_voxels(bundle: Path, measured: Sequence[MeasuredCase], workers: int | None) -> list[str]:
    """Refuse training cases by their voxels, under whatever name they come; says where that could not be checked."""
    if not (bundle / DATALIST).is_file():
        return [f"the bundle has no {DATALIST}, so nobody checked that none of its networks was trained on these cases"]
    shapes = {(one.header.shape, one.header.channels) for one in measured if one.header is not None}
    listed = list(listed_images(bundle / DATALIST, TRAINING).values())
    if any((bundle / "models").glob(f"fold_*/{SECOND_ROUND}")):  # which trained on scans that nobody had labelled
        listed += listed_images(bundle / DATALIST, UNLABELLED).values()
    headers = [_shape(paths) for paths in listed]
    # Only images of the same shape can have the same voxels, and only these are read.
    alike = [paths for paths, shape in zip(listed, headers, strict=True) if shape in shapes]
    digests = set(map_cases(_digest, alike, workers=workers, label="reading training images"))
    twins = [one.case for one in measured if one.digest in digests]
    if twins:
        raise UserError(_was_seen(bundle, twins[0], len(twins)))
    gone = sum(shape is None for shape in headers)
    if gone:
        return [
            f"{gone} of {len(listed)} training images are not there, so nobody checked that no case is one of these"
        ]
    return []


def _check_labels(bundle: Path, cases: Sequence[Case]) -> list[str]:
    """Refuse images that a training in the server has seen, by their bytes."""
    seen = labels_seen(bundle)
    if seen is None:
        return [
            "nobody knows which labelled images a training in the server has seen, so these cases may be among them"
        ]
    twins = [case for case in cases if any(file_hash(path) in seen for path in case.image)] if seen else []
    if twins:
        raise UserError(_was_seen(bundle, twins[0], len(twins)))
    return []


def _check_groups(bundle: Path, cases: Sequence[Case]) -> list[str]:
    """Say which cases are of a patient that a training case is of too, as far as names of groups tell it."""
    groups = training_groups(bundle) if (bundle / DATALIST).is_file() else set()
    shared = [case.name for case in cases if case.group in groups]
    if not shared:
        return []
    more = f" ({len(shared)} such cases)" if len(shared) > 1 else ""
    return [
        f"case '{shared[0]}'{more}: of a group that training cases are of too; if that is the same patient, the "
        "networks have seen it, and the promises are too good for others"
    ]


def _was_seen(bundle: Path, case: Case, count: int) -> str:
    more = f" ({count} such cases)" if count > 1 else ""
    return (
        f"{case.image[0]}: case '{case.name}' is a training case of {bundle}{more}, whose networks have seen it; leave "
        "it out with --cases or --split test, or calibrate without --data"
    )


def _shape(paths: tuple[Path, ...]) -> tuple[tuple[int, ...], int] | None:
    """Shape and channels of an image; None where it cannot be read."""
    try:
        header = read_header(paths)
    except UserError:
        return None
    return header.shape, header.channels


def _digest(paths: tuple[Path, ...]) -> str | None:
    """What `voxel_digest` says of an image; None where it cannot be read."""
    try:
        return voxel_digest(read_image(paths).array)
    except UserError:
        return None
