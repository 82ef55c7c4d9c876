"""A program in a process of its own, asked now and then how far it is, so that Slicer stays quick."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from .programs import ProgramError

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_SOON = 3.0
"""Seconds that a process has to end by itself."""


class Run:
    """A running program, whose output goes to a file.

    A pipe would have to be emptied all the time, or the program would wait; nothing needs to be emptied here.

    Args:
        command: the program and its arguments.
        log: file for what it prints.
        environment: of the process.

    Raises:
        ProgramError: the program cannot be started.
    """

    def __init__(self, command: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        self.log = log
        self._started = time.monotonic()
        # Of its own group, so that its children end with it; without a window of a console on Windows.
        apart = {"creationflags": getattr(subprocess, "CREATE_NO_WINDOW", 0)}
        with log.open("wb") as out:
            try:
                self._process = subprocess.Popen(
                    list(command),
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    env=_plain(environment),
                    **(apart if os.name == "nt" else {"start_new_session": True}),
                )
            except OSError as error:
                raise ProgramError(f"{command[0]}: cannot be started ({error.strerror or error})") from error

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def status(self) -> int | None:
        """The exit status, or None while it runs."""
        return self._process.poll()

    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._started

    def lines(self) -> list[str]:
        """What it has printed so far, without colours; of a line that was drawn over, the last state."""
        return printed(self.log.read_bytes())

    def cancel(self) -> None:
        """End it and its children, by force if it does not end soon."""
        if self.status() is not None:
            return
        if os.name == "nt":
            command = ["taskkill", "/F", "/T", "/PID", str(self._process.pid)]
            subprocess.run(command, capture_output=True, check=False)
        else:
            self._signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_SOON)
            self._signal(signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_SOON)

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


def printed(output: bytes) -> list[str]:
    """Lines of a program's output: no escapes, no empty lines, of drawn-over lines the last state.

    Args:
        output: what it printed, UTF-8.
    """
    text = _ESCAPES.sub("", output.decode("utf-8", "replace"))
    lines = [line.rstrip("\r").rpartition("\r")[2].strip() for line in text.split("\n")]
    return [line for line in lines if line]


def why(lines: Sequence[str], status: int) -> str:
    """Why a program failed, in one line: its last line that says so, else the last one.

    Args:
        lines: what it printed.
        status: its exit status.
    """
    said = [line.partition("error: ")[2] for line in lines if "error: " in line]
    if said:
        return said[-1]
    return lines[-1] if lines else f"it ended with status {status} and said nothing"


def _plain(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment for a program whose output is a file: UTF-8, not drawn for a terminal of 80 columns."""
    return {**environment, "PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1", "NO_COLOR": "1", "COLUMNS": "1000"}
