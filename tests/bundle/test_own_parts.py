"""The parts of configs that are ours and not MONAI's: few, each with its reason in docs/bundle.md."""

import functools
import itertools
import re
from pathlib import Path

import pytest
from analytic_blobs import plan_of

from auto_config.bundle import configs
from auto_config.bundle.json_text import json_text
from auto_config.methods import METHODS
from auto_config.methods.choosing import networks_of, takes_any
from auto_config.methods.combining.chosen import decoders_of, losses_of, targets_of
from auto_config.methods.combining.losses import LOSSES
from auto_config.methods.plan import Decision, Plan

DOCS = Path(__file__).parents[2] / "docs" / "bundle.md"
LIMIT = 26
"""Different parts of ours in a train.json, the networks of the stages apart."""

OPTIONAL = {
    "scripts.points.instances.read_instances",
    "scripts.methods.instances.InstanceDecoder",
    "scripts.training.run.instance_thresholds.InstanceThresholds",
    "scripts.training.pretrained.LoadPretrained",
    "scripts.training.crops.upright.UprightPose",
    "scripts.inference.poses.PoseSearch",
}
"""Beside these: only where a landmark has many instances or a pair may change places, after create --pretrained, and
where cases lie in any pose."""

MANY = {"many": [{"landmark": 2, "rows": 3, "min_distance_mm": 4.0, "match_mm": 5.0}], "exchangeable": []}
FREE = {"kind": "free", "limit_deg": 180.0, "turned_crops": True}
PAIR = {"many": [], "exchangeable": [{"landmarks": [0, 1], "min_distance_mm": 4.0}]}


PLACES = {"mean_mm": [[0.0] * 3] * 3, "spread_mm": [[1.0] * 3] * 3, "extent_mm": [[48.0] * 3] * 2, "absent": []}


def targets(value):
    """Every ``_target_`` in a config, as often as it stands there."""
    if isinstance(value, dict):
        own = [value["_target_"]] if "_target_" in value else []
        return own + [name for item in value.values() for name in targets(item)]
    return [name for item in value for name in targets(item)] if isinstance(value, list) else []


def without_networks(train):
    """A train.json without the networks of the stages, which may be anybody's."""
    return {**train, "network_def": {name: x for name, x in train["network_def"].items() if name != "stages"}}


@functools.cache
def plans(method):
    """Plans of a method: every kind of bundle."""
    row, found = METHODS[method], []
    networks = [None] if row.backbone else ["tiny", "resenc_m"]
    images = [(dims, *image) for dims in (2, 3) for image in ((1, "ct"), (1, "mr"), (2, "mr"))]
    for network, stages, (dims, channels, kind) in itertools.product(networks, (1, 2), images):
        if (row.stages == "two" and stages == 1) or (network == "resenc_m" and channels > 1):
            continue
        size = [32] * dims if network == "tiny" else None
        options = {"method": method, "network": network, "stages": stages, "patch_size": size}
        plain = plan_of(dims=dims, channels=channels, kind=kind, landmarks=3, **options)
        rare = [PAIR, *([MANY] if stages == 1 else [])] if row.instances else []
        if stages == 2:
            found.append(Plan({**plain.decisions, "pose": Decision(FREE, "given")}))
        if "places" in plain.decisions:
            found.append(Plan({**plain.decisions, "places": Decision(PLACES, "measured")}))
        found += [plain, *(Plan({**plain.decisions, "instances": Decision(value, "declared")}) for value in rare)]
    return found


def other_parts():
    """Plans with targets, losses, decoders and networks that are in the place of a method's own."""
    names = [
        (method, target, loss, decoder)
        for method, row in METHODS.items()
        for loss in losses_of(row)
        for target in targets_of(LOSSES[loss]) or (None,)
        for decoder in decoders_of(LOSSES[loss])
    ]
    for method, target, loss, decoder in names:
        network = "tiny" if takes_any(METHODS[method]) else METHODS[method].backbone
        parts = {"target": target, "loss": loss, "decoder": decoder}
        yield plan_of(dims=2, landmarks=3, method=method, network=network, stages=None, **parts)
    for method, row in METHODS.items():
        for network in networks_of(row):
            yield plan_of(dims=2, landmarks=3, method=method, network=network, stages=None)


def written(plan):
    """The configs of a plan by file, with all that they may hold."""
    return {
        "train": configs.train_config(plan, 3, "/data", 0, pretrained=True),
        "evaluate": configs.evaluate_config(plan),
        "inference": configs.inference_config(plan, 3),
        "multi_gpu_train": configs.multi_gpu_config(plan),
    }


def table():
    """Part and reason of each row of the table in the docs."""
    text = DOCS.read_text(encoding="utf-8").partition("## Ours, and why")[2].partition("\n## ")[0]
    return re.findall(r"^\| `(scripts\.[\w.]+)` \| (.+) \|$", text, flags=re.MULTILINE)


@pytest.mark.parametrize("method", METHODS)
def test_a_train_config_has_few_parts_of_ours(method):
    for plan in plans(method):
        own = {name for name in targets(without_networks(written(plan)["train"])) if name.startswith("scripts.")}
        assert len(own - OPTIONAL) <= LIMIT, sorted(own - OPTIONAL)


def test_each_part_of_ours_has_its_reason_and_each_reason_its_part():
    rows = table()
    names = [name for name, _ in rows]
    own = {
        name
        for plan in itertools.chain(other_parts(), *(plans(method) for method in METHODS))
        for config in written(plan).values()
        for name in targets(config)
        if name.startswith("scripts.")
    }
    assert sorted(names) == sorted(own)
    assert all(len(reason) > 20 and reason.endswith(".") for _, reason in rows)


@pytest.mark.parametrize("method", ["default", "nnlandmark"])
def test_the_method_is_read_in_the_first_lines(method):
    """Target, loss, window and decoder, in this order, before everything else."""
    for plan in plans(method):
        train, inference = written(plan)["train"], written(plan)["inference"]
        ids = [name for name in train if name in ("target", "loss", "window", "decoder", "network_def", "inferer")]
        assert ids == ["target", "loss", "window", "decoder", "network_def", "inferer"]
        assert list(inference).index("window") < list(inference).index("decoder") < list(inference).index("spacing")
        assert inference["decoder"] == train["decoder"] and inference["preprocessing"] == train["preprocessing"]
        head = "\n".join(json_text(train).splitlines()[:40])
        words = ("EDTHeatmap", "TopKBCELoss", "SlidingWindowInferer", "ArgmaxDecoder")
        assert [head.index(word) for word in words] == sorted(head.index(word) for word in words)
