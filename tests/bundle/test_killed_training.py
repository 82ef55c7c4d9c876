"""Training of a whole bundle, killed again and again: what is on disk always loads, and a resume loses nothing."""

import random

import pytest
import torch
from bundle_tools import edit, same, weights

EPOCHS = 4
TRAIN = ("run", "training", "--config_file", "configs/train.json", "--train#trainer#max_epochs", EPOCHS)


def moments(seed):
    """Ten moments: two while the cache of images fills, then writes of weights and steps in a random order."""
    chosen = random.Random(seed)
    later = ["half", "half", "half", "complete", "complete", "complete", "step", "step"]
    chosen.shuffle(later)
    # Two workers fill the cache, 2 files for each of 5 cases. An epoch has 3 steps and writes 1 file of weights, 3 if
    # they are the best, with 2 small files beside them.
    limits = {"cache": 3, "half": 4, "complete": 6, "step": 5}
    return [(way, chosen.randint(1, limits[way])) for way in ("cache", "cache", *later)]


@pytest.fixture
def small(two_stage_bundle, copy_of):
    """Copies of the two-stage bundle that read few cases."""

    def copy(name):
        bundle = copy_of(two_stage_bundle, name)

        def fewer(datalist):
            kept = [item for item in datalist["training"] if item["fold"] in (0, 1, 2)]
            datalist["training"] = kept[:5]

        edit(bundle / "data" / "datalist.json", fewer)
        return bundle

    return copy


def test_ten_kills_cost_nothing(small, server):
    never, killed = small("never"), small("killed")
    server.monai(never, *TRAIN)
    log = []
    for moment in moments(seed=2):
        status, output = server.run("monai.bundle", *TRAIN, "--resume", True, cwd=killed, moment=moment)
        assert status in (-9, 0), output
        files = list((killed / "models").rglob("*.pt"))
        assert all(torch.load(path, weights_only=True) for path in files)
        leftovers = [*(killed / "models").rglob("*.tmp"), *(killed / "cache").glob(".*")]
        log.append((*moment, status == -9, bool(leftovers)))
    assert sum(was_killed for *_, was_killed, _ in log) >= 8, log
    # Some of the kills hit a file of weights, and some a file of the cache, while it was written.
    assert sum(way in ("half", "complete") and left for way, _, _, left in log) >= 4, log
    assert any(way == "cache" and left for way, _, _, left in log), log
    server.monai(killed, *TRAIN, "--resume", True)
    for name in ("model.pt", "fold_0/model.pt"):
        assert same(weights(killed, name), weights(never, name)), name
    one, other = (weights(bundle, "fold_0/latest.pt") for bundle in (killed, never))
    assert same(one["network"], other["network"])
    assert (one["epoch"], one["best"], one["best_epoch"]) == (other["epoch"], other["best"], other["best_epoch"])
    assert one["epoch"] == EPOCHS
    assert not list((killed / "models" / "fold_0").rglob("*.tmp"))


def test_resume_with_more_epochs_goes_on(small, server):
    bundle = small("longer")
    server.monai(bundle, *TRAIN[:-1], 1)
    first = weights(bundle, "fold_0/latest.pt")
    output = server.monai(bundle, *TRAIN[:-1], 2, "--resume", True)
    second = weights(bundle, "fold_0/latest.pt")
    assert (first["epoch"], second["epoch"]) == (1, 2)
    assert not same(first["network"], second["network"])
    assert "Traceback" not in output
