"""Memory of a case, of a training and of a prediction: closed forms, and what grows with what."""

import json
from dataclasses import replace
from math import prod

import pytest
import torch
from contract_parts import plan_of
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from peak_memory import PeakMemory

from auto_config.bundle_scripts.grid.transforms import ResampleGridd
from auto_config.memory.case import (
    CaseMemory,
    Grid,
    largest,
    one_stage_bytes,
    pass_bytes,
    reading_bytes,
    two_stage_bytes,
)
from auto_config.memory.stated import (
    HELD_FINDING_MB,
    HELD_IMAGES,
    HELD_MAPS,
    PREDICTION_PROCESS_MB,
    WORKER_MB,
    StepMemory,
    TrainingMemory,
    state,
)
from auto_config.memory.step import FLOAT, MB
from auto_config.methods import BACKBONES, METHODS

SHAPES, SPACINGS = [[40, 50, 60], [80, 50, 60]], [[1.0, 1.0, 1.0], [0.5, 1.0, 1.0]]


def stages(patch=(32, 32, 32), crops=4):
    tiny = BACKBONES["tiny"]
    coarse = {"name": "coarse", "spacing": [2.0] * 3, "factor": [2] * 3, "patch_size": [24, 32, 32], "batch_size": 2}
    fine = {"name": "fine", "spacing": [1.0] * 3, "factor": [1] * 3, "patch_size": list(patch), "batch_size": 2}
    return [tiny, tiny.fine], [coarse, {**fine, "crops_per_image": crops}]


def stated(landmarks=5, patch=(32, 32, 32), planned=None, **changed):
    networks, two = planned or stages(patch)
    options = {
        "spacing": [1.0] * 3,
        "shapes": SHAPES,
        "spacings": SPACINGS,
        "landmark_extent_mm": [[20.0, 20.0, 20.0]] * 2,
        "landmarks": landmarks,
        "channels": 1,
        "loss_bytes_per_voxel": METHODS["default"].loss_bytes_per_voxel,
        "cpu_loss_bytes_per_voxel": METHODS["default"].cpu_loss_bytes_per_voxel,
        "optimizer": "AdamW",
        "workers": 1,
        "views": 1,
        "box_radius": 5,
    }
    return state(networks, two, **(options | changed))


def test_the_cache_is_all_images_on_both_grids_in_float32():
    # Both cases have 40 x 50 x 60 planned voxels; the coarse grid has an eighth.
    assert stated().cache == pytest.approx(2 * 40 * 50 * 60 * (1 + 1 / 8) * FLOAT / MB)
    assert stated(channels=3).cache == pytest.approx(3 * stated().cache)


def test_the_largest_case_counts_on_both_grids():
    grid = largest(SHAPES, SPACINGS, [1.0] * 3)
    assert (grid.shape, grid.planned, grid.resampled) == ((80, 50, 60), (40, 50, 60), True)
    assert not largest(SHAPES[:1], SPACINGS[:1], [1.0] * 3).resampled


@pytest.mark.parametrize("dims", [2, 3])
def test_resampling_takes_what_is_stated(dims):
    size, spacing = (40,) * dims, [0.8] * dims
    image = MetaTensor(torch.rand(1, *size), affine=torch.eye(dims + 1, dtype=torch.float64))
    with PeakMemory() as memory:
        given_image = MetaTensor(image.as_tensor() * 1.0, affine=image.affine)
        found = ResampleGridd("image", spacing, crop_background=False, low_pass=False)({"image": given_image})["image"]
    grid = Grid(size, (1.0,) * dims, tuple(found.shape[1:]), tuple(spacing))
    # Within one operation coordinates are made of D + 1 numbers in float64; that is over when the result is there.
    within = 8 * prod(found.shape) * dims
    assert reading_bytes(grid) == pytest.approx(memory.peak + within, rel=0.05)


def test_a_pass_of_a_network_without_gradients_takes_what_is_stated():
    tiny = BACKBONES["tiny"]
    topology = tiny.topology([1.0] * 3, [32] * 3)
    stage = {"spacing": [1.0] * 3, "patch_size": [32] * 3, **tiny.describe(topology)}
    network = ConfigParser({"network": tiny.config(stage, 3, 1, 8)}).get_parsed_content("network")
    network.to(memory_format=torch.channels_last_3d)  # as in bundles on a CPU
    image = torch.zeros(2, 1, 32, 32, 32).contiguous(memory_format=torch.channels_last_3d)
    with PeakMemory() as memory, torch.inference_mode():
        network(image)
    assert pass_bytes(tiny, stage, 8, 2) == pytest.approx(memory.peak, rel=0.15)


