"""Checkpoints: whole files whatever ends a training, and a resumed one is the one that was not killed."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import toy_training
from ignite.engine import Events
from monai.handlers import CheckpointLoader
from toy_training import EPOCHS, Training, errors, load, same

from auto_config.bundle_scripts.files.weights import atomic_save
from auto_config.bundle_scripts.training.run import checkpoints
from auto_config.bundle_scripts.training.run.checkpoints import is_better
from auto_config.bundle_scripts.training.run.random_state import random_state, restore_random_state
from auto_config.bundle_scripts.training.run.weights_in_use import weights_to_evaluate

pytestmark = pytest.mark.usefixtures("warm_python")


def test_ten_kills_change_nothing(tmp_path):
    never_killed = Training(tmp_path / "never").run()
    script = Path(toy_training.__file__)
    environment = {**os.environ, "PYTHONPATH": str(script.parents[2]), "OMP_NUM_THREADS": "1"}
    output = subprocess.run(
        [sys.executable, "-W", "ignore", str(script), str(tmp_path / "killed"), "1"],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
        timeout=900,
    ).stdout
    log = json.loads(output.splitlines()[-1])
    assert len(log) == 10
    assert all(all(entry["loads"]) for entry in log)
    assert sum(entry["killed"] for entry in log) >= 8
    # Some of the kills must have hit a file while it was written.
    assert sum(entry["killed"] and bool(entry["leftovers"]) for entry in log) >= 4
    for name in ("model.pt", "fold_0/model.pt"):
        assert same(load(tmp_path / "killed" / name), load(tmp_path / "never" / name))
    killed, never = (load(tmp_path / name / "fold_0" / "latest.pt") for name in ("killed", "never"))
    assert same(killed["network"], never["network"])
    assert same(never["network"], never_killed.weights())
    assert (
        (killed["epoch"], killed["best"]) == (never["epoch"], never["best"]) == (EPOCHS, never_killed.checkpoints.best)
    )
    assert torch.equal(killed["random"]["torch"], never["random"]["torch"])
    assert not list((tmp_path / "killed" / "fold_0").rglob("*.tmp"))


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    atomic_save({"a": torch.ones(2)}, tmp_path / "x.pt")

    def fail(obj, stream):
        stream.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        atomic_save({"a": torch.zeros(2)}, tmp_path / "x.pt")
    monkeypatch.undo()
    assert torch.equal(load(tmp_path / "x.pt")["a"], torch.ones(2))
    assert [path.name for path in tmp_path.iterdir()] == ["x.pt"]


def test_a_full_disk_is_said_in_one_line_that_names_the_file(tmp_path):
    code = """
