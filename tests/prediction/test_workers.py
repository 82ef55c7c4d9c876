"""Processes that predict: what they say of errors, and what they leave. Threads stand for them here."""

import pickle
import queue
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from auto_config.bundle import light_monai
from auto_config.errors import UserError
from auto_config.prediction.sharing import workers
from auto_config.prediction.sharing.job import Job, Outcome
from auto_config.prediction.sharing.starting import begin
from auto_config.prediction.sharing.workers import Workers

IMAGES = {case: (Path(f"{case}.nii.gz"),) for case in ("a", "b")}


class Queue(queue.Queue):
    """Of one process alone."""

    def cancel_join_thread(self):
        pass


class Process(Thread):
    """Ends when it is out of work."""

    exitcode = 0

    def terminate(self):
        pass


class Predictor:
    """Predicts nothing."""

    opened = 0
    notes = ("no regions",)
    device = torch.device("cpu")

    def __init__(self, job, device):
        type(self).opened += 1

    def predict(self, case, paths):
        return Outcome(case, {"landmarks": []}, np.zeros(3), 0.1)

    def close(self):
        pass


class OddError(Exception):
    """Cannot be made again from its text."""

    def __init__(self, what, where):
        super().__init__(f"{what} at {where}")


@pytest.fixture
def predictor(monkeypatch):
    """The class of a predictor that a test may change."""
    context = SimpleNamespace(Queue=Queue, Process=Process)
    monkeypatch.setattr(workers, "get_context", lambda _: context)
    monkeypatch.setattr(workers, "signal", SimpleNamespace(signal=lambda *_: None, SIGINT=2, SIG_IGN=None))
    monkeypatch.setattr(workers, "_SECONDS_BETWEEN_LOOKS", 0.05)
    stub = type("Stub", (Predictor,), {})
    monkeypatch.setattr(workers, "Predictor", stub)
    return stub


def test_opened_once_before_anything_is_predicted(predictor, tmp_path, capsys):
    sharing = Workers(Job(tmp_path, tmp_path), [None, None])
    sharing.open()
    assert (predictor.opened, capsys.readouterr().err) == (2, "no regions\n")
    assert sorted(one.case for one in sharing.predict(IMAGES)) == ["a", "b"]
    assert predictor.opened == 2


@pytest.mark.parametrize("debug", [False, True])
def test_a_bundle_that_cannot_be_opened_is_said_by_open(predictor, monkeypatch, tmp_path, debug, capsys):
    def fail(self, job, device):
        raise OddError("no weights", "models")

    monkeypatch.setattr(predictor, "__init__", fail)
    with pytest.raises(UserError, match=r"^no weights at models$"):
        Workers(Job(tmp_path, tmp_path, debug=debug), [None, None]).open()
    assert ("in fail" in capsys.readouterr().err) == debug


def test_what_cannot_be_pickled_is_said(predictor, monkeypatch, tmp_path, capsys):
    answer = Outcome("a", {"landmarks": lambda: 0}, np.zeros(3), 0.1)
    monkeypatch.setattr(predictor, "predict", lambda self, case, paths: answer)
    with pytest.raises(UserError, match="pickle"):
        list(Workers(Job(tmp_path, tmp_path, debug=True), [None]).predict(IMAGES))
    assert "Traceback (most recent call last)" in capsys.readouterr().err


@pytest.mark.parametrize("status", [0, -9])
def test_a_process_that_is_gone_without_a_word_is_an_error(predictor, tmp_path, status):
    looks = []

    def get(timeout):
        looks.append(timeout)
        if len(looks) > 5:
            pytest.fail("nobody looks whether the process is there")
        raise queue.Empty

    sharing = Workers(Job(tmp_path, tmp_path), [None])
    with pytest.raises(UserError, match="was killed while it predicted"):
        list(sharing._answers([SimpleNamespace(exitcode=status)], SimpleNamespace(get=get)))


def test_what_a_process_left_unfinished_is_removed(predictor, monkeypatch, tmp_path):
    def fail(self, case, paths):
        for name in (".a.labels.nii.gz", ".b.regions.npz", "..a.regions.npz.k3j_2x9q.tmp"):
            (tmp_path / name).write_text("half")
        raise OddError("disk full", case)

    others = {"a.mrk.json", ".other.labels.nii.gz", ".run.json.k3j_2x9q.tmp"}
    for name in others:
        (tmp_path / name).write_text("whole")
    monkeypatch.setattr(predictor, "predict", fail)
    with pytest.raises(UserError, match="disk full"):
        list(Workers(Job(tmp_path, tmp_path), [None]).predict(IMAGES))
    assert {path.name for path in tmp_path.iterdir()} == others


@pytest.mark.parametrize("put_off", [False, True])
def test_a_process_puts_imports_off_as_the_one_that_started_it(monkeypatch, tmp_path, put_off):
    done = []
    monkeypatch.setattr(light_monai, "install", lambda: done.append("put off"))
    monkeypatch.setattr(workers, "work", lambda *given: done.append(given))
    job = Job(tmp_path, tmp_path, level=0.5)
    begin(put_off, pickle.dumps(job), 1, "cpu")
    assert done == [*["put off"] * put_off, (job, 1, "cpu")]
