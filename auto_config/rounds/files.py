"""The files by which a training knows what it took from the one before it. Light: every `train` looks for them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from auto_config.bundle_scripts.file_names import COARSE_ERRORS, SECOND_ROUND
from auto_config.errors import UserError

CONFIG = "self_training_config.json"


def file_of(folder: Path, fold: int | str, name: str) -> Path:
    """A file of a fold of a bundle, which need not be there."""
    return folder / "models" / f"fold_{fold}" / name


def forget_rounds(folder: Path, names: Sequence[str], keep: Collection[str] = ()) -> None:
    """Before trainings begin: what earlier ones took from those before them goes.

    Args:
        folder: of the bundle.
        names: of the members that are trained.
        keep: files that are of the training that begins.
    """
    for name in names:
        for file in {SECOND_ROUND, CONFIG, COARSE_ERRORS}.difference(keep):
            file_of(folder, name, file).unlink(missing_ok=True)


def check_resume(folder: Path, names: Sequence[str], *, second: bool = False, out_of_fold: bool = False) -> None:
    """A training goes on as it began.

    Args:
        folder: of the bundle.
        names: of the members that go on.
        second: as a second round.
        out_of_fold: with errors of a coarse stage.

    Raises:
        UserError: it began otherwise.
    """
    for name in names:
        for file, option, given in (
            (CONFIG, "--self_training", second),
            (COARSE_ERRORS, "--jitter out_of_fold", out_of_fold),
        ):
            began_so = file_of(folder, name, file).is_file()
            if began_so and not given:
                raise UserError(
                    f"{folder}: the training of fold {name} began with {option}: give it with --resume, too"
                )
            if given and not began_so:
                raise UserError(f"{folder}: the training of fold {name} began without {option}: omit it with --resume")
