"""The whole plan: every decision with a reason, overrides, and clear refusals."""

import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from auto_config.errors import UserError
from auto_config.fingerprint.summary import Fingerprint
from auto_config.methods import BACKBONES, METHODS, MethodRequest
from auto_config.planning import DECISION_NAMES, Decision, Plan, PlanOptions, make_plan
from auto_config.planning.hardware import gpu_memory_gb
from auto_config.planning.normalization import plan_normalization

CT = {
    "min": -1024,
    "max": 3000,
    "mean": 200,
    "std": 400,
    "p00_5": -600,
    "p99_5": 1400,
    "air": -1000,
    "air_zscore": -1.2,
}
SPLIT = {"test": Decision({"from": "fraction"}, "20 %"), "folds": Decision({"count": 5}, "5")}
SKULLS = Fingerprint(
    cases=34,
    spatial_dims=3,
    channels=1,
    landmarks=5,
    shapes=[[94, 160, 80]] * 34,
    spacings=[[0.17, 0.16, 0.16]] * 34,
    extents_mm=[[16.0, 25.6, 12.8]] * 34,
    intensity=[CT],
    is_integer=True,
    modality_guess="ct",
    landmark_extent_mm=[[11.0, 22.0, 9.0]] * 34,
    present=[34] * 5,
    absent=[0] * 5,
    unknown=[0] * 5,
    nearest_landmarks_mm={"min": 0.2, "median": 1.4},
    pairs=[[0, 1], [2, 4]],
    midline=[3],
    left_right_axis_evidence={"source": "names", "residual_mm": None, "spread_mm": None, "reason": "2 pairs by names"},
)


def _plan(fingerprint=SKULLS, **options) -> Plan:
    return make_plan(fingerprint, PlanOptions(**options), SPLIT)


def test_every_decision_has_a_reason_and_survives_json():
    plan = _plan()
    assert tuple(plan.decisions) == DECISION_NAMES
    assert all(decision.reason for decision in plan.decisions.values())
    assert Plan.from_json(plan.to_json()) == plan


def test_without_gpu_tiny_with_a_warning():
    plan = _plan()
    assert plan.value("network") == "tiny"
    assert plan.reason("network").startswith("warning: no GPU was found")
    assert plan.value("gpu_memory_gb") is None
    assert len(plan.value("stages")) == 2
    assert plan.value("workers") == 1


def test_gpu_found_or_given():
    found = _plan(found_gpu_memory_gb=139.0)
    assert (found.value("network"), found.value("gpu_memory_gb")) == (
        "plain",
        8,
    )  # the plan does not follow the machine
    assert _plan(found_gpu_memory_gb=6.0).value("gpu_memory_gb") == 6.0
    assert _plan(gpu_memory_gb=24).value("gpu_memory_gb") == 24
    assert _plan(gpu_memory_gb=24, found_gpu_memory_gb=6.0).reason("gpu_memory_gb") == "given by the user"
    small = _plan(found_gpu_memory_gb=2.0)
    assert small.value("network") == "tiny"
    assert "2 GB" in small.reason("network")


def test_lengths_follow_the_spacing():
    plan = _plan()
    assert plan.value("spacing") == [0.17, 0.16, 0.16]
    assert plan.value("heatmap_radius_mm") == pytest.approx(15 * 0.16)
    coarse = plan.stage("coarse")["spacing"]
    assert plan.value("jitter_mm") == pytest.approx((coarse[0] * coarse[1] * coarse[2]) ** (1 / 3) * 2 / 3, abs=1e-4)
    other = _plan(spacing=(0.3, 0.3, 0.6))
    assert other.value("spacing") == [0.3, 0.3, 0.6]
    assert other.reason("spacing") == "given by the user"
    assert other.value("heatmap_radius_mm") == pytest.approx(4.5)


def test_ct_clips_to_the_body_and_pads_with_air():
    normalization, pad = plan_normalization([CT], None, "ct")
    assert normalization.value == [{"kind": "ct", "low": -600, "high": 1400, "mean": 200, "std": 400}]
    assert pad.value == pytest.approx((-600 - 200) / 400)
    given, _ = plan_normalization([CT], "ct", None)
    assert given.value == normalization.value
    assert "given by the user" in given.reason


