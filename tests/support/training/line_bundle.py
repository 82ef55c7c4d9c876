"""A bundle that learns the sum of four numbers: what its folder and its train.json have to do with a training."""

import json
import shutil
from pathlib import Path

from auto_config import bundle_scripts

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
    "member": None,
    "seed": 3,
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
        "member": "@member",
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
        "$torch.manual_seed(@seed)",
        "$sys.path.insert(0, os.path.abspath(@bundle_root))",
        "$@schedule.attach(@train#trainer)",
        "$@checkpoints.attach(@train#trainer)",
    ],
    "run": ["$@train#trainer.run()"],
    "training": "%run",
}


def write_line_bundle(folder: Path) -> Path:
    """Write the bundle, with two folds of two cases."""
    (folder / "configs").mkdir(parents=True)
    (folder / "data").mkdir()
    shutil.copytree(Path(bundle_scripts.__file__).parent, folder / "scripts")
    (folder / "scripts" / "toy.py").write_text(SCRIPT)
    (folder / "configs" / "train.json").write_text(json.dumps(CONFIG, indent=4))
    cases = [{"fold": number % 2, "case": str(number)} for number in range(4)]
    (folder / "data" / "datalist.json").write_text(json.dumps({"training": cases}))
    return folder
