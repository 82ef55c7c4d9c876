"""A bundle with residual networks: killed and resumed, trained by two processes, predicted with."""

import json

import pytest
import torch
from bundle_tools import config, edit, same, shrink, torchrun, weights

from auto_config.commands.create import create

pytestmark = pytest.mark.usefixtures("warm_python")

TRAIN = ("run", "training", "--config_file", "configs/train.json")


@pytest.fixture(scope="module")
def residual(heads, tmp_path_factory):
    """Untrained, small."""
    bundle = tmp_path_factory.mktemp("residual") / "bundle"
    assert (
        create(heads[0], bundle, network="resenc_m", stages=2, patch_size=[16, 16, 16], workers=1, few_labels=False)
        == 0
    )
    return shrink(bundle)


@pytest.fixture(scope="module")
def trained(residual, server):
    server.monai(residual, *TRAIN)
    return residual


def test_its_weights_have_one_name_each(trained):
    saved = weights(trained)
    assert len({tensor.untyped_storage().data_ptr() for tensor in saved.values()}) == len(saved)
    layers = config(trained, "train")["network_def"]["output_layers"]
    assert layers.keys() == {"coarse", "fine"}
    assert all(f"stages.{stage}.{layer}.bias" in saved for stage, layer in layers.items())


def test_a_killed_training_goes_on_as_if_it_had_not_been(trained, server, copy_of):
    killed = copy_of(trained, "killed")
    for path in (killed / "models").rglob("*.pt"):
        path.unlink()
    # In the second epoch of three steps each.
    status, _ = server.run("monai.bundle", *TRAIN, "--resume", True, cwd=killed, moment=("step", 5))
    assert status == -9
    assert weights(killed, "fold_0/latest.pt")["epoch"] == 1
    server.monai(killed, *TRAIN, "--resume", True)
    assert same(weights(killed), weights(trained))


def test_two_processes_need_not_look_for_weights_without_a_gradient(residual, copy_of):
    bundle = copy_of(residual, "two_processes")
    path = bundle / "configs" / "multi_gpu_train.json"
    assert json.loads(path.read_text())["network"]["find_unused_parameters"] is False
    edit(
        path, lambda c: c.update({"+run": ["$torch.save(@network.state_dict(), 'rank' + os.environ['RANK'] + '.pt')"]})
    )
    torchrun(bundle, "['configs/train.json','configs/multi_gpu_train.json']", "--train#trainer#max_epochs", "1")
    one, other = (torch.load(bundle / f"rank{rank}.pt", weights_only=True) for rank in (0, 1))
    saved = {f"module.{name}": tensor for name, tensor in weights(bundle).items()}
    assert same(one, other)
    assert same(one, saved)


def test_it_predicts(trained, heads, server, tmp_path):
    images = heads[0] / "images"
    config_file = ("--config_file", "configs/inference.json")
    server.monai(trained, "run", *config_file, "--dataset_dir", images, "--output_dir", tmp_path)
    assert len(list(tmp_path.rglob("*.mrk.json"))) == len(list(images.iterdir()))
