"""Runs commands in forked processes, because importing MONAI takes seconds and each command must be a fresh process.

Reads one JSON request a line: ``{"argv": ["monai.bundle", "run", ...], "cwd", "output", "moment"}``; the first of
``argv`` is the module that ``python -m`` would run. Answers with the exit status, negative for a signal; ``moment``
says when the process kills itself, see `die_at`. A request ``{"code": ...}`` is run by the server itself, for what
it imports.
"""

import io
import json
import os
import runpy
import signal
import sys
import traceback

import monai.bundle
import numpy as np
import torch
from monai.engines import SupervisedTrainer


class Death:
    """Kills the process that made it, also when one of its workers calls."""

    def __init__(self):
        self.main = os.getpid()

    def __call__(self, *_args, **_kwargs):
        os.kill(self.main, signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)


def half_written(save, die):
    """A writer that is killed when half of its bytes are in the file."""

    def half(first, second):
        stream, content = (first, second) if hasattr(first, "write") else (second, first)
        whole = io.BytesIO()
        save(*((whole, content) if stream is first else (content, whole)))
        stream.write(whole.getvalue()[: whole.tell() // 2])
        stream.flush()
        die()

    return half


def half_cached(save, die):
    """``numpy.save`` to a path, killed in the middle of the file."""

    def half(path, array):
        whole = io.BytesIO()
        save(whole, array)
        with open(path, "wb") as stream:  # noqa: PTH123
            stream.write(whole.getvalue()[: whole.tell() // 2])
        die()

    return half


def nth(original, count, last):
    """The original function for ``count - 1`` calls, then ``last``."""
    calls = []

    def counted(*args, **kwargs):
        calls.append(1)
        return last(*args, **kwargs) if len(calls) == count else original(*args, **kwargs)

    return counted


def die_at(way, count):
    """Kill this process the ``count``-th time that something happens.

    A file of weights is written ``half``, or is ``complete`` but not yet renamed; a ``step`` of training begins; half a
    file of the image ``cache`` is written.
    """
    die = Death()
    if way == "half":
        torch.save = nth(torch.save, count, half_written(torch.save, die))
    elif way == "complete":
        os.fsync = nth(os.fsync, count, die)
    elif way == "step":
        SupervisedTrainer._iteration = nth(SupervisedTrainer._iteration, count, die)
    elif way == "cache":
        np.save = nth(np.save, count, half_cached(np.save, die))


def run(request):
    """In the child: become the command."""
    # PyTorch makes its pool of threads anew after a fork, when it is first asked for, and two threads that ask at a
    # time (the first way back of gradients does) can find none.
    torch.set_num_threads(torch.get_num_threads())
    with open(request["output"], "wb", buffering=0) as output:  # noqa: PTH123
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    os.chdir(request["cwd"])
    # As `python -m` does.
    sys.path.insert(0, request["cwd"])
    if request.get("moment"):
        die_at(*request["moment"])
    sys.argv = request["argv"]
    status = 0
    try:
        runpy.run_module(request["argv"][0], run_name="__main__", alter_sys=True)
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def main():
    """Serve until the input ends."""
    torch.set_num_threads(1)
    assert monai.bundle.run is not None
    answers = os.fdopen(os.dup(1), "w")
    answers.write("ready\n")
    answers.flush()
    # What is printed is no answer.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    for line in sys.stdin:
        if code := json.loads(line).get("code"):
            exec(code, {})
            answers.write("ready\n")
            answers.flush()
            continue
        child = os.fork()
        if child == 0:
            run(json.loads(line))
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        answers.write(f"{status}\n")
        answers.flush()


if __name__ == "__main__":
    main()