import resource, sys, torch
from auto_config.bundle_scripts.files.weights import atomic_save
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
atomic_save({"a": torch.zeros(10_000)}, sys.argv[1])
"""
    path = tmp_path / "x.pt"
    atomic_save({"a": torch.ones(2)}, path)
    ended = subprocess.run([sys.executable, "-c", code, path], check=False, capture_output=True, text=True)
    name, _, said = ended.stderr.splitlines()[-1].partition(": ")
    assert name.endswith("UnwritableError")
    assert said.startswith(f"{path} cannot be written: File too large. Make room on its disk")
    assert ended.stderr.count("Traceback") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["x.pt"]
    assert torch.equal(load(path)["a"], torch.ones(2))


def test_two_processes_may_write_one_file(tmp_path, monkeypatch):
    # Two folds that are trained at once both write models/model.pt.
    save, path = torch.save, tmp_path / "x.pt"

    def another_writes_meanwhile(obj, stream):
        monkeypatch.undo()
        stream.write(b"half")
        atomic_save({"a": torch.zeros(2)}, path)
        assert torch.equal(load(path)["a"], torch.zeros(2))
        stream.seek(0)
        save(obj, stream)

    monkeypatch.setattr(torch, "save", another_writes_meanwhile)
    atomic_save({"a": torch.ones(2)}, path)
    assert torch.equal(load(path)["a"], torch.ones(2))
    assert [path.name for path in tmp_path.iterdir()] == ["x.pt"]


@pytest.mark.parametrize(
    ("value", "best", "better"),
    [(1.0, None, True), (1.0, 2.0, True), (2.0, 2.0, False), (float("nan"), None, False), (float("inf"), None, False)],
)
def test_lower_is_better(value, best, better):
    assert is_better(value, best) is better


def test_random_state_comes_back():
    def draw():
        legacy = np.random.normal()  # noqa: NPY002
        return [random.random(), float(legacy), float(torch.rand(()))]

    np.random.normal()  # noqa: NPY002  (leaves a second normal number in numpy's state)
    state = random_state()
    expected = draw()
    draw()
    restore_random_state(state)
    assert draw() == expected


def test_the_best_weights_are_kept(tmp_path):
    at_validation = []
    training = Training(tmp_path, epochs=4, interval=1, metric=errors([3.0, 1.0, 2.0, 1.0]))
    training.evaluator.add_event_handler(Events.STARTED, lambda: at_validation.append(training.weights()))
    training.run()
    for name in ("model.pt", "fold_0/model.pt"):
        assert same(load(tmp_path / name), at_validation[1])
    assert json.loads((tmp_path / "fold_0" / "score.json").read_text()) == {
        "metric": "mre_mm",
        "value": 1.0,
        "epoch": 2,
    }
    assert json.loads((tmp_path / "ensemble.json").read_text()) == {"files": ["model.pt"]}


def score(folder):
    return json.loads((folder / "fold_0" / "score.json").read_text())


def test_the_last_weights_are_kept_where_that_is_wanted(tmp_path):
    training = Training(tmp_path, epochs=4, interval=1, keep="last", metric=errors([3.0, 1.0, 2.0, 1.5])).run()
    for name in ("model.pt", "fold_0/model.pt"):
        assert same(load(tmp_path / name), training.weights())
    # What is said of the weights is their own error and not the best one.
    assert score(tmp_path) == {"metric": "mre_mm", "value": 1.5, "epoch": 4}
    assert training.checkpoints.kept == (1.5, 4)
    assert (training.checkpoints.best, training.checkpoints.best_epoch) == (1.0, 2)


def test_the_last_weights_are_kept_without_an_error_too_and_after_a_resume(tmp_path):
    Training(tmp_path, epochs=1, interval=1, keep="last", metric=errors([1.0])).run()
    training = Training(
        tmp_path, epochs=3, interval=1, keep="last", resume=True, metric=errors([2.0, float("nan")])
    ).run()
    assert same(load(tmp_path / "model.pt"), training.weights())
    assert score(tmp_path)["value"] is None
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    Training(tmp_path, epochs=3, keep="last", resume=True).run()
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == files


@pytest.mark.parametrize("interrupted", [False, True])
def test_the_last_weights_replace_better_judged_ones_only_if_they_are_better(tmp_path, interrupted):
    """And not before the end: what was better on the way is not what is kept."""
    Training(tmp_path, epochs=1).run()
    before = load(tmp_path / "model.pt")
    options = {"folder": tmp_path, "interval": 1, "keep_better": True, "keep": "last"}
    if interrupted:
        Training(**options, epochs=2, metric=errors([1.0, 0.5, 0.7])).run()
        atomic_save(before, tmp_path / "model.pt")
        worse = Training(**options, epochs=3, resume=True, metric=errors([1.1])).run()
    else:
        worse = Training(**options, epochs=3, metric=errors([1.0, 0.5, 0.7, 1.1])).run()
    assert same(load(tmp_path / "model.pt"), before)
    assert same(load(tmp_path / "fold_0" / "model.pt"), worse.weights())
    in_use = []
    better = Training(**options, epochs=2, metric=errors([1.0, 0.5, 0.9]))
    better.trainer.add_event_handler(
        Events.EPOCH_COMPLETED, lambda: in_use.append(same(load(tmp_path / "model.pt"), before))
    )
    better.run()
    assert in_use == [True, True]
    assert same(load(tmp_path / "model.pt"), better.weights())
    assert json.loads((tmp_path / "ensemble.json").read_text()) == {"files": ["model.pt"]}


def test_other_words_for_what_is_kept_are_refused(tmp_path):
    with pytest.raises(ValueError, match="keep is 'newest'; allowed are 'best' and 'last'"):
        Training(tmp_path, keep="newest")


def test_the_last_epoch_is_always_validated(tmp_path):
    training = Training(tmp_path, epochs=1, interval=5).run()
    assert training.checkpoints.best is not None
    assert same(load(tmp_path / "model.pt"), training.weights())


@pytest.mark.parametrize("options", [{"cases": 0}, {"interval": 1, "metric": "nan"}], ids=["no cases", "no number"])
def test_without_validation_the_last_weights_are_kept(tmp_path, options):
    if "metric" in options:
        options = {**options, "metric": errors([float("nan")] * 9)}
    training = Training(tmp_path, epochs=3, **options)
    after_epoch = []
    training.trainer.add_event_handler(
        Events.EPOCH_COMPLETED, lambda: after_epoch.append(same(load(tmp_path / "model.pt"), training.weights()))
    )
    training.run()
    assert after_epoch == [True, True, True]
    assert json.loads((tmp_path / "fold_0" / "score.json").read_text())["value"] is None


def test_a_number_that_is_lost_later_does_not_cost_the_best_weights(tmp_path):
    Training(tmp_path, epochs=1, metric=errors([1.0])).run()
    best = load(tmp_path / "model.pt")
    Training(tmp_path, epochs=3, interval=1, resume=True, metric=errors([float("nan")] * 9)).run()
    assert same(load(tmp_path / "model.pt"), best)


def continued(folder, values):
    training = Training(folder, epochs=2, interval=1, metric=errors(values))
    loader = CheckpointLoader(str(folder / "model.pt"), {"model": training.network})
    training.trainer._event_handlers[Events.STARTED].insert(0, (loader, (training.trainer,), {}))
    return training.run()


def test_weights_that_are_continued_from_are_the_ones_to_beat(tmp_path):
    Training(tmp_path / "a", epochs=2).run()
    before = load(tmp_path / "a" / "model.pt")
    training = continued(tmp_path / "a", [1.0, 1.5, 1.2])
    assert training.checkpoints.best == 1.0
    assert same(load(tmp_path / "a" / "model.pt"), before)
    training = continued(tmp_path / "a", [1.0, 1.5, 0.8])
    assert training.checkpoints.best == 0.8
    assert same(load(tmp_path / "a" / "model.pt"), training.weights())


def test_a_new_training_does_not_compete_with_old_weights(tmp_path):
    Training(tmp_path, epochs=2, metric=errors([0.1])).run()
    training = Training(tmp_path, epochs=2, metric=errors([5.0])).run()
    assert training.checkpoints.best == 5.0
    assert same(load(tmp_path / "model.pt"), training.weights())


def test_keep_better_lets_a_new_training_compete_with_the_weights_in_use(tmp_path):
    Training(tmp_path, epochs=2).run()
    files = {name: (tmp_path / name).read_bytes() for name in ("model.pt", "ensemble.json")}
    training = Training(tmp_path, epochs=2, interval=1, keep_better=True, metric=errors([1.0, 1.5, 1.2])).run()
    assert (training.checkpoints.best, training.checkpoints.last) == (1.0, 1.2)
    assert {name: (tmp_path / name).read_bytes() for name in files} == files
    assert not (tmp_path / "fold_0" / "score.json").exists()
    better = Training(tmp_path, epochs=2, interval=1, keep_better=True, metric=errors([1.0, 1.5, 0.8])).run()
    assert better.checkpoints.best == 0.8
    assert same(load(tmp_path / "model.pt"), better.weights())


@pytest.mark.parametrize("keep", ["best", "last"])
@pytest.mark.parametrize(("found", "replaced"), [([1.0, 1.5, 1.09], True), ([1.0, 1.5, 1.11], False)])
def test_weights_that_are_a_little_worse_replace_those_in_use_where_that_is_tolerated(tmp_path, keep, found, replaced):
    Training(tmp_path, epochs=2).run()
    options = {"epochs": 2, "interval": 1, "keep_better": True, "keep_tolerance": 0.1, "keep": keep}
    training = Training(tmp_path, **options, metric=errors(found)).run()
    assert same(load(tmp_path / "model.pt"), training.weights()) is replaced
    if keep == "best":
        assert training.checkpoints.best == (1.09 if replaced else 1.0)  # what is kept, and not the limit


def test_what_replaced_them_is_the_one_to_beat(tmp_path):
    Training(tmp_path, epochs=2).run()
    options = {"epochs": 3, "interval": 1, "keep_better": True, "keep_tolerance": 0.1}
    training = Training(tmp_path, **options, metric=errors([1.0, 1.02, 1.05, 1.01])).run()
    assert training.checkpoints.best == 1.01
    with pytest.raises(ValueError, match=r"keep_tolerance is -0\.1"):
        Training(tmp_path, keep_tolerance=-0.1)


def test_keep_better_judges_the_ensemble_that_is_in_use(tmp_path):
    for fold in (0, 1):
        Training(tmp_path, epochs=fold + 1, fold=fold, keep_ensemble=True).run()
    atomic_save(load(tmp_path / "fold_1" / "model.pt"), tmp_path / "model.pt")
    listed = json.dumps({"files": ["fold_0/model.pt", "fold_1/model.pt"]})
    (tmp_path / "ensemble.json").write_text(listed)
    judged = []
    training = Training(tmp_path, epochs=1, fold="labels", keep_better=True, metric=errors([1.0, 1.5]))
    training.evaluator.add_event_handler(Events.STARTED, lambda engine: judged.append(engine.network))
    training.run()
    assert [load(tmp_path / f"fold_{i}" / "model.pt")["0.bias"].tolist() for i in (0, 1)] == [
        member[0].bias.tolist() for member in judged[0].members
    ]
    assert judged[1] is training.network
    assert (tmp_path / "ensemble.json").read_text() == listed


def test_keep_better_without_a_judge_changes_the_weights_in_use_at_the_end_only(tmp_path):
    Training(tmp_path, epochs=1).run()
    before = load(tmp_path / "model.pt")
    training = Training(tmp_path, epochs=3, cases=0, fold="labels", keep_better=True)
    in_use = []
    training.trainer.add_event_handler(
        Events.EPOCH_COMPLETED, lambda: in_use.append(same(load(tmp_path / "model.pt"), before))
    )
    training.run()
    assert in_use == [True, True, True]
    assert same(load(tmp_path / "model.pt"), training.weights())


def test_keep_better_replaces_weights_of_another_network(tmp_path, caplog):
    Training(tmp_path, epochs=1, width=9).run()
    training = Training(tmp_path, epochs=1, interval=1, keep_better=True, metric=errors([5.0])).run()
    assert same(load(tmp_path / "model.pt"), training.weights())
    assert "any others replace them" in caplog.text


def test_weights_are_evaluated_on_cases_they_never_saw(tmp_path):
    newest = tmp_path / "model.pt"
    newest.write_bytes(b"")
    # A bundle that was handed on without its folds.
    assert weights_to_evaluate(tmp_path, 0, "validation") == str(newest)
    for fold in (1, 3):
        (tmp_path / f"fold_{fold}").mkdir()
        (tmp_path / f"fold_{fold}" / "model.pt").write_bytes(b"")
    (tmp_path / "fold_0").mkdir()  # killed before its first validation
    assert weights_to_evaluate(tmp_path, 3, "validation") == str(tmp_path / "fold_3" / "model.pt")
    assert weights_to_evaluate(tmp_path, 3, "test") == str(newest)
    assert weights_to_evaluate(tmp_path, 0, "test") == str(newest)
    with pytest.raises(ValueError, match=r"fold 0 was not trained.*trained: 1, 3\. Give --fold"):
        weights_to_evaluate(tmp_path, 0, "validation")


def test_only_process_0_writes(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints.idist, "get_rank", lambda: 1)
    Training(tmp_path / "models", epochs=2).run()
    assert not (tmp_path / "models").exists()
