"""One training of a fold at a time: a second one would write its weights between those of the first."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from auto_config.errors import UserError

if sys.platform != "win32":
    import fcntl

PATIENCE = 8.0
"""Seconds. The workers of a killed training look every 5 seconds whether it is still there."""


@contextlib.contextmanager
def training_lock(folder: Path, folds: Sequence[int | str], patience: float = PATIENCE) -> Iterator[list[int]]:
    """Hold the folds of a bundle while they are trained.

    The lock is the operating system's on ``eval/.training_<fold>``: it ends with the last process that holds the file
    open, however that ends, and says nothing to trainings that MONAI's own command line starts.

    Args:
        folder: Folder of the bundle.
        folds: Numbers of the folds, or the names of their members; ``["none"]`` for a training on all cases.
        patience: How many seconds to wait for the end of another training.

    Yields:
        Descriptors of the open files. The process that trains must inherit them, because it goes on when this one is
        killed. None on Windows, which has no such lock: there nothing is held.

    Raises:
        UserError: A training of one of the folds is running.
    """
    if sys.platform == "win32":
        yield []
        return
    until = time.monotonic() + patience
    with contextlib.ExitStack() as files:
        held = []
        for fold in folds:
            path = folder / "eval" / f".training_{str(fold).replace('/', '_')}"
            path.parent.mkdir(exist_ok=True)
            file = files.enter_context(path.open("ab"))
            held.append(file.fileno())
            while not _locked(file.fileno()):
                if time.monotonic() >= until:
                    raise UserError(
                        f"{folder}: a training of fold {fold} of this bundle is running; wait for its end or stop it, "
                        "or create another bundle"
                    )
                time.sleep(0.2)
        yield held


def _locked(descriptor: int) -> bool:
    """Lock a file; False where another process holds it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a network drive without locks: training there matters more
        return True
    return True
