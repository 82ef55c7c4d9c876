"""The whole plan: every decision with a reason, overrides, and clear refusals."""

import json
import math
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from auto_config.errors import UserError
from auto_config.fingerprint.summary import Fingerprint
from auto_config.memory.hardware import gpu_memory_gb
from auto_config.methods import BACKBONES, METHODS, MethodRequest
from auto_config.planning import DECISION_NAMES, Decision, Plan, PlanOptions, make_plan
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
CUBE = {"batch_size": 2, "patch_size": [128, 128, 128], "spacing": [1.0, 1.0, 1.0]}
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


def test_fields_of_view_are_cut_by_the_default_method_and_by_others_on_request():
    assert _plan().value("cut_share") == 0.2
    for name, method in METHODS.items():
        assert (_plan(method=name).value("cut_share") > 0) == method.cuts
    published = _plan(method="nnlandmark")
    assert published.value("cut_share") == 0.0
    assert "as published" in published.reason("cut_share")
    asked = _plan(method="nnlandmark", cut_share=0.3)
    assert (asked.value("cut_share"), asked.reason("cut_share")) == (0.3, "given by the user")
    assert _plan(cut_share=0.0).value("cut_share") == 0.0


def test_without_gpu_tiny_with_a_warning():
    plan = _plan()
    assert plan.value("network") == "tiny"
    assert plan.reason("network").startswith("warning: no GPU was found")
    assert plan.value("gpu_memory_gb") is None
    assert len(plan.value("stages")) == 2
    assert plan.value("workers") == 1


def test_a_network_of_a_method_is_planned_for_a_quarter_where_there_is_no_gpu():
    plan = _plan(method="landmarker")
    assert plan.value("gpu_memory_gb") == 2.0
    assert plan.reason("gpu_memory_gb").startswith(
        "warning: no GPU was found and no --gpu_memory_gb given, so a quarter"
    )
    for given in ({"gpu_memory_gb": 8}, {"found_gpu_memory_gb": 80.0}, {"network": "flexible_unet"}):
        with_gpu = _plan(method="landmarker", **given)
        assert with_gpu.value("gpu_memory_gb") == 8
    assert plan.value("stages") == _plan(method="landmarker", gpu_memory_gb=2).value("stages")


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


def _training(method, network, **stage):
    return METHODS[method].training(MethodRequest(BACKBONES[network], CUBE | stage))


@pytest.mark.parametrize(("batch_size", "steps"), [(1, 100), (2, 50), (3, 33), (200, 1)])
def test_an_epoch_on_a_cpu_is_a_hundred_images_of_any_batch(batch_size, steps):
    assert _training("default", "tiny", batch_size=batch_size).iterations_per_epoch.value == steps
    assert _training("default", "plain", batch_size=batch_size).iterations_per_epoch.value == 250


@pytest.mark.parametrize("method", ["scn", "scn_adaptive"])
def test_the_spatial_configuration_network_sees_the_whole_anatomy(method):
    """Its second part says where landmarks lie if the others lie where they seem to: it must see them all."""
    plan = _plan(method=method)
    (stage,) = plan.value("stages")
    held = np.array(stage["patch_size"]) * plan.value("spacing")
    assert (held >= np.percentile(SKULLS.extents_mm, 95, axis=0)).all()
    assert "as method " + method + " needs it" in plan.reason("spacing")
    assert len(_plan(method=method, stages=2).value("stages")) == 2


def test_the_published_method_to_the_letter():
    training = _training("nnlandmark", "plain")
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
    assert _training("nnlandmark", "plain", batch_size=9).sampling.value["landmark_share"] == pytest.approx(1 / 3)
    assert (training.iterations_per_epoch.value, training.max_epochs.value) == (250, 1000)
    assert training.augmentation.value["rotation"] == {"prob": 0.2, "max_rad": pytest.approx(0.5236)}
    assert training.keep.value == "last"
    assert _training("default", "plain").keep.value == "best"


def test_the_published_method_has_the_published_patch_on_a_gpu_with_room_for_it():
    brains = replace(
        SKULLS,
        landmarks=32,
        present=[34] * 32,
        shapes=[[182, 218, 182]] * 34,
        spacings=[[1.0, 1.0, 1.0]] * 34,
        extents_mm=[[182.0, 218.0, 182.0]] * 34,
        pairs=[],
        midline=[],
    )

    def stage(**options):
        plan = _plan(brains, network="plain", **{"method": "nnlandmark", **options})
        return plan.value("stages")[0], plan.reason("stages")

    for options in ({"gpu_memory_gb": 11}, {"found_gpu_memory_gb": 80.0}, {"gpu_memory_gb": 80}):
        found, why = stage(**options)
        assert (found["patch_size"], found["batch_size"], len(found["strides"])) == ([128] * 3, 2, 6)
        assert "patch and batch are those of nnU-Net" in why
    # Nobody knows the GPU: the 8 GB that the network is made for.
    for options in ({}, {"gpu_memory_gb": 8}, {"found_gpu_memory_gb": 8.0}):
        found, why = stage(**options)
        assert found["patch_size"] == [112, 128, 112]
        assert "less than the 9.5 GB of nnU-Net's patch 128x128x128" in why
    assert "nnU-Net" not in stage(gpu_memory_gb=11, method="default")[1]
    given, why = stage(gpu_memory_gb=8, patch_size=(64, 64, 64))
    assert given["patch_size"] == [64] * 3
    assert "nnU-Net" not in why


