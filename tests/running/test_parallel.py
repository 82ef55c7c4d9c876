"""One function over many cases: order, errors, options."""

import math
import os
import signal
import subprocess
import sys
import time

import pytest

from auto_config.errors import UserError
from auto_config.running.parallel import map_cases


@pytest.mark.parametrize("workers", [None, 1, 2])
def test_results_are_in_the_order_of_the_cases(workers):
    assert map_cases(math.factorial, [5, 0, 3], workers=workers, label="counting") == [120, 1, 6]
    assert map_cases(math.factorial, [], workers=workers, label="counting") == []


def pid(_case):
    return os.getpid()


def test_few_cases_stay_in_this_process_unless_more_are_asked_for():
    assert set(map_cases(pid, range(3), workers=None, label="counting")) == {os.getpid()}
    assert set(map_cases(pid, range(20), workers=1, label="counting")) == {os.getpid()}
    assert os.getpid() not in map_cases(pid, range(2), workers=2, label="counting")


def test_a_killed_process_is_one_line_with_a_remedy():
    with pytest.raises(UserError, match=r"killed while reading images, mostly for want of memory; use --workers 1"):
        map_cases(os._exit, [3, 3], workers=2, label="reading images")


@pytest.mark.parametrize("workers", [0, -3])
def test_wrong_number_of_processes(workers):
    with pytest.raises(UserError, match=f"--workers is {workers}; give 1 or more"):
        map_cases(math.factorial, [1, 2], workers=workers, label="counting")


SLOW = """
import signal, sys, time
from auto_config.running.parallel import map_cases
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
print("starting", flush=True)
try:
    map_cases(time.sleep, [0.2] * 400, workers=2, label="waiting")
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.parametrize("after", [0.2, 1.0])
def test_ctrl_c_ends_all_processes_without_a_traceback(after):
    """A terminal sends it to all of them: while they import, and while they work."""
    with subprocess.Popen(
        [sys.executable, "-c", SLOW], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        process.stdout.readline()
        time.sleep(after)
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=20)  # all cases would take 40 s
    assert process.returncode == 130
    assert "Traceback" not in errors
