"""A resumed training is the one that was not killed, and nothing else goes on with its state."""

import json
import os

import pytest
import torch
import toy_training
from ignite.engine import Events
from monai.networks.nets import DynUNet
from toy_training import Training, errors, load, same

from auto_config.bundle_scripts.files.weights import atomic_save
from auto_config.bundle_scripts.methods.stages import residual_encoder_unet
from auto_config.bundle_scripts.training.run.resume_state import weights_of


class KilledError(Exception):
    """Stands for a kill."""


def killed_at_once(**options):
    training = Training(**options)

    def kill():
        raise KilledError

    training.trainer.add_event_handler(Events.ITERATION_STARTED, kill)
    with pytest.raises(KilledError):
        training.run()


def test_a_resume_never_goes_on_with_a_training_that_was_replaced(tmp_path, caplog):
    Training(tmp_path, epochs=2).run()
    assert "replaces the earlier one" not in caplog.text
    before = load(tmp_path / "model.pt")
    killed_at_once(folder=tmp_path, epochs=3)
    assert [line.getMessage() for line in caplog.records if line.levelname == "WARNING"] == [
        f"A new training replaces the earlier one in {tmp_path / 'fold_0'}, without resume."
    ]
    assert {path.name for path in (tmp_path / "fold_0").iterdir()} == {"model.pt"}
    assert same(load(tmp_path / "model.pt"), before)
    again = Training(tmp_path, epochs=3, resume=True).run()
    assert again.trainer.state.iteration == again.trainer.state.epoch_length * 3
    fresh = Training(tmp_path / "fresh", epochs=3).run()
    assert same(again.weights(), fresh.weights())


def test_a_kill_of_a_resumed_training_costs_no_state(tmp_path):
    Training(tmp_path, epochs=2).run()
    killed_at_once(folder=tmp_path, epochs=3, resume=True)
    assert {path.name for path in (tmp_path / "fold_0").iterdir()} == {"model.pt", "latest.pt", "score.json"}


@pytest.mark.parametrize("content", [b"", b"not a checkpoint"])
def test_a_foreign_model_file_does_not_stop_a_new_training(tmp_path, content):
    (tmp_path / "model.pt").write_bytes(content)
    training = Training(tmp_path, epochs=1).run()
    assert same(load(tmp_path / "model.pt"), training.weights())


def test_one_fold_of_several_leaves_the_models_in_use_alone(tmp_path):
    (tmp_path / "model.pt").write_bytes(b"in use")
    (tmp_path / "ensemble.json").write_text("in use")
    Training(tmp_path, epochs=2, fold=3, keep_ensemble=True).run()
    assert (tmp_path / "model.pt").read_bytes() == b"in use"
    assert (tmp_path / "ensemble.json").read_text() == "in use"
    assert {path.name for path in (tmp_path / "fold_3").iterdir()} == {"model.pt", "latest.pt", "score.json"}


def test_new_weights_of_a_fold_in_use_take_the_calibration_away(tmp_path):
    for listed, stays in (([0, 3], False), ([0, 1], True)):
        (tmp_path / "calibration.json").write_text("{}")
        (tmp_path / "ensemble.json").write_text(json.dumps({"files": [f"fold_{fold}/model.pt" for fold in listed]}))
        Training(tmp_path, epochs=1, fold=3, keep_ensemble=True).run()
        assert (tmp_path / "calibration.json").exists() == stays


@pytest.mark.parametrize("epochs", [3, 2])
def test_resuming_a_training_that_has_ended_changes_nothing(tmp_path, epochs):
    Training(tmp_path, epochs=3).run()
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    again = Training(tmp_path, epochs=epochs, resume=True).run()
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == files
    assert again.trainer.state.iteration == 3 * toy_training.ITERATIONS
    assert again.evaluator.state.iteration == 0


def test_resume_starts_anew_where_there_is_nothing(tmp_path, caplog):
    training = Training(tmp_path, epochs=1, resume=True).run()
    assert training.trainer.state.epoch == 1
    assert "starts from its beginning" in caplog.text


def test_resume_restores_the_best_error_for_other_handlers(tmp_path):
    Training(tmp_path, epochs=2, metric=errors([0.25])).run()
    again = Training(tmp_path, epochs=4, resume=True, metric=errors([0.5])).run()
    assert (again.checkpoints.best, again.checkpoints.best_epoch) == (0.25, 2)
    assert again.evaluator.state.best_metric == 0.25


@pytest.mark.parametrize(
    ("change", "message"),
    [({"width": 9}, "latest.pt belongs to another network"), ({"optimizer": "AdamW"}, "belongs to the optimizer SGD")],
)
def test_resume_refuses_the_state_of_another_training(tmp_path, change, message):
    Training(tmp_path, epochs=1).run()
    with pytest.raises(ValueError, match=message):
        Training(tmp_path, epochs=2, resume=True, **change).run()


def test_leftovers_of_a_kill_are_removed(tmp_path):
    (tmp_path / "fold_0").mkdir()
    for name in ("model.pt.tmp", "fold_0/latest.pt.tmp", ".ensemble.json.x.tmp"):
        (tmp_path / name).write_bytes(b"half")
        os.utime(tmp_path / name, (1, 1))
    (tmp_path / "fold_0" / "model.pt.tmp").write_bytes(b"half")
    # Another fold may be writing it now.
    (tmp_path / ".model.pt.y.tmp").write_bytes(b"half")
    Training(tmp_path, epochs=1).run()
    assert [path.name for path in tmp_path.rglob("*.tmp")] == [".model.pt.y.tmp"]


LEVELS = {
    "spatial_dims": 2,
    "in_channels": 1,
    "out_channels": 2,
    "filters": [8, 16, 32],
    "strides": [[1, 1], [2, 2], [2, 2]],
    "kernel_size": [[3, 3]] * 3,
}
NETWORKS = {
    "DynUNet": lambda: DynUNet(**LEVELS, upsample_kernel_size=[[2, 2], [2, 2]]),
    "residual": lambda: residual_encoder_unet(**LEVELS, blocks=[1, 3, 4]),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_from_another_device_are_copied_once_and_not_for_each_name(name, tmp_path, monkeypatch):
    """DynUNet has most of its layers under two names. A copy to the CPU stands for one from a GPU."""
    torch.manual_seed(0)
    network = NETWORKS[name]()
    here, names = network.state_dict(), weights_of(network).keys()
    monkeypatch.setattr(torch.Tensor, "cpu", lambda tensor: tensor.clone())
    found = weights_of(network)
    monkeypatch.undo()
    assert found.keys() == names == here.keys()
    assert not {t.data_ptr() for t in found.values()} & {t.data_ptr() for t in here.values()}
    assert len({t.data_ptr() for t in found.values()}) == len(list(network.parameters()))
    atomic_save(found, tmp_path / "model.pt")
    assert same(load(tmp_path / "model.pt"), here)
    # Beside the values only names and headers.
    values = sum(weight.nbytes for weight in network.parameters())
    assert values < (tmp_path / "model.pt").stat().st_size < 1.5 * values


def test_weights_that_share_memory_and_not_shape_stay_apart(monkeypatch):
    """Views of one storage are copied as what they are."""
    network = torch.nn.Module()
    whole = torch.arange(6.0)
    for key, view in {
        "whole": whole,
        "rows": whole.view(2, 3),
        "turned": whole.view(3, 2).t(),
        "head": whole[:2],
    }.items():
        network.register_buffer(key, view)
    expected = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    monkeypatch.setattr(torch.Tensor, "cpu", lambda tensor: tensor.clone())
    assert same(weights_of(network), expected)
