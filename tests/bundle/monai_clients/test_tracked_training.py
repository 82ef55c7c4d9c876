"""What a training leaves for whoever follows it, read back after MONAI's own command."""

import importlib.util
import json

import numpy as np
import pytest
from blobs import HEAD
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from auto_config.cli import main
from auto_config.errors import UserError
from auto_config.running import experiments
from auto_config.running.experiments import tracking_overrides

TRAIN = ("run", "training", "--config_file", "configs/train.json")


def events(folder):
    found = EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0, "tensors": 0})
    return found.Reload()


def test_curves_errors_pictures_plan_and_versions_in_tensorboard_and_mlflow(two_stage_bundle, server, copy_of):
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    bundle = copy_of(two_stage_bundle)
    # The loss of every tenth step.
    steps = ("--iterations_per_epoch", 5, "--train#trainer#max_epochs", 2)
    server.monai(bundle, *TRAIN, "--tracking", "mlflow", *steps)
    found = events(bundle / "eval")
    tags = found.Tags()
    assert {"train_loss", "learning_rate", "mre_mm"} <= set(tags["scalars"])
    lines = [json.loads(line) for line in (bundle / "models" / "fold_0" / "progress.jsonl").read_text().splitlines()]
    per_landmark = [found.Scalars(f"landmark_mre_mm/{name}") for name in HEAD]
    assert all([event.step for event in curve] == [1, 2] for curve in per_landmark)
    # All landmarks are in all cases: the error over all is the mean of theirs.
    means = np.mean([[event.value for event in curve] for curve in per_landmark], axis=0)
    np.testing.assert_allclose(means, [line["mre_mm"] for line in lines if line["epoch"] > 0][:2], rtol=1e-5)
    assert "validation_case_0" in tags["images"]
    assert {"plan/text_summary", "metadata/text_summary", "versions/text_summary"} <= set(tags["tensors"])
    client = mlflow.MlflowClient(f"sqlite:///{bundle / 'eval' / 'mlruns.db'}")
    (experiment,) = [one for one in client.search_experiments() if one.name == "monai_experiment"]
    run = max(client.search_runs(experiment.experiment_id), key=lambda one: len(one.data.params))
    np.testing.assert_allclose(run.data.metrics["landmark_mre_mm/nose"], per_landmark[2][-1].value, rtol=1e-5)
    assert run.data.params["plan.method"] == "default"
    artifacts = {item.path for item in client.list_artifacts(run.info.run_id)}
    assert {"plan.json", "metadata.json", "validation_case_0"} <= artifacts
    assert (bundle / "eval" / "mlruns").is_dir()


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        (None, {}),
        ("tensorboard", {}),
        ("mlflow", {"tracking": "mlflow"}),
        ("wandb", {"wandb": "offline"}),
        ("wandb-online", {"wandb": "online"}),
    ],
)
def test_words_of_the_command_line(word, expected, monkeypatch):
    monkeypatch.setattr(experiments.importlib.util, "find_spec", lambda _: object())
    assert tracking_overrides(word) == expected


def test_a_file_of_monais_settings_is_handed_on(tmp_path):
    path = tmp_path / "settings.json"
    path.write_text("{}")
    assert tracking_overrides(str(path)) == {"tracking": str(path)}
    with pytest.raises(UserError, match="neither mlflow, wandb"):
        tracking_overrides(str(tmp_path / "none.json"))


@pytest.mark.parametrize("word", ["mlflow", "wandb"])
def test_a_missing_package_is_one_line_before_anything_is_read(word, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(experiments.importlib.util, "find_spec", lambda _: None)
    assert main(["train", str(tmp_path / "no bundle"), "--tracking", word]) == 2
    assert capsys.readouterr().err == f"error: --tracking {word}: {word} is not installed; pip install {word}\n"


def test_the_command_trains_with_wandb_offline(one_stage_bundle, copy_of, capfd):
    if importlib.util.find_spec("wandb") is None:
        pytest.skip("wandb is not installed: pip install wandb")
    bundle = copy_of(one_stage_bundle)
    words = ["train", str(bundle), "--max_epochs", "1", "--calibrate", "false", "--tracking", "wandb"]
    assert main(words) == 0, capfd.readouterr().err
    assert len(list((bundle / "eval" / "wandb").glob("offline-run-*/run-*.wandb"))) == 1
