"""`train`: what it runs, what it refuses, how it ends and goes on."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from auto_config import bundle_scripts
from auto_config.commands.train import train
from auto_config.errors import UserError
from auto_config.running import training
from auto_config.running.time_budget import PREDICTIONS_OF_A_CASE

SCRIPT = """
import torch
from ignite.metrics import Average


class Lines(torch.utils.data.Dataset):
    def __init__(self, length):
        self.length = length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        image = torch.randn(4, generator=torch.Generator().manual_seed(index))
        return {"image": image, "label": image.sum(0, keepdim=True)}


class MeanError(Average):
    def __init__(self):
        super().__init__(lambda output: float((output[0]["pred"] - output[0]["label"]).abs()))
"""

# The parts of a bundle's train.json that have to do with the course of a training, wired as the written ones are.
CONFIG = {
    "imports": ["$import os", "$import sys", "$import torch"],
    "bundle_root": ".",
    "output_dir": "$@bundle_root + '/eval'",
    "fold": 0,
    "resume": False,
    "keep_ensemble": False,
    "time_budget": None,
    "started": None,
    "val_interval": 1,
    "iterations_per_epoch": 4,
    "batch_size": 2,
    "learning_rate": 0.05,
    "device": "$torch.device('cpu')",
    "network_def": {"_target_": "torch.nn.Linear", "in_features": 4, "out_features": 1},
    "network": "$@network_def.to(@device)",
    "optimizer": {"_target_": "torch.optim.AdamW", "params": "$@network.parameters()", "lr": "@learning_rate"},
    "schedule": {
        "_target_": "scripts.training.run.schedule.Schedule",
        "optimizer": "@optimizer",
        "warm_up": 2,
        "power": 0.9,
        "evaluator": "@validate#evaluator",
        "time_budget": "@time_budget",
        "started": "@started",
    },
    "checkpoints": {
        "_target_": "scripts.training.run.checkpoints.Checkpoints",
        "network": "@network",
        "optimizer": "@optimizer",
        "schedule": "@schedule",
        "evaluator": "@validate#evaluator",
        "key_metric": "mre_mm",
        "folder": "$@bundle_root + '/models'",
        "fold": "@fold",
        "resume": "@resume",
        "keep_ensemble": "@keep_ensemble",
    },
    "train": {
        "dataset": {"_target_": "scripts.toy.Lines", "length": 1000000000},
        "sampler": {
            "_target_": "scripts.training.sampler.GlobalIndexSampler",
            "samples_per_epoch": "$@iterations_per_epoch * @batch_size",
            "rank": 0,
            "world_size": 1,
        },
        "dataloader": {
            "_target_": "DataLoader",
            "dataset": "@train#dataset",
            "sampler": "@train#sampler",
            "batch_size": "@batch_size",
            "num_workers": 0,
        },
        "inferer": {"_target_": "SimpleInferer"},
        "handlers": [
            {
                "_target_": "scripts.training.run.validation.Validation",
                "validator": "@validate#evaluator",
                "interval": "@val_interval",
                "schedule": "@schedule",
            },
            {
                "_target_": "TensorBoardStatsHandler",
                "log_dir": "@output_dir",
                "tag_name": "train_loss",
                "output_transform": "$lambda output: output[0]['loss']",
                "state_attributes": ["learning_rate"],
            },
            {
                "_target_": "scripts.training.run.progress.ProgressReport",
                "schedule": "@schedule",
                "checkpoints": "@checkpoints",
            },
        ],
        "trainer": {
            "_target_": "SupervisedTrainer",
            "max_epochs": 3,
            "device": "@device",
            "train_data_loader": "@train#dataloader",
            "network": "@network",
            "loss_function": "$torch.nn.MSELoss()",
            "optimizer": "@optimizer",
            "inferer": "@train#inferer",
            "train_handlers": "@train#handlers",
        },
    },
    "validate": {
        "dataset": {"_target_": "scripts.toy.Lines", "length": 3},
        "dataloader": {"_target_": "DataLoader", "dataset": "@validate#dataset", "batch_size": 1},
        "handlers": [{"_target_": "TensorBoardStatsHandler", "log_dir": "@output_dir", "iteration_log": False}],
        "key_metric": {"mre_mm": {"_target_": "scripts.toy.MeanError"}},
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@validate#dataloader",
            "network": "@network",
            "key_val_metric": "@validate#key_metric",
            "val_handlers": "@validate#handlers",
            "metric_cmp_fn": "$lambda new, old: new < old",
        },
    },
    "initialize": [
        "$sys.path.insert(0, os.path.abspath(@bundle_root))",
        "$@schedule.attach(@train#trainer)",
        "$@checkpoints.attach(@train#trainer)",
    ],
    "run": ["$@train#trainer.run()"],
    "training": "%run",
}


@pytest.fixture
def bundle(tmp_path):
    folder = tmp_path / "toy bundle"
    (folder / "configs").mkdir(parents=True)
    (folder / "data").mkdir()
    shutil.copytree(Path(bundle_scripts.__file__).parent, folder / "scripts")
    (folder / "scripts" / "toy.py").write_text(SCRIPT)
    (folder / "configs" / "train.json").write_text(json.dumps(CONFIG, indent=4))
    cases = [{"fold": number % 2, "case": str(number)} for number in range(4)]
    (folder / "data" / "datalist.json").write_text(json.dumps({"training": cases}))
    return folder


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

    def fail(folder, arguments, processes):
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

    def fail(folder, arguments, processes):
        given.append(arguments)
        return [sys.executable, "-c", "raise SystemExit(3)"]

    monkeypatch.setattr(training, "command", fail)
    assert train(bundle, **options) == 3
    assert given[0].get("predictions_after") == predictions


def test_later_folds_leave_the_time_that_earlier_ones_keep_for_their_calibration(bundle, monkeypatch, capfd):
    given = []

    def end(folder, arguments, processes):
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


def test_the_command_itself_is_light():
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