@pytest.mark.parametrize(
    ("patch", "spacing", "degrees", "fixed_axis"),
    [
        ((128, 128, 128), (1, 1, 1), 30, None),
        # A cube of voxels is a cube for nnU-Net, however thick its slices are.
        ((64, 64, 64), (1, 1, 5), 30, None),
        ((128, 128, 42), (1, 1, 5), 180, 2),
        ((128, 128, 43), (1, 1, 5), 30, None),
        ((14, 384, 320), (5, 0.6, 0.6), 180, 0),
        ((96, 24, 96), (1, 4, 1), 180, 1),
        # Of equally thick axes nnU-Net puts z first: flat along x counts as not flat.
        ((128, 128, 32), (1, 1, 1), 180, 2),
        ((32, 128, 128), (1, 1, 1), 30, None),
        ((512, 512), (1, 1), 180, None),
        ((512, 768), (1, 1), 180, None),
        ((512, 1024), (1, 1), 15, None),
        ((1024, 512), (1, 1), 15, None),
    ],
)
def test_the_reference_turns_flat_patches_in_their_plane_and_long_pictures_little(patch, spacing, degrees, fixed_axis):
    found = _training("nnlandmark", "plain", patch_size=patch, spacing=spacing).augmentation.value
    assert found["rotation"]["max_rad"] == pytest.approx(math.radians(degrees), abs=1e-4)
    assert found["fixed_axis"] == fixed_axis
    assert _training("default", "plain", patch_size=patch, spacing=spacing).augmentation.value.get("fixed_axis") is None


def test_the_default_method():
    training = _training("default", "tiny")
    assert training.loss.value["cross_entropy"] == 1.0
    assert training.loss.value["output_bias"] == -4
    assert training.optimizer.value["lr"] == 2e-3
    assert training.schedule.value["warmup_steps"] == 20


@pytest.fixture
def one_more(monkeypatch):
    """Adds a method to the table for a test."""

    def add(**changes):
        method = replace(METHODS["default"], name="another", **changes)
        monkeypatch.setitem(METHODS, "another", method)

    return add


def test_a_method_that_must_see_everything_gets_a_grid_on_which_it_fits(one_more):
    one_more(whole_anatomy=True, stages="one")
    plan = _plan(method="another")
    (stage,) = plan.value("stages")
    lengths = np.multiply(stage["patch_size"], plan.value("spacing"))
    assert np.all(lengths >= np.percentile(SKULLS.extents_mm, 95, axis=0))
    assert "times as coarse, so that a patch holds the whole anatomy, as method another" in plan.reason("spacing")
    # As fine as it goes: a step finer it would not fit.
    assert 64_000 / 1.1**3 / 2 < np.prod(stage["patch_size"]) <= 64_000
    on_gpu = _plan(method="another", network="plain")
    assert on_gpu.value("spacing") == _plan().value("spacing")


def test_what_a_method_cannot_do_is_refused_in_one_line(one_more):
    one_more(stages="two", instances=False)
    with pytest.raises(UserError, match=r"^--stages 1: method another has two stages; omit --stages, or give another"):
        _plan(method="another", stages=1)
    several = replace(SKULLS, exchangeable=[{"landmarks": [0, 1], "nearest_mm": 1.0}])
    with pytest.raises(UserError, match=r"^--method another: finds one point .*; give --method default or nnlandmark"):
        _plan(several, method="another")


def test_a_method_with_a_network_of_its_own_is_planned_with_it(one_more):
    one_more(backbone="resenc_m", mirrors=False)
    plan = _plan(method="another")
    assert plan.value("network") == "resenc_m"
    assert plan.reason("network") == "method another has its own network"
    assert plan.reason("mirror") == "method another never mirrors"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"network": "huge"}, r"--network must be one of tiny, plain, .*'huge'"),
        ({"method": "best"}, r"--method must be one of default, nnlandmark.*, got 'best'"),
        ({"modality": "pet"}, r"--modality must be one of ct, mr"),
        ({"gpu_memory_gb": 0}, r"--gpu_memory_gb must be between 1 and 1000 GB, got 0"),
        ({"stages": 3}, r"--stages must be 1 or 2, got 3"),
        ({"cut_share": -0.1}, r"--cut_share must be between 0 \(no field of view is cut\) and 0.9, got -0.1"),
        ({"cut_share": 1.0}, r"--cut_share must be between 0 .* and 0.9, got 1"),
        ({"cut_share": math.nan}, r"--cut_share must be between 0 .* and 0.9, got nan"),
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
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    _fake_nvidia_smi(tmp_path, "echo 24576; echo 24576")
    assert gpu_memory_gb() == pytest.approx(25.8)
    _fake_nvidia_smi(tmp_path, "exit 9")
    assert gpu_memory_gb() is None
    _fake_nvidia_smi(tmp_path, "echo '[N/A]'")
    assert gpu_memory_gb() is None


@pytest.mark.parametrize(("listed", "visible"), [("echo 8192; echo 24576", None), ("echo 24576; echo 24576", "1")])
def test_torch_is_asked_where_nvidia_smi_cannot_know_which_gpu_is_used(tmp_path, monkeypatch, listed, visible):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    _fake_nvidia_smi(tmp_path, listed)
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 8000000000\n")
    python.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(python))
    assert gpu_memory_gb() == 8.0
    python.write_text("#!/bin/sh\necho 0\n")  # no GPU is visible to CUDA
    assert gpu_memory_gb() is None
    python.write_text("#!/bin/sh\nexit 1\n")
    assert gpu_memory_gb() is None
