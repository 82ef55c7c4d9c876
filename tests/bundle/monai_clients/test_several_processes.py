"""Two processes that share a batch and the validation cases do what one process does."""

import json
import subprocess

import pytest
import torch
from bundle_tools import edit, same, torchrun, weights

pytestmark = pytest.mark.usefixtures("warm_python")

SAVED = "[@network_def.state_dict(), @validate#evaluator.state.metrics, @progress._mean_shape.value, {}]"
SAVE = f"$torch.save({SAVED.format('len(@validate#dataloader)')}, 'rank' + os.environ.get('RANK', '0') + '.pt')"
# Augmentation stays on: a sample and its effects depend on the seed and on its number alone. Half precision, which some
# CPUs have, rounds a batch of 4 otherwise than two of 2.
OPTIONS = ("--train#trainer#max_epochs", "1", "--batch_size", "4", "--amp", "False")
# Plain gradient descent shows gradients, where AdamW shows little more than their signs.
SGD = {"_target_": "torch.optim.SGD", "params": "$@network.parameters()", "lr": 0.01, "momentum": 0.9}
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def both(two_stage_bundle, server, tmp_path_factory):
    """Folders of a bundle that one process trained, and of one that two processes did."""
    folder = tmp_path_factory.mktemp("several")
    one, two = folder / "one", folder / "two"
    for place in (one, two):
        subprocess.run(["cp", "-r", str(two_stage_bundle), str(place)], check=True)
        (place / "configs" / "save.json").write_text(json.dumps({"+run": [SAVE]}))
        edit(place / "configs" / "train.json", lambda c: c.update(optimizer=SGD))
    server.monai(one, "run", *OPTIONS, "--config_file", "['configs/train.json','configs/save.json']")
    torchrun(two, "['configs/train.json','configs/multi_gpu_train.json','configs/save.json']", *OPTIONS)
    return one, two


def saved(bundle, rank=0):
    return torch.load(bundle / f"rank{rank}.pt", weights_only=True)


def test_two_processes_have_one_network(both):
    _, two = both
    network = saved(two)[0]
    assert same(network, saved(two, 1)[0])
    assert same(network, weights(two))
    # Each handler writes a file of its own, the trainer's, the evaluator's and the tracker's, and only in process 0.
    assert len(list((two / "eval").rglob("events.out.tfevents.*"))) == 3


def test_it_is_the_network_that_one_process_trains_with_the_whole_batch(both, two_stage_bundle):
    """After three steps; not each crop shows each landmark, so the processes count different numbers of them."""
    one, two = (saved(bundle)[0] for bundle in both)
    learnt = [name for name in one if name.startswith("stages.")]
    largest = max(float((one[name] - two[name]).abs().max() / one[name].abs().max().clamp(min=1e-3)) for name in learnt)
    assert largest < TOLERANCE


def test_a_shared_validation_gives_the_numbers_of_one_process(both, server):
    one, two = both
    first, second = saved(two), saved(two, 1)
    cases = saved(one)[3]
    assert (first[3], second[3]) == (cases - cases // 2, cases // 2)
    assert first[1:3] == second[1:3]
    # The same weights, judged by one process.
    judge = [
        "$@progress",
        "$@network.load_state_dict(torch.load(@bundle_root + '/models/model.pt'))",
        "$@validate#evaluator.run()",
    ]
    (two / "configs" / "judge.json").write_text(json.dumps({"run": [*judge, SAVE.replace("'rank'", "'alone'")]}))
    judged = ("--config_file", "['configs/train.json','configs/judge.json']", "--amp", "False")
    server.monai(two, "run", *judged)
    alone = torch.load(two / "alone0.pt", weights_only=True)
    assert alone[1:4] == [*first[1:3], cases]
