"""One training of a fold at a time: a second one would write its weights between those of the first."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator, Sequence
from pathlib import Path

from auto_config.errors import UserError


@contextlib.contextmanager
def training_lock(folder: Path, folds: Sequence[int | str]) -> Iterator[None]:
    """Hold the folds of a bundle while they are trained.

    The lock is the operating system's on ``eval/.training_<fold>``: it ends with the process, however that ends, and
    says nothing to trainings that MONAI's own command line starts.

    Args:
        folder: Folder of the bundle.
        folds: Numbers of the folds, or ``["none"]`` for a training on all cases.

    Raises:
        UserError: A training of one of the folds is running.
    """
    with contextlib.ExitStack() as files:
        for fold in folds:
            path = folder / "eval" / f".training_{fold}"
            path.parent.mkdir(exist_ok=True)
            file = files.enter_context(path.open("ab"))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UserError(
                    f"{folder}: a training of fold {fold} of this bundle is running; wait for its end or stop it, or "
                    "create another bundle"
                ) from error
            except OSError:  # a network drive without locks: training there matters more
                continue
        yield
