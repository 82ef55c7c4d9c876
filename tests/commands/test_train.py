"""`train`: what it runs, what it refuses, how it ends and goes on."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from line_bundle import CONFIG, write_line_bundle

from auto_config import bundle_scripts
from auto_config.commands.train import train
from auto_config.errors import UserError
from auto_config.running import training
from auto_config.running.time_budget import PREDICTIONS_OF_A_CASE

pytestmark = pytest.mark.usefixtures("warm_python")


@pytest.fixture
def bundle(tmp_path):
    return write_line_bundle(tmp_path / "toy bundle")


def files_of(folder):
    return sorted(str(path.relative_to(folder / "models")) for path in (folder / "models").rglob("*") if path.is_file())


def test_all_folds_are_trained_in_turn_and_used_together(bundle):
    assert train(bundle, fold="all", max_epochs=2, learning_rate=0.1) == 0
    names = ("latest.pt", "model.pt", "progress.jsonl", "score.json")
    fold_files = [f"fold_{fold}/{name}" for fold in (0, 1) for name in names]
    assert files_of(bundle) == sorted([*fold_files, "ensemble.json", "model.pt"])
    models = bundle / "models"
    assert json.loads((models / "ensemble.json").read_text()) == {"files": ["fold_0/model.pt", "fold_1/model.pt"]}
    assert json.loads((models / "fold_1" / "score.json").read_text())["metric"] == "mre_mm"
    assert (models / "model.pt").read_bytes() in [
        (models / f"fold_{fold}" / "model.pt").read_bytes() for fold in (0, 1)
    ]
    assert list((bundle / "eval").glob("events.*"))


def test_ctrl_c_stops_a_training_and_resume_goes_on_within_its_time(bundle):
    # A shell that starts the tests in the background has its children ignore Ctrl-C.
    code = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += f"from auto_config.commands.train import train; sys.exit(train({str(bundle)!r}, max_epochs=10**6))"
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code],
        env={**os.environ, "PYTHONPATH": str(Path(bundle_scripts.__file__).parents[2])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        line = next(line for line in process.stdout if line.startswith("epoch 3/1000000"))
        assert "error" in line
        process.send_signal(signal.SIGINT)  # the training itself does not get it, as it would on a terminal
        output, errors = process.communicate(timeout=300)
    assert process.returncode == 130
    assert output.splitlines()[-1].startswith("Training was stopped. It can be continued")
    assert "Traceback" not in errors
    score = json.loads((bundle / "models" / "fold_0" / "score.json").read_text())

    # How exactly a budget is kept is tested on a clock of its own; here it must end a training that has no other end.
    assert train(bundle, time_budget="15s", resume=True) == 0
    latest = torch.load(bundle / "models" / "fold_0" / "latest.pt", weights_only=True)
    assert latest["schedule"] == {"progress": 1.0}
    assert json.loads((bundle / "models" / "fold_0" / "score.json").read_text())["value"] <= score["value"]


def test_only_what_a_person_asks_reaches_the_terminal(bundle, capfd):
    (bundle / "configs" / "metadata.json").write_text('{"version": "0.1.0"}')  # MONAI says an error where it lacks
    assert train(bundle, max_epochs=1) == 0
    said = capfd.readouterr()
    lines = said.out.splitlines()
    assert lines[0] == "Validating 3 whole images for the first time; the error is known after that ..."
    assert [line[:9] for line in lines[1:]] == ["epoch 1/1", "Training "]
    assert "parsing config_file" not in said.err
    log = (bundle / "eval" / "train.log").read_text()
    assert "parsing config_file" in log and "run_id: 'training'" in log

    assert train(bundle, max_epochs=1, overwrite=True, debug=True) == 0
    said = capfd.readouterr()
    assert "parsing config_file" in said.err and "run_id: 'training'" in said.out
    assert (bundle / "eval" / "train.log").read_text() == log


def test_a_broken_logging_file_is_named(bundle):
    (bundle / "configs" / "logging.conf").write_text("[loggers\n")
    with pytest.raises(UserError, match=r"logging\.conf: .*; correct it, or remove it"):
        train(bundle, max_epochs=1)


def test_a_training_that_fails_says_so_and_ends_the_folds(bundle, monkeypatch):
    trained = []

    def fail(folder, arguments, processes, more_configs):
        trained.append(arguments)
        return [sys.executable, "-c", "raise SystemExit(3)"]

    monkeypatch.setattr(training, "command", fail)
    assert train(bundle, fold="all", time_budget="10m", batch_size=1) == 3
    assert len(trained) == 1
    assert {name: trained[0][name] for name in ("fold", "keep_ensemble", "time_budget", "batch_size")} == {
        "fold": 0,
        "keep_ensemble": False,
        "time_budget": 300.0,
        "batch_size": 1,
    }


@pytest.mark.parametrize(
    ("options", "knows", "predictions"),
    [
        ({"time_budget": "10m"}, True, PREDICTIONS_OF_A_CASE),
        ({"time_budget": "10m", "predictions_after": 3}, True, 3),
        ({"time_budget": "10m", "calibrate": False}, True, None),
        ({"time_budget": "10m", "fold": "none"}, True, None),
        ({"max_epochs": 1}, True, None),
        ({"time_budget": "10m"}, False, None),  # a bundle of an earlier version
    ],
)
def test_a_time_budget_leaves_time_for_the_calibration(bundle, monkeypatch, options, knows, predictions):
    for name in ("inference.json", "landmarks.json"):
        (bundle / "configs" / name).write_text("{}")
    if knows:
        (bundle / "configs" / "train.json").write_text(json.dumps({**CONFIG, "predictions_after": 0}))
    given = []

    def fail(folder, arguments, processes, more_configs):
        given.append(arguments)
        return [sys.executable, "-c", "raise SystemExit(3)"]

    monkeypatch.setattr(training, "command", fail)
    assert train(bundle, **options) == 3
    assert given[0].get("predictions_after") == predictions


@pytest.mark.parametrize(("budget", "launcher"), [(None, None), ("10m", None), ("10m", "slurm")])
def test_the_calibration_gets_what_is_left_of_the_budget(bundle, monkeypatch, budget, launcher):
    for name in ("inference.json", "landmarks.json"):
        (bundle / "configs" / name).write_text("{}")
    monkeypatch.setattr(training, "command", lambda *_: [sys.executable, "-c", ""])
    lines = []
    monkeypatch.setattr(training.child, "run", lambda line, **_: lines.append(line) or 0)
    monkeypatch.setattr("auto_config.running.jobs.train_as_jobs", lambda *_: 0)
    assert train(bundle, time_budget=budget, launcher=launcher) == 0
    assert lines[0][2:5] == ["auto_config", "calibrate", str(bundle)]
    if budget is None or launcher is not None:  # in a queue nobody knows what is left
        assert lines[0][5:] == []
    else:
        assert lines[0][5] == "--time_budget"
        assert 500.0 < float(lines[0][6].removesuffix("s")) < 600.0


def test_later_folds_leave_the_time_that_earlier_ones_keep_for_their_calibration(bundle, monkeypatch, capfd):
    given = []

    def end(folder, arguments, processes, more_configs):
        given.append(arguments)
        place = folder / "models" / f"fold_{arguments['fold']}"
        place.mkdir(parents=True)
        (place / "progress.jsonl").write_text('{"calibration_seconds": 100.0}\n')
        (place / "model.pt").write_bytes(b"weights")
        (place / "score.json").write_text('{"value": 1.0}')
        return [sys.executable, "-c", ""]

    monkeypatch.setattr(training, "command", end)
    assert train(bundle, fold="all", time_budget="10m") == 0
    shares = [arguments["time_budget"] for arguments in given]
    assert shares[0] == 300.0
    # Nothing was used of the first half but what starting an empty process takes.
    assert shares[1] == pytest.approx(500.0 - (given[1]["started"] - given[0]["started"]))
    assert re.fullmatch(r"The whole command took \d+ s of 10 min 00 s\.", capfd.readouterr().out.splitlines()[-1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lerning_rate": 1}, "lerning_rate is neither an option nor a name in .*: did you mean learning_rate"),
        ({"trian#trainer#amp": 1}, "trian#trainer#amp .* did you mean train"),
        ({"max_epoch": 3}, "max_epoch is neither an option nor a name in .*: did you mean max_epochs"),
        ({"fold": 2}, r"fold is 2; give a number \(0 to 1\)"),
        ({"max_epochs": 0}, "max_epochs is 0"),
        ({"max_epochs": 2, "time_budget": "5m"}, "Both max_epochs and time_budget"),
        ({"time_budget": "5 min"}, "time_budget is '5 min'"),
        ({"resume": True}, "fold_0/latest.pt does not exist, so there is nothing to resume"),
        ({"gpus": 0}, "gpus is 0"),
        ({"gpus": 2}, "multi_gpu_train.json does not exist"),
    ],
)
def test_wrong_arguments_are_one_line_and_train_nothing(bundle, options, message):
    with pytest.raises(UserError, match=message) as error:
        train(bundle, **options)
    assert "\n" not in str(error.value)
    assert not (bundle / "models").exists()


def test_what_is_not_a_bundle_is_refused(tmp_path):
    with pytest.raises(UserError, match="is not a bundle to train"):
        train(tmp_path)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "train.json").write_text("{")
    with pytest.raises(UserError, match="not valid JSON"):
        train(tmp_path)


def test_the_command_itself_is_light(cold_python):
    code = (
        "import sys, auto_config.running.training, auto_config.bundle.shared_numbers; "
        "sys.exit(any(name in sys.modules for name in ('torch', 'monai')))"
    )
    root = Path(bundle_scripts.__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


@pytest.mark.parametrize(
    ("there", "options", "said"),
    [
        (["fold_0/model.pt", "fold_0/latest.pt"], {}, "fold_0/model.pt is .*: go on with --resume, or .* --overwrite"),
        (["fold_0/latest.pt"], {}, "fold_0/latest.pt is .*: go on with --resume, or .* --overwrite"),
        (["fold_1/model.pt"], {"fold": "all"}, "fold_1/model.pt is of an earlier training: replace it"),
        (["model.pt"], {}, "models/model.pt is of an earlier training: replace it with --overwrite"),
        (["fold_0/latest.pt", "fold_1/model.pt"], {"fold": "all", "resume": True}, "fold_1/model.pt"),
    ],
)
def test_finished_weights_are_replaced_only_when_asked(bundle, monkeypatch, there, options, said):
    monkeypatch.setattr(training, "command", lambda *_: [sys.executable, "-c", "raise SystemExit(3)"])
    for name in there:
        path = bundle / "models" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"weights")
    with pytest.raises(UserError, match=said) as error:
        train(bundle, **options)
    assert "\n" not in str(error.value)
    assert train(bundle, overwrite=True, **options) == 3  # it began
    assert (
        train(bundle, fold="none", **({} if there != ["model.pt"] else {"overwrite": True})) == 3
    )  # has no weights yet


def test_resume_and_another_fold_ask_nothing(bundle, monkeypatch):
    monkeypatch.setattr(training, "command", lambda *_: [sys.executable, "-c", "raise SystemExit(3)"])
    folder = bundle / "models" / "fold_0"
    folder.mkdir(parents=True)
    for name in ("model.pt", "latest.pt"):
        (folder / name).write_bytes(b"weights")
    assert train(bundle, resume=True, max_epochs=9) == 3
    assert train(bundle, fold=1) == 3