def test_slabs_take_the_share_of_their_planes():
    plain = BACKBONES["plain"]
    stage = {"spacing": [1.0] * 3, "patch_size": [96] * 3}
    look = pass_bytes(plain, stage, 32, 1)
    whole = one_stage_bytes(plain, stage, [300] * 3, landmarks=32, views=1, box_radius=None) - look
    slab = one_stage_bytes(plain, stage, [300] * 3, landmarks=32, views=1, box_radius=5) - look
    assert whole == 33 * 300**3 * FLOAT
    assert slab / whole == pytest.approx(106 / 300)
    # A volume within one window is one map either way.
    small = {"landmarks": 4, "views": 1}
    assert one_stage_bytes(plain, stage, [96] * 3, box_radius=5, **small) == one_stage_bytes(
        plain, stage, [96] * 3, box_radius=None, **small
    )


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 40), st.sampled_from([16, 32, 48]))
def test_all_of_it_grows_with_landmarks_and_crops(landmarks, edge):
    here, more = stated(landmarks, (edge,) * 3), stated(landmarks + 1, (edge,) * 3)
    larger = stated(landmarks, (edge + 16,) * 3)
    for name in ("training", "gpu_step", "prediction", "gpu_prediction"):
        assert getattr(here, name).total <= getattr(more, name).total
        assert getattr(here, name).total <= getattr(larger, name).total
    assert here.gpu_step.total < min(more.gpu_step.total, larger.gpu_step.total)
    assert here.gpu_step.feature_maps * 2 == pytest.approx(here.training.step.feature_maps)


def test_two_views_hold_one_more_map_of_each_crop():
    networks, two = stages()
    options = {"landmarks": 50, "channels": 1}
    one, both = (two_stage_bytes(networks, two, [40, 50, 60], views=views, **options) for views in (1, 2))
    assert both - one == FLOAT * 50 * 32**3


STEP = StepMemory(weights=10.0, feature_maps=200.0, loss=80.0, images=10.0)
TRAINING = TrainingMemory(process=700.0, step=STEP, validation=100.0, reading=50.0, worker=70.0, workers=1)


def test_of_a_training_the_most_of_three_times_counts():
    assert (TRAINING.total, TRAINING.at_most()) == (700 + 300 + 200 * (HELD_MAPS - 1) + 70, "step")
    assert TRAINING.changed(batch_share=0.5).total == 700 + 10 + 145 + 100 * (HELD_MAPS - 1) + 70
    assert TRAINING.changed(workers=4).total == 700 + 300 + 200 * (HELD_MAPS - 1) + 280
    large = replace(TRAINING, reading=900.0, workers=4)
    assert (large.total, large.at_most()) == (700 + 4 * (900 + WORKER_MB), "reading")
    alone = replace(large, workers=0)
    assert (alone.total, alone.at_most()) == (700 + 900, "reading")
    assert replace(TRAINING, validation=900.0).at_most() == "validation"


def test_a_case_is_read_before_it_is_predicted():
    assert CaseMemory(reading=50.0, image=10.0, finding=20.0).total == 50.0
    assert CaseMemory(reading=20.0, image=10.0, finding=20.0).total == 30.0


def test_on_a_cpu_a_prediction_holds_freed_memory_too():
    few, many = stated(), stated(2000)
    for found in (few, many):
        cpu, gpu = found.prediction.case, found.gpu_prediction.case
        assert cpu.image == HELD_IMAGES * gpu.image
        assert cpu.finding == gpu.finding + min(gpu.finding, HELD_FINDING_MB)
    assert few.gpu_prediction.case.finding < HELD_FINDING_MB < many.gpu_prediction.case.finding


@pytest.mark.parametrize(("edge", "counts"), [(56, False), (64, True)])
def test_losses_of_large_channels_count_on_a_cpu_alone(edge, counts):
    networks, two = stages((edge,) * 3, crops=1)
    one = (networks[:1], two[1:])
    usual, other = (stated(planned=one, cpu_loss_bytes_per_voxel=taken) for taken in (14.0, 30.0))
    assert (other.training.step.loss > usual.training.step.loss) == counts
    assert other.gpu_step == usual.gpu_step


def test_a_small_coarse_stage_beside_large_crops_takes_the_whole_batch():
    usual, other = (stated(patch=(64, 64, 64), cpu_loss_bytes_per_voxel=taken) for taken in (14.0, 30.0))
    assert other.training == usual.training


@pytest.mark.parametrize(("method", "fewer"), [("default", True), ("nnlandmark", True), ("landmarker", False)])
def test_a_plan_counts_the_losses_that_go_through_large_channels(method, fewer):
    known = METHODS[method].cpu_loss_bytes_per_voxel
    assert (known is not None) == fewer
    plan = plan_of(method, 3, 1, **({} if METHODS[method].backbone else {"patch_size": (64, 64, 64)}))
    parts = plan.value("memory")["parts_mb"]
    assert (parts["training_cpu"]["step"]["loss"] < parts["training_gpu"]["loss"]) == fewer


def test_a_plan_has_totals_and_parts_that_can_be_read_again():
    found = stated()
    written = json.loads(json.dumps(found.to_dict()))
    assert written["prediction_cpu_mb"] == pytest.approx(found.prediction.total, abs=1)
    assert written["prediction_cpu_mb"] > PREDICTION_PROCESS_MB
    again = TrainingMemory.of(written["parts_mb"]["training_cpu"])
    assert again.total == pytest.approx(written["training_cpu_mb"], abs=1)
    assert written["batch_size"] == 2