def test_other_images_by_their_own_mean():
    normalization, pad = plan_normalization([{**CT, "air_zscore": -0.8}, {**CT, "air_zscore": -0.4}], "mr", "ct")
    assert normalization.value == [{"kind": "zscore"}] * 2
    assert pad.value == pytest.approx(-0.6)


def test_mirror_needs_every_landmark_and_a_method_that_mirrors():
    assert _plan().value("mirror") is True
    assert _plan(method="nnlandmark").value("mirror") is False
    alone = _plan(replace(SKULLS, midline=[]))
    assert alone.value("mirror") is False
    assert alone.reason("mirror").startswith("1 landmark")
    assert _plan(replace(SKULLS, pairs=[], midline=[0, 1, 2, 3, 4])).value("mirror") is False


def test_a_method_and_its_network_are_given():
    plan = _plan(method="nnlandmark", network="resenc_l")
    assert (plan.value("network"), plan.value("method")) == ("resenc_l", "nnlandmark")
    assert plan.reason("method") == "given by the user"
    assert plan.value("gpu_memory_gb") == 24
    assert len(plan.value("stages")) == 1
    assert _plan().value("method") == "default"


def _training(method, network, batch_size, dims):
    return METHODS[method].training(MethodRequest(BACKBONES[network], batch_size, dims))


def test_the_published_method_to_the_letter():
    training = _training("nnlandmark", "plain", 2, 3)
    assert training.loss.value == {"top_percent": 20}
    assert training.optimizer.value == {
        "name": "SGD",
        "lr": 1e-2,
        "momentum": 0.99,
        "nesterov": True,
        "weight_decay": 3e-5,
    }
    # Of two patches the second is forced, of nine the last three: nnU-Net's rounding of one third.
    assert training.sampling.value == {"landmark_share": 0.5, "placement": "centre"}
    assert _training("nnlandmark", "plain", 9, 3).sampling.value["landmark_share"] == pytest.approx(1 / 3)
    assert (training.iterations_per_epoch.value, training.max_epochs.value) == (250, 1000)
    assert training.augmentation.value["rotation"] == {"prob": 0.2, "max_rad": pytest.approx(0.5236)}


def test_the_default_method():
    training = _training("default", "tiny", 2, 3)
    assert training.loss.value["cross_entropy"] == 1.0
    assert training.loss.value["output_bias"] == -4
    assert training.optimizer.value["lr"] == 2e-3
    assert training.schedule.value["warmup_steps"] == 20


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"network": "huge"}, r"--network must be one of tiny, plain, .*'huge'"),
        ({"method": "best"}, r"--method must be one of default, nnlandmark.*, got 'best'"),
        ({"modality": "pet"}, r"--modality must be one of ct, mr"),
        ({"gpu_memory_gb": 0}, r"--gpu_memory_gb must be between 1 and 1000 GB, got 0"),
        ({"stages": 3}, r"--stages must be 1 or 2, got 3"),
        ({"spacing": (1.0, 1.0)}, r"--spacing needs 3 numbers .*; got 1,1"),
        ({"spacing": (1.0, 1.0, float("nan"))}, r"--spacing needs 3 numbers .*nan"),
        ({"patch_size": (0, 32, 32)}, r"--patch_size needs 3 numbers .*; got 0,32,32"),
    ],
)
def test_wrong_options_are_refused_in_one_line(options, message):
    with pytest.raises(UserError, match=message) as error:
        _plan(**options)
    assert "\n" not in str(error.value)


def test_fingerprint_survives_json():
    assert Fingerprint.from_dict(json.loads(json.dumps(SKULLS.to_dict()))) == SKULLS


def _fake_nvidia_smi(folder: Path, script: str) -> None:
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


def test_memory_of_the_gpu(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu_memory_gb() is None
    _fake_nvidia_smi(tmp_path, "echo 8192; echo 24576")
    assert gpu_memory_gb() == pytest.approx(25.8)
    _fake_nvidia_smi(tmp_path, "exit 9")
    assert gpu_memory_gb() is None
    _fake_nvidia_smi(tmp_path, "echo '[N/A]'")
    assert gpu_memory_gb() is None
