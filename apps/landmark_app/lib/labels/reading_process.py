"""Files of clients are read in processes that can be ended: a few at once, each with a limit of time and memory."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import ClientError
from ..geometry.balls import Grid
from .label_layers import LabelLayers

MOST_VOXELS = 2**29
"""Voxels that an image or a label of a client may have by default; 512 x 512 x 2048."""

_OWN_MEMORY = 2**30
_BYTES_PER_VOXEL = 4
_ANSWER_BYTES = 2**24
_START_SECONDS = 20.0
"""A new process is given this time more, on a machine that is busy."""


@dataclass
class ReadingProcesses:
    """Processes that wait for files to read; one that was ended is replaced when it is needed.

    Args:
        most_voxels: that a file may have.
        seconds: that reading a file may take.
        at_once: files that are read at the same time; others wait for their turn.
        waiting_seconds: how long a file may wait for its turn.
    """

    most_voxels: int = MOST_VOXELS
    seconds: float = 60.0
    at_once: int = 2
    waiting_seconds: float = 120.0
    _idle: list[subprocess.Popen[bytes]] = field(default_factory=list, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    _turns: threading.BoundedSemaphore = field(init=False)

    def __post_init__(self) -> None:
        self._turns = threading.BoundedSemaphore(self.at_once)

    def why_unreadable(self, path: Path, most_voxels: int | None = None) -> str | None:
        """Why an image file cannot be used, in one line without its place on this machine; None if it can be read.

        Args:
            path: the file.
            most_voxels: that it may have; None for the limit of clients.

        Raises:
            ClientError: status 429, too many files wait.
        """
        task = {"name": "check", "path": str(path), "most_voxels": most_voxels or self.most_voxels}
        error = self._answer(task).get("error")
        return None if error is None else error if error.startswith("the image") else f"the image {error}"

    def read_layers(self, path: Path, grid: Grid) -> LabelLayers:
        """The voxels of a label map, see `label_layers.read_layers`.

        Raises:
            ClientError: status 400, it cannot be used, in one line without path; 429, too many files wait.
        """
        with tempfile.TemporaryDirectory(prefix="landmark_reading_") as folder:
            out = Path(folder) / "voxels.npz"
            task = {
                "name": "read",
                "path": str(path),
                "shape": list(grid.shape),
                "affine": grid.affine.tolist(),
                "most_voxels": self.most_voxels,
                "out": str(out),
            }
            answer = self._answer(task)
            if answer.get("error") is not None:
                raise ClientError(str(answer["error"]))
            with np.load(out, allow_pickle=False) as arrays:
                voxels = {(layer, value): arrays[str(place)] for place, (layer, value) in enumerate(answer["keys"])}
        own = Grid(tuple(answer["shape"]), np.array(answer["affine"], dtype=np.float64))
        return LabelLayers(own, voxels, {(layer, value): name for layer, value, name in answer["names"]})

    def close(self) -> None:
        """End the processes that wait."""
        with self._lock:
            idle, self._idle = self._idle, []
        for process in idle:
            _end(process)

    def _answer(self, task: Mapping[str, Any]) -> dict[str, Any]:
        if not self._turns.acquire(timeout=self.waiting_seconds):
            raise ClientError("too many files are being read; try again in a moment", 429)
        try:
            with self._process() as process:
                return _asked(process, {**task, "seconds": self.seconds}, self.seconds)
        finally:
            self._turns.release()

    @contextlib.contextmanager
    def _process(self) -> Iterator[subprocess.Popen[bytes]]:
        """A process that goes back to those that wait, unless it was ended."""
        with self._lock:
            process = self._idle.pop() if self._idle else None
        if process is None or process.poll() is not None:
            process = _start(_OWN_MEMORY + _BYTES_PER_VOXEL * self.most_voxels)
        try:
            yield process
        except BaseException:
            _end(process)
            raise
        if process.poll() is None:
            with self._lock:
                self._idle.append(process)


def _start(memory: int) -> subprocess.Popen[bytes]:
    # What this process imports, that one does: the app may have been loaded from a checkout by its path.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(one for one in sys.path if one)}
    return subprocess.Popen(
        [sys.executable, "-m", "landmark_app.lib.labels.reading_worker", str(memory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,
    )


def _asked(process: subprocess.Popen[bytes], task: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """The answer to a task; the process is ended where there is none in time."""
    assert process.stdin is not None and process.stdout is not None
    ended = {"error": "cannot be read: reading it needs too much time or memory, or it is damaged"}
    try:
        process.stdin.write(json.dumps(task).encode() + b"\n")
        process.stdin.flush()
        line = _line(process.stdout.fileno(), seconds + _START_SECONDS)
    except (OSError, TimeoutError):
        line = b""
    if not line.endswith(b"\n"):
        _end(process)
        return ended
    answer: dict[str, Any] = json.loads(line)
    if answer.pop("leave", False):
        _end(process)  # its memory is in pieces
    return answer


def _line(descriptor: int, seconds: float) -> bytes:
    """What a process writes up to the end of a line; less where it ended."""
    until = time.monotonic() + seconds
    found = b""
    # Not `select.select`, which takes no number above 1023: a server with many connections has such files.
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while not found.endswith(b"\n") and len(found) < _ANSWER_BYTES:
            if not selector.select(max(0.0, until - time.monotonic())):
                raise TimeoutError
            block = os.read(descriptor, 2**16)
            if not block:
                break
            found += block
    return found


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()


READING = ReadingProcesses()
"""One for the whole server: how many files are read at once is counted over all requests."""
