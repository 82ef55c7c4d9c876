"""Run a command in a process of its own: signals are passed on, and a traceback becomes one line."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from types import FrameType
from typing import IO

STOPPED_BY_CTRL_C = 130
_RANK = re.compile(r"^\[rank\d+\]:\s?")
_TRACEBACK = "Traceback (most recent call last)"
_CHAINED = ("The above exception was the direct cause", "During handling of the above exception")


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        status: exit status; 2 for an error with a traceback or an end by a signal, 130 after Ctrl-C.
        message: one line that says why it failed, if it is known.
        log: the file with its traceback, if there was one.
    """

    status: int
    message: str | None = None
    log: Path | None = None


@dataclass(frozen=True)
class Noise:
    """Lines of standard error that go to a file instead.

    Attributes:
        starts: what they begin with.
        file: which they are appended to. Its folder must exist.
    """

    starts: tuple[str, ...]
    file: Path


def run(
    arguments: Sequence[str],
    *,
    log: Path,
    debug: bool = False,
    noise: Noise | None = None,
    inherited: Sequence[int] = (),
) -> int:
    """Run a command as `follow` does, and print why it failed.

    Args:
        arguments: the command.
        log: file for the traceback of a failure.
        debug: print tracebacks, and noise, as they come.
        noise: lines that are kept off the terminal.
        inherited: descriptors of open files that the command holds open, too.

    Returns:
        Its exit status, see `Ended`.
    """
    return report(follow(arguments, log=log, debug=debug, noise=noise, inherited=inherited))


def report(ended: Ended) -> int:
    """Print why a command failed, if it did; its exit status."""
    if ended.message is not None:
        print(f"error: {ended.message}", file=sys.stderr)
    if ended.log is not None:
        print(f"The whole traceback is in {ended.log}.", file=sys.stderr)
    return ended.status


def follow(
    arguments: Sequence[str],
    *,
    log: Path,
    debug: bool = False,
    noise: Noise | None = None,
    inherited: Sequence[int] = (),
    environment: Mapping[str, str] | None = None,
) -> Ended:
    """Run a command; its output goes where this process' output goes.

    When it fails, its traceback is written to `log`, and the message of the first error is the answer.

    Args:
        arguments: the command.
        log: file for the traceback of a failure.
        debug: print tracebacks, and noise, as they come.
        noise: lines that are kept off the terminal.
        inherited: descriptors of open files that the command holds open, too.
        environment: variables of the command; None for those of this process.

    Returns:
        How it ended.
    """
    held: list[str] = []
    stderr = None if debug else subprocess.PIPE
    with subprocess.Popen(arguments, stderr=stderr, text=True, pass_fds=inherited, env=environment) as process:
        reader = Thread(target=_pass_on, args=(process.stderr, held, noise), daemon=True)
        if not debug:
            reader.start()
        before = signal.signal(signal.SIGTERM, _forward_to(process))
        try:
            status = process.wait()
        except KeyboardInterrupt:
            # A terminal sends Ctrl-C to both processes. If only this one got it, the other has to be told.
            try:
                process.wait(timeout=3)
            except subprocess.TimeoutExpired:
                _interrupt(process)
            return Ended(STOPPED_BY_CTRL_C)
        finally:
            signal.signal(signal.SIGTERM, before)
        if not debug:
            reader.join()
    if status < 0:
        return Ended(2, _ended_by(-status))
    if status == 0 or not held:
        # Not the end of the command, so not held back either.
        sys.stderr.writelines(held)
        return Ended(status)
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("".join(held), encoding="utf-8")
    return Ended(2, first_message(held), log)


def _interrupt(process: subprocess.Popen[str], patience: float = 30.0) -> None:
    """Send Ctrl-C until the process ends: Python drops it where it meets a callback of the garbage collector."""
    while process.poll() is None:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=patience)


def _ended_by(number: int) -> str:
    name = signal.Signals(number).name if number in list(signal.Signals) else f"signal {number}"
    why = ", mostly for want of memory" if number == signal.SIGKILL else ""
    return f"the training was ended by {name}{why}; go on with --resume"


def first_message(lines: Sequence[str]) -> str:
    """The message of the first exception of a traceback with its chain: the cause, not what was made of it.

    Args:
        lines: of standard error, from the first traceback on.
    """
    message = ""
    for line in lines:
        text = line.rstrip("\n")
        if any(mark in text for mark in _CHAINED):
            break
        if text and not text.startswith((" ", _TRACEBACK)):
            message = text
    name, _, said = message.partition(": ")
    return said if said and name.replace(".", "").isidentifier() else message


def _pass_on(stream: IO[str] | None, held: list[str], noise: Noise | None) -> None:
    """Pass lines on, and hold everything from the first traceback on."""
    assert stream is not None
    for line in stream:
        # torchrun puts the process before each line.
        text = _RANK.sub("", line)
        if held or text.startswith(_TRACEBACK):
            held.append(text)
        elif noise is not None and text.startswith(noise.starts):
            with noise.file.open("a", encoding="utf-8") as file:
                file.write(text)
        else:
            sys.stderr.write(line)
            sys.stderr.flush()


def _forward_to(process: subprocess.Popen[str]) -> Callable[[int, FrameType | None], None]:
    def forward(number: int, _: FrameType | None) -> None:
        process.send_signal(number)

    return forward
