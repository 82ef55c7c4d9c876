"""Folds and seeds as jobs, side by side on this machine; and several seeds of one fold."""

import json
import sys
from pathlib import Path

import pytest
import torch
from line_bundle import write_line_bundle

from auto_config.commands.train import train
from auto_config.errors import UserError
from auto_config.running.folds import Member, members_of
from auto_config.running.jobs import device_slots, last_record, progress_line, slurm_parameters
from auto_config.running.launching import Launch, launch_options


@pytest.fixture
def bundle(tmp_path):
    return write_line_bundle(tmp_path / "toy bundle")


def test_a_fold_that_fails_is_one_line_and_the_others_go_on(bundle, capfd):
    pytest.importorskip("submitit")
    place = bundle / "models" / "fold_1"
    place.mkdir(parents=True)
    torch.save({"network": {}}, place / "latest.pt")
    assert train(bundle, fold="all", max_epochs=2, launcher="local", jobs=2, resume=True) == 2
    said = capfd.readouterr()
    lines = said.out.splitlines()
    assert lines[:2] == ["fold 0: begins", "fold 1: begins"]
    (ended,) = [line for line in lines if "has ended" in line]
    assert ended.startswith("fold 0: has ended: 100 %, error ")
    failed, missing = said.err.splitlines()[-2:]
    assert failed.startswith("error: fold 1: failed: ")
    assert "latest.pt belongs to another network" in failed
    assert missing == "error: not trained: fold 1; see above, then go on with --resume"
    assert (bundle / "models" / "fold_0" / "model.pt").is_file()
    assert not (bundle / "models" / "ensemble.json").exists()
    assert "latest.pt" in (bundle / "eval" / "train_error_1.log").read_text()


def test_seeds_of_a_fold_are_trained_side_by_side_and_averaged(bundle, capfd):
    pytest.importorskip("submitit")
    assert train(bundle, fold=1, seeds=2, max_epochs=1, launcher="local", jobs=2) == 0
    assert capfd.readouterr().out.splitlines()[:2] == ["fold 1: begins", "fold 1, seed 1: begins"]
    models = bundle / "models"
    files = json.loads((models / "ensemble.json").read_text())["files"]
    assert files == ["fold_1/model.pt", "fold_1/seed_1/model.pt"]
    one, other = (torch.load(models / file, weights_only=True) for file in files)
    assert not torch.equal(one["weight"], other["weight"])
    assert (models / "model.pt").read_bytes() in [(models / file).read_bytes() for file in files]
    for name in ("latest.pt", "score.json", "progress.jsonl"):
        assert (models / "fold_1" / "seed_1" / name).is_file()
    with pytest.raises(UserError, match=r"fold_1/model.pt is of an earlier training: go on with --resume"):
        train(bundle, fold=1, seeds=3)


def test_members():
    assert [member.name for member in members_of([0, "none"], 2)] == ["0", "0/seed_1", "none", "none/seed_1"]
    assert members_of([2], None) == [Member(2)]
    assert Member(2, 3).overrides(10) == {"fold": 2, "seed": 13, "member": "seed_3"}
    assert Member(2).overrides(10) == {"fold": 2}
    assert [str(member) for member in members_of([1], 2)] == ["fold 1", "fold 1, seed 1"]


@pytest.mark.parametrize(
    ("devices", "processes", "jobs", "slots"),
    [
        ([], 1, None, [None]),
        ([], 1, 3, [None] * 3),
        (["0", "1", "2"], 1, None, ["0", "1", "2"]),
        (["0", "1", "2"], 1, 2, ["0", "1"]),
        (["4", "5", "6", "7"], 2, None, ["4,5", "6,7"]),
        (["0", "1", "2"], 2, None, ["0,1"]),
    ],
)
def test_each_training_has_gpus_of_its_own(devices, processes, jobs, slots):
    assert device_slots(devices, processes, jobs) == slots


@pytest.mark.parametrize(("devices", "processes", "jobs"), [(["0"], 1, 2), (["0"], 2, None), ([], 1, 0), ([], 1, True)])
def test_more_trainings_than_gpus_are_refused(devices, processes, jobs):
    with pytest.raises(UserError, match="jobs"):
        device_slots(devices, processes, jobs)


def test_options_of_slurm_have_plain_names():
    launch = launch_options("slurm", None, "gpu", "1h30m", 48, ["qos=high", "account=lab"])
    assert slurm_parameters(launch, 2) == {
        "name": "train",
        "nodes": 1,
        "tasks_per_node": 1,
        "gpus_per_node": 2,
        "slurm_partition": "gpu",
        "timeout_min": 90,
        "mem_gb": 48,
        "slurm_additional_parameters": {"qos": "high", "account": "lab"},
    }
    assert set(slurm_parameters(Launch("slurm"), 1)) == {"name", "nodes", "tasks_per_node", "gpus_per_node"}


def test_submitit_writes_them_for_sbatch(tmp_path, monkeypatch):
    slurm = pytest.importorskip("submitit.slurm.slurm")
    submitit = pytest.importorskip("submitit")
    monkeypatch.setattr(slurm.SlurmExecutor, "affinity", classmethod(lambda cls: 2))
    executor = submitit.AutoExecutor(folder=tmp_path, cluster="slurm")
    executor.update_parameters(**slurm_parameters(launch_options("slurm", None, "gpu", "90m", 48, ["qos=high"]), 2))
    text = executor._executor._make_submission_file_text("command", "0")
    for line in ("--partition=gpu", "--time=90", "--mem=48GB", "--gpus-per-node=2", "--qos=high", "--job-name=train"):
        assert f"#SBATCH {line}\n" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"launcher": "pbs"}, "launcher is 'pbs'; allowed are local and slurm"),
        ({"partition": "gpu"}, "partition is an option of Slurm"),
        ({"launcher": "local", "time_limit": "8h"}, "time_limit is an option of Slurm"),
        ({"jobs": 2}, "jobs says how many"),
        ({"launcher": "slurm", "time_limit": "long"}, "time_limit is 'long'"),
        ({"launcher": "slurm", "memory_gb": 0}, "memory_gb is 0"),
        ({"launcher": "slurm", "sbatch": ["qos"]}, "sbatch has 'qos'"),
        ({"seeds": 0}, "seeds is 0"),
        ({"seeds": 2, "seed": "abc"}, "seed is 'abc'; .* whole number"),
        ({"seeds": 2, "seed": None}, "seed is None"),
    ],
)
def test_wrong_options_are_one_line(bundle, options, message):
    with pytest.raises(UserError, match=message):
        train(bundle, **options)
    assert not (bundle / "models").exists()


def test_without_submitit_the_package_is_named(bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(UserError, match=r"pip install submitit$"):
        train(bundle, fold="all", launcher="local")


def test_progress_is_said_in_one_line():
    record = {"progress": 0.4, "mre_mm": 0.5, "best_mre_mm": 0.25, "seconds_left": 600.0}
    assert progress_line(record) == "40 %, error 0.500, best 0.250, about 10 min left"
    assert progress_line({"progress": None, "mre_mm": None}) == "0 %"
    assert last_record(Path("nothing"), 0.0) is None
