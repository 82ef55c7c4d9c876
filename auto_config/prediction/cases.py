"""Predict image after image: files of each, and one line for each that cannot be predicted."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from auto_config.bundle_scripts.inference.prediction_files import PredictionFolder
from auto_config.prediction.sharing.job import Job, Outcome, Predictor
from auto_config.running.reading_ahead import read_ahead


def one_by_one(predictor: Predictor, images: Mapping[str, tuple[Path, ...]]) -> Iterator[Outcome]:
    """Predict the images in this process, the next one being read meanwhile, and close the predictor at the end.

    Args:
        predictor: Of the job.
        images: Files of each case.
    """
    with closing(predictor):
        for (case, paths), content in read_ahead(lambda item: predictor.read(item[1]), images.items()):
            yield predictor.predict(case, paths, content)


def write_outcomes(
    outcomes: Iterable[Outcome],
    folder: PredictionFolder,
    job: Job,
    total: int,
    after_case: Callable[[Mapping[str, str]], None],
) -> dict[str, str]:
    """Write what comes of each case, with a progress bar on standard error.

    Args:
        outcomes: In any order.
        folder: Where the predictions go.
        job: Which files are wanted.
        total: Number of cases.
        after_case: Called after each case with the failed ones so far.

    Returns:
        The reason for each case that could not be predicted, which is printed, too.
    """
    failed: dict[str, str] = {}
    with _progress() as progress:
        task = progress.add_task("predict", total=total)
        for done in outcomes:
            for note in done.notes:
                progress.console.print(note, markup=False, highlight=False, soft_wrap=True)
            if done.result is None:
                failed[done.case] = str(done.error)
            else:
                folder.write(
                    done.case,
                    done.result,
                    image_center=done.center,
                    seconds=done.seconds,
                    fcsv=job.fcsv,
                    inline_json=job.json,
                )
                for name, path in done.volumes.items():
                    path.replace(folder.folder / name)
            after_case(failed)
            progress.advance(task)
    return failed


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # In a notebook each turn of a bar is an output of its own, and empty without another package.
    return Progress(*columns, console=Console(file=sys.stderr), disable=not sys.stderr.isatty())
