"""The jobs of a run, without trainings: their folder, their time, and how they are stopped."""

import json
import os
import signal
import subprocess
import sys
from threading import Timer
from types import SimpleNamespace

import pytest

from auto_config.running import jobs
from auto_config.running.folds import Member
from auto_config.running.launching import Launch
from auto_config.running.training import Training

CALIBRATION = 50.0
"""Seconds that a calibration of one fold takes."""


class Clock:
    """Time that goes on only while somebody sleeps."""

    now = 0.0

    def time(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


class Job:
    """A training that ends with its budget, less what it keeps for calibrations."""

    def __init__(self, clock, training):
        given = training.arguments
        kept = CALIBRATION * given["predictions_after"]
        self.clock, self.end = clock, given["started"] + given["time_budget"] - kept
        place = training.folder / "models" / f"fold_{training.member.name}"
        place.mkdir(parents=True)
        (place / "progress.jsonl").write_text(json.dumps({"calibration_seconds": kept}) + "\n")

    def done(self):
        return self.clock.now >= self.end

    def result(self):
        return 0, None


@pytest.mark.parametrize(("folds", "slots"), [(5, 1), (5, 5), (4, 2), (3, 2), (5, 3)])
def test_a_budget_holds_the_calibration_of_all_folds(tmp_path, monkeypatch, capsys, folds, slots):
    clock = Clock()
    monkeypatch.setattr(jobs, "time", clock)
    executor = SimpleNamespace(submit=lambda function, training, devices: Job(clock, training))
    trainings = [Training(tmp_path, Member(fold), {"predictions_after": 1.0}) for fold in range(folds)]
    ends = list(jobs._in_slots(executor, trainings, [None] * slots, jobs._Watch({}, tmp_path), 4000.0))
    assert sorted(member.fold for member, status in ends) == list(range(folds))
    spare = 4000.0 - folds * CALIBRATION - clock.now
    looks = 2.0 * jobs._SECONDS_BETWEEN_LOOKS * folds
    assert -looks <= spare <= looks + CALIBRATION * (slots - 1)


class Executor:
    """Of submitit: each job is a process that waits."""

    def __init__(self, folder, cluster):
        self.folder, self.processes = folder, []
        (folder / "left").write_text("by an earlier run")

    def update_parameters(self, **given):
        pass

    def submit(self, function, training, devices):
        process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        self.processes.append(process)
        return SimpleNamespace(job_id=str(process.pid), done=lambda: process.poll() is not None)


def test_sigterm_ends_the_jobs_and_each_run_has_a_folder_of_its_own(tmp_path, monkeypatch, capfd):
    made = []

    def executor(folder, cluster):
        assert list(folder.iterdir()) == []
        made.append(Executor(folder, cluster))
        return made[-1]

    monkeypatch.setattr(jobs, "submitit_package", lambda: SimpleNamespace(AutoExecutor=executor))
    monkeypatch.setattr(jobs, "visible_devices", list)
    monkeypatch.setattr(jobs, "_SECONDS_BETWEEN_LOOKS", 0.05)
    before = signal.getsignal(signal.SIGTERM)
    trainings = [Training(tmp_path, Member(fold), {}) for fold in (0, 1)]
    for _ in range(2):
        late = Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM))
        late.start()
        try:
            assert jobs.train_as_jobs(trainings, Launch("local", jobs=2), None) == 2
        finally:
            late.cancel()
        assert [process.wait(timeout=20) for process in made[-1].processes] == [-signal.SIGTERM] * 2
    assert signal.getsignal(signal.SIGTERM) == before
    assert "--resume" in capfd.readouterr().out
    one, other = (each.folder for each in made)
    assert one != other
    assert one.parent == other.parent == tmp_path / "eval" / "jobs"
