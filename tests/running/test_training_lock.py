"""Two trainings of one bundle: the second is refused, and nothing is left locked."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from auto_config.errors import UserError
from auto_config.running.training_lock import training_lock


def test_a_second_training_of_a_fold_is_refused_in_one_line(tmp_path):
    with training_lock(tmp_path, [0]):
        expected = r"a training of fold 0 .* is running; wait for its end"
        with pytest.raises(UserError, match=expected) as caught, training_lock(tmp_path, [2, 0], patience=0):
            pytest.fail("both trained fold 0")
        assert "\n" not in str(caught.value)
        # Fold 2 was free, and is free again after the refusal.
        with training_lock(tmp_path, [1, 2]):
            pass
    with training_lock(tmp_path, [0]), training_lock(tmp_path, ["none"]):
        pass


def test_the_lock_ends_with_an_error(tmp_path):
    with pytest.raises(RuntimeError), training_lock(tmp_path, [0]):
        raise RuntimeError
    with training_lock(tmp_path, [0]):
        pass


HOLDS = """
import sys
from pathlib import Path
from auto_config import child
from auto_config.running.training_lock import training_lock
waits = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
with training_lock(Path(sys.argv[1]), [0]) as held:
    child.run([sys.executable, "-c", waits], log=Path(sys.argv[1]) / "log", inherited=held)
"""


def test_a_training_whose_command_was_killed_still_holds_its_fold(tmp_path):
    with subprocess.Popen([sys.executable, "-c", HOLDS, str(tmp_path)], stdout=subprocess.PIPE, text=True) as command:
        training = int(command.stdout.readline())
        command.kill()
        command.wait()
    try:
        with pytest.raises(UserError, match="is running"), training_lock(tmp_path, [0], patience=0):
            pytest.fail("two trainings of fold 0")
    finally:
        os.kill(training, signal.SIGKILL)
    with training_lock(tmp_path, [0], patience=30):
        pass


def test_the_end_of_a_training_is_awaited(tmp_path):
    begun = threading.Event()

    def train_shortly():
        with training_lock(tmp_path, [0]):
            begun.set()
            time.sleep(0.5)

    thread = threading.Thread(target=train_shortly)
    thread.start()
    assert begun.wait(30)
    with training_lock(tmp_path, [0], patience=30):
        pass
    thread.join()
