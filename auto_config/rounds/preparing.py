"""What `train` does first where a training takes something from the one before it: cheap checks, then the work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from auto_config.bundle_scripts.file_names import COARSE_ERRORS, SECOND_ROUND
from auto_config.choices import Jitter
from auto_config.errors import UserError
from auto_config.rounds.coarse_errors import measure_coarse_errors, require_coarse_stage
from auto_config.rounds.files import CONFIG, check_resume, file_of, forget_rounds
from auto_config.rounds.self_training import finished, require_first_round, score_of, second_round

OUT_OF_FOLD = "out_of_fold"
JITTERS = get_args(Jitter)
SHARE_OF_PREDICTIONS = 0.5
"""Part of a time budget that predictions of unlabelled scans may take."""


@dataclass(frozen=True)
class Rounds:
    """What one fold's training takes from the one before it.

    Args:
        folder: of the bundle.
        fold: number of the fold.
        scans: unlabelled ones to predict; None for no second round.
        jitter: measure the errors of the coarse stage.
        resume: go on: what was made before serves again.
        score: content of ``score.json`` of the first round.
    """

    folder: Path
    fold: int
    scans: Sequence[dict[str, Any]] | None
    jitter: bool
    resume: bool
    score: str | None

    def prepare(self, seconds: float | None, started: float) -> tuple[dict[str, Any], list[Path]]:
        """Measure and predict.

        Args:
            seconds: of the whole command; None for no limit.
            started: when it began, as `time.time` counts.

        Returns:
            Overrides of ``train.json``, and files of further ones.

        Raises:
            UserError: something cannot be predicted, or no prediction can be trained on.
        """
        overrides: dict[str, Any] = {}
        configs: list[Path] = []
        made: set[str] = set()
        if self.jitter:
            made.add(COARSE_ERRORS)
            path = file_of(self.folder, self.fold, COARSE_ERRORS)
            if not self.resume:
                measure_coarse_errors(self.folder, self.fold)
                print(f"Errors of the coarse stage: {path}", flush=True)
            overrides["coarse_errors"] = str(path.resolve())
        if self.scans is not None:
            made |= {SECOND_ROUND, CONFIG}
            if not self.resume:
                until = None if seconds is None else started + SHARE_OF_PREDICTIONS * seconds
                print(second_round(self.folder, self.fold, self.scans, until=until), flush=True)
            configs.append(file_of(self.folder, self.fold, CONFIG).resolve())
        # Not before: where nothing could be predicted, the weights in use are those of the training before.
        forget_rounds(self.folder, [str(self.fold)], keep=made)
        _free_gpu()
        return overrides, configs

    def finish(self) -> None:
        """Say what a second round brought."""
        if self.scans is None:
            return
        said = finished(self.folder, self.fold, self.score)
        if said is not None:
            print(said, flush=True)


def wanted_rounds(
    folder: Path,
    config: Mapping[str, Any],
    names: Sequence[str],
    *,
    second: bool,
    jitter: str,
    as_jobs: bool,
    resume: bool,
    overwrite: bool,
    overrides: Mapping[str, Any],
) -> Rounds:
    """Everything that can be checked before minutes of work.

    Args:
        folder: of the bundle.
        config: content of ``train.json``.
        names: of the members to train.
        second: train a second round, on predictions too.
        jitter: one of `JITTERS`.
        as_jobs: the trainings are jobs.
        resume: go on with a training.
        overwrite: replace one that has not ended.
        overrides: ids of ``train.json`` that the user gave.

    Raises:
        UserError: what is asked for cannot be.
    """
    if jitter not in JITTERS:
        raise UserError(f"jitter is {jitter!r}; allowed are {' and '.join(JITTERS)}")
    out_of_fold = jitter == OUT_OF_FOLD
    if len(names) > 1 or as_jobs or not names[0].isdecimal():
        raise UserError(
            "--self_training and --jitter out_of_fold train one fold that has validation cases: give its number with "
            "--fold, without --seeds and --launcher"
        )
    moved = [name for name in ("dataset_dir", "datalist") if name in overrides]
    if second and moved:
        raise UserError(f"--{moved[0]} and --self_training do not go together: its scans are listed with the others")
    fold = int(names[0])
    if out_of_fold:
        require_coarse_stage(folder, fold, config)
    if resume:
        check_resume(folder, names, second=second, out_of_fold=out_of_fold)
    scans = require_first_round(folder, fold, overwrite=overwrite or resume) if second else None
    return Rounds(folder, fold, scans, out_of_fold, resume, score_of(folder, fold) if second else None)


def _free_gpu() -> None:
    """Give back what predictions held of a GPU, which the training in its own process was planned to fill."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
