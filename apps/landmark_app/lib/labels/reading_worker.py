"""A process that reads files of clients, and may be ended at any moment.

It is `python -m landmark_app.lib.labels.reading_worker BYTES`, with the most memory that it may take. Each line of its
input is a task in JSON, each line of its output the answer. It has no torch and no MONAI Label, so it starts in a
second, and a limit of memory, so that a file that asks for more is an error here and nowhere else.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from auto_config.bundle_scripts.images.header import ImageFileError
from auto_config.bundle_scripts.images.reading import check_image
from auto_config.errors import UserError

from ..geometry.balls import Grid
from ..geometry.frames import shown_grid
from .label_layers import read_layers


def check(task: Mapping[str, Any]) -> dict[str, Any]:
    """Read an image, of a volume one block at a time; nothing is kept."""
    path = Path(task["path"])
    try:
        check_image(path, task["most_voxels"])
        shown_grid(path)
    except (ImageFileError, UserError) as error:
        return {"error": str(error).replace(str(path), "the image")}
    return {}


def read(task: Mapping[str, Any]) -> dict[str, Any]:
    """Read a label map; the indices of its voxels go to the file ``out``, `numpy`'s .npz."""
    grid = Grid(tuple(task["shape"]), np.array(task["affine"], dtype=np.float64))
    try:
        layers = read_layers(Path(task["path"]), grid, task["most_voxels"])
    except ValueError as error:
        return {"error": str(error)}
    keys = list(layers.voxels)
    arrays: dict[str, Any] = {str(place): layers.voxels[key] for place, key in enumerate(keys)}
    np.savez(task["out"], **arrays)
    return {
        "shape": layers.grid.shape,
        "affine": layers.grid.affine.tolist(),
        "keys": keys,
        "names": [[*key, name] for key, name in layers.names.items()],
    }


TASKS = {"check": check, "read": read}


def limit_memory(size: int) -> None:
    """Let this process have at most `size` bytes of data, where the system can do so."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (size, size))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main() -> None:
    """Answer tasks until the input ends; the first argument is the limit of memory in bytes."""
    limit_memory(int(sys.argv[1]))
    # Readers in C print warnings to the output; the answers have a stream of their own.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        task = json.loads(line)
        # Where the server is gone, nobody else ends a task without end.
        signal.alarm(int(task["seconds"]) + 1)
        try:
            answer = TASKS[task["name"]](task)
        except MemoryError:
            answer = {"error": "needs more memory than a file of a client may; crop or resample it", "leave": True}
        except Exception as error:  # readers raise whatever they like on a broken file
            answer = {"error": f"cannot be read: it is damaged ({type(error).__name__})"}
        signal.alarm(0)
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
